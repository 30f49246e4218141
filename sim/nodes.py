"""What the nodes of the cluster under test say of themselves, when someone can ask them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

from sim.report.model import NodeSeriesRow

__all__ = ["NodeSample", "NodeSampler", "TimedSamples", "node_series", "watch_nodes"]

_NS_PER_S = 1_000_000_000


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

TimedSamples = tuple[int, Sequence[NodeSample]]
"""Nodes at a time, in ns of the monotonic clock or from the start of the first phase."""


async def watch_nodes(sample_nodes: NodeSampler, t0_ns: int, samples: list[TimedSamples]) -> None:
    """Add a sample at each whole second after `t0_ns`, until cancelled; a second in which one still waits has none."""
    while True:
        now_ns = monotonic_ns() - t0_ns
        next_ns = max(now_ns // _NS_PER_S + 1, 1) * _NS_PER_S
        await asyncio.sleep((next_ns - now_ns) / 1e9)
        found = await sample_nodes()
        samples.append((monotonic_ns(), found))


def node_series(samples: Sequence[TimedSamples]) -> tuple[NodeSeriesRow, ...]:
    """Return the rows of a report: memory as it was, CPU since the sample before of the same process.

    Args:
        samples: From the start of the first phase; one before it is only what the first row counts from.
    """
    rows: list[NodeSeriesRow] = []
    last: dict[str, tuple[int, NodeSample]] = {}
    for at_ns, nodes in samples:
        for node in nodes:
            cpu_percent = None
            before_ns, before = last.get(node.name, (0, None))
            if node.cpu_s is not None and before is not None and before.cpu_s is not None and before.pid == node.pid:
                used_s = node.cpu_s - before.cpu_s
                cpu_percent = round(max(used_s, 0.0) / max((at_ns - before_ns) / 1e9, 1e-3) * 100, 1)
            last[node.name] = at_ns, node
            if at_ns >= 0:
                rows.append(NodeSeriesRow(round(at_ns / 1e9, 2), node.name, cpu_percent, node.rss_bytes))
    return tuple(rows)
