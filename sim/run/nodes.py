"""What the nodes of the cluster under test say of themselves, when someone can ask them."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

from sim.measure.attribution import Drop, Outage
from sim.report.model import EventReport, NodeReport, NodeSeriesRow

__all__ = ["NodeHistory", "NodeSample", "NodeSampler", "TimedSamples", "watch_nodes"]

_NS_PER_S = 1_000_000_000
_BEFORE_NS = _NS_PER_S  # what was pushed so long before a fault may still have been on its way
_AFTER_NS = 5 * _NS_PER_S  # a node that came back needs so long to know who is there
_SLACK_S = 0.5  # samples are taken about once a second
_WITHIN_S = 0.6  # so that one that does not answer costs the others no sample

_FAULTS = {"kill": "killed", "pause": "paused", "restart": "restarted"}


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


NodeSampler = Callable[[float], Awaitable[Sequence[NodeSample]]]
"""Asks all nodes; one that has not told in so many seconds is there with what is known of it without its help."""

TimedSamples = tuple[int, Sequence[NodeSample]]
"""Nodes at a time, in ns of the monotonic clock or from the start of the first phase."""


async def watch_nodes(sample_nodes: NodeSampler, t0_ns: int, samples: list[TimedSamples]) -> None:
    """Add a sample at each whole second after `t0_ns`, until cancelled."""
    while True:
        now_ns = monotonic_ns() - t0_ns
        next_ns = max(now_ns // _NS_PER_S + 1, 1) * _NS_PER_S
        await asyncio.sleep((next_ns - now_ns) / 1e9)
        found = await sample_nodes(_WITHIN_S)
        samples.append((monotonic_ns(), found))


class NodeHistory:
    """The nodes of one run, over time.

    Args:
        samples: In the order of time, from the start of the first phase; the first is what all counts from.
    """

    def __init__(self, samples: Sequence[TimedSamples]) -> None:
        self._by_name: dict[str, list[tuple[int, NodeSample]]] = {}
        for at_ns, nodes in samples:
            for node in nodes:
                self._by_name.setdefault(node.name, []).append((at_ns, node))
        last = samples[-1][1] if samples else ()
        self._names = [node.name for node in last]

    def reports(self, from_s: float = -math.inf, to_s: float = math.inf) -> tuple[NodeReport, ...]:
        """Return what each node that was there at the end did between two times."""
        return tuple(self._report(name, from_s, to_s) for name in self._names)

    def series(self) -> tuple[NodeSeriesRow, ...]:
        """Return the rows of a report: memory as it was, CPU since the sample before of the same process."""
        rows: list[NodeSeriesRow] = []
        for name, samples in self._by_name.items():
            for i, (at_ns, node) in enumerate(samples):
                if at_ns < 0:
                    continue
                cpu_percent = None
                if i and node.cpu_s is not None:
                    then_ns, then = samples[i - 1]
                    if then.pid == node.pid and then.cpu_s is not None:
                        seconds = max((at_ns - then_ns) / 1e9, 1e-3)
                        cpu_percent = round(max(node.cpu_s - then.cpu_s, 0.0) / seconds * 100, 1)
                rows.append(NodeSeriesRow(round(at_ns / 1e9, 2), name, cpu_percent, node.rss_bytes))
        return tuple(sorted(rows, key=lambda row: row.at_s))

    def drops(self) -> tuple[Drop, ...]:
        """Return what was dropped between one sample and the next, over all nodes."""
        found: list[Drop] = []
        for samples in self._by_name.values():
            for at_ns, more in _increments(samples):
                found += [Drop(at_ns, place, count) for place, count in more.items()]
        return tuple(found)

    def outages(self, events: Sequence[EventReport]) -> tuple[Outage, ...]:
        """Return when which node was in trouble: by an event of the scenario, or because its process ended."""
        found: list[Outage] = []
        for event in events:
            if event.do in _FAULTS:
                at_ns, length_ns = round(event.at_s * 1e9), round((event.for_s or 0.0) * 1e9)
                until_ns = self._back_ns(event.target, at_ns)
                to_ns = max(at_ns + length_ns, until_ns) + _AFTER_NS
                found.append(Outage(event.target, _FAULTS[event.do], at_ns - _BEFORE_NS, to_ns))
        for name, samples in self._by_name.items():
            for (then_ns, then), (now_ns, now) in itertools.pairwise(samples):
                if then.pid is not None and then.pid != now.pid:
                    until_ns = self._back_ns(name, then_ns)
                    own = Outage(name, "died", then_ns - _BEFORE_NS, max(now_ns, until_ns) + _AFTER_NS)
                    # One that was asked for has a name already.
                    if not any(one.node == name and one.from_ns <= now_ns <= one.to_ns for one in found):
                        found.append(own)
        return tuple(found)

    def _back_ns(self, name: str, at_ns: int) -> int:
        """Return when a node was first seen with a new process after a time, or that time."""
        samples = self._by_name.get(name, [])
        before = next((node.pid for seen_ns, node in reversed(samples) if seen_ns <= at_ns), None)
        later = ((seen_ns, node.pid) for seen_ns, node in samples if seen_ns > at_ns)
        return next((seen_ns for seen_ns, pid in later if pid is not None and pid != before), at_ns)

    def _report(self, name: str, from_s: float, to_s: float) -> NodeReport:
        samples = self._by_name[name]
        within = [pair for pair in samples if from_s - _SLACK_S <= pair[0] / 1e9 <= to_s + _SLACK_S]
        # What the first one counts from is the last one before.
        earlier = [pair for pair in samples if pair[0] / 1e9 < from_s - _SLACK_S]
        counted = [*earlier[-1:], *within] if within else samples[-1:]
        at_end = counted[-1][1]
        cpu_s = _cpu_s(counted)
        seconds = (counted[-1][0] - counted[0][0]) / 1e9
        drops: Counter[str] = Counter()
        for _, more in _increments(counted):
            drops.update(more)
        memory = [node.rss_bytes for _, node in counted if node.rss_bytes is not None]
        return NodeReport(
            name,
            at_end.pid,
            None if cpu_s is None else round(cpu_s, 3),
            at_end.rss_bytes,
            dict(drops),
            round(cpu_s / seconds * 100, 1) if cpu_s is not None and seconds > 0 else None,
            max(memory, default=None),
        )


def _cpu_s(samples: Sequence[tuple[int, NodeSample]]) -> float | None:
    """Return the CPU time used from the first sample on; all of a process that was not there then."""
    if all(node.cpu_s is None for _, node in samples):
        return None
    total = 0.0
    before: NodeSample | None = None
    for _, node in samples:
        if node.cpu_s is None:
            continue
        same = before is not None and before.pid == node.pid and before.cpu_s is not None
        if before is not None:
            total += max(node.cpu_s - (before.cpu_s or 0.0), 0.0) if same else node.cpu_s
        before = node
    return total


def _increments(samples: Sequence[tuple[int, NodeSample]]) -> list[tuple[int, dict[str, int]]]:
    """Return (time, what was dropped since the sample before), for each but the first.

    A process that is new counts from 0; one that did not answer has told nothing, which is not the same as 0.
    """
    found: list[tuple[int, dict[str, int]]] = []
    known: dict[str, int] = {}
    pid: int | None = None
    for i, (at_ns, node) in enumerate(samples):
        if i and node.pid != pid:
            known = {}
        pid = node.pid
        if i:
            more = {place: count - known.get(place, 0) for place, count in node.drops.items()}
            found.append((at_ns, {place: count for place, count in more.items() if count > 0}))
        for place, count in node.drops.items():
            known[place] = max(count, known.get(place, 0))
    return found
