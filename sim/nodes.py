"""What the nodes of the cluster under test say of themselves, when someone can ask them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["NodeSample", "NodeSampler"]


@dataclass(frozen=True, slots=True)
class NodeSample:
    """One node at one moment; None for what it does not tell.

    Args:
        name: As the cluster calls it.
        pid: Of its process, to notice a restart.
        cpu_s: CPU time since its start.
        rss_bytes: Memory in use.
        drops: What it has dropped since its start, {place and reason: messages}.
    """

    name: str
    pid: int | None = None
    cpu_s: float | None = None
    rss_bytes: int | None = None
    drops: Mapping[str, int] = field(default_factory=dict)


NodeSampler = Callable[[], Awaitable[Sequence[NodeSample]]]
