"""What a run shows of itself while it goes on."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RunProgress"]


@dataclass(slots=True)
class RunProgress:
    """What a run shows while it goes on.

    Args:
        stage: connecting, a phase's name, last answers, settling or judging.
        trouble: What is wrong with the load generator, in words; empty when nothing is.
    """

    stage: str = "starting"
    at_s: float = 0.0
    of_s: float = 0.0
    wanted: int = 0
    connected: int = 0
    failed: int = 0
    messages: int = 0
    errors: int = 0
    delivered: int = 0
    trouble: str = ""
