"""What the parent, the workers and the publisher of one run tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sim.histogram import Histogram
from sim.ledger import StreamLog
from sim.scenario import Scenario
from sim.swarm import SwarmResult
from sim.target import Target

__all__ = [
    "Begin",
    "Connect",
    "Connected",
    "Finish",
    "Health",
    "Job",
    "Progress",
    "PublishProgress",
    "Published",
    "Result",
]


@dataclass(frozen=True, slots=True)
class Job:
    """First message to a child: what to do, and which share of it."""

    scenario: Scenario
    target: Target
    run: int
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Connect:
    """To a worker: connect your clients."""


@dataclass(frozen=True, slots=True)
class Begin:
    """To all: the first phase begins at this time of the monotonic clock."""

    t0_ns: int


@dataclass(frozen=True, slots=True)
class Finish:
    """To a worker: nothing more will be published; this was. {stream: log}, None when nobody knows."""

    logs: Mapping[int, StreamLog] | None


@dataclass(frozen=True, slots=True)
class Health:
    """How a process of the generator did from Begin on: CPU share of one core, lag of its event loop."""

    cpu_percent: float
    lag: Histogram


@dataclass(frozen=True, slots=True)
class Progress:
    """From a worker, four times a second. `seconds` are those of the run that are over."""

    connected: int
    failed: int
    alive: int
    delivered: int
    seconds: Mapping[int, Histogram] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Connected:
    """From a worker: every client is in or has failed."""


@dataclass(frozen=True, slots=True)
class Result:
    """From a worker: the end."""

    swarm: SwarmResult
    health: Health
    seconds: Mapping[int, Histogram]


@dataclass(frozen=True, slots=True)
class PublishProgress:
    """From the publisher, once when it is ready to begin, then four times a second."""

    messages: int
    errors: int
    expected: int


@dataclass(frozen=True, slots=True)
class Published:
    """From the publisher: the schedule is over and every answer is in.

    Args:
        logs: By stream.
        lag: Send lag of each phase: how late requests began.
        errors: Of each phase.
        failures: {reason: messages}.
        seconds: Messages begun by second of the run.
    """

    logs: Mapping[int, StreamLog]
    lag: list[Histogram]
    errors: list[int]
    failures: Mapping[str, int]
    seconds: Mapping[int, int]
    expected: int
    health: Health
