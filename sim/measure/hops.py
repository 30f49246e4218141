"""From what nodes and clients saw of the followed messages to the time of each hop.

A message to many has many ends. What stands for it is the mean over its
receivers: comet writes at an even pace, so its clients are written to, on the
average, half-way between its first and its last write; with several comets
each counts as often as it has clients. The mean of a sum is the sum of the
means, so the hops of a message add up to the mean latency of its deliveries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from time import monotonic_ns

from protocol.trace import Journey, TracePoint, Way, follow
from sim.measure.histogram import Histogram
from sim.publish.sampling import Reads, TracedPush
from sim.report.hops import HOPS, HopsReport, HopStats, JobHopStats

__all__ = ["NOBODY_TELLS", "SWITCHED_OFF", "TraceBook", "TraceReader", "hop_report"]

NOBODY_TELLS = "only the nodes of a cluster of imctl up on this machine tell when they saw a message"
SWITCHED_OFF = "the scenario has trace: none"

_EVERY_S = 1.0
# A node may note a point some time after the moment that it is of.
_OVERLAP_NS = 5_000_000_000

TraceReader = Callable[[int], Awaitable[Sequence[TracePoint]]]
"""Asks the nodes for points of later than a time of the monotonic clock; [] when they do not answer."""


class TraceBook:
    """Collects the points of a run, as nodes only remember the last ones.

    Args:
        read: Asks the nodes.
        run: Mark of the run; points of other pushes are passed over.

    Attributes:
        points: By id of the message.
    """

    def __init__(self, read: TraceReader, run: int) -> None:
        self.points: dict[int, set[TracePoint]] = {}
        self._read = read
        self._run = run
        self._after_ns = monotonic_ns()

    async def collect(self) -> None:
        """Ask once."""
        asked_ns = monotonic_ns()
        for point in await self._read(self._after_ns):
            if point.trace >> 32 == self._run:
                self.points.setdefault(point.trace, set()).add(point)
        self._after_ns = asked_ns - _OVERLAP_NS

    async def watch(self) -> None:
        """Ask every second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.collect()


def hop_report(pushes: Sequence[TracedPush], points: Mapping[int, Iterable[TracePoint]], reads: Reads) -> HopsReport:
    """Return the times of each hop.

    Args:
        pushes: The followed messages that count.
        points: What nodes told, by id.
        reads: What the clients of all workers read.
    """
    times = {name: Histogram() for name in HOPS}
    job_ns = batching_ns = 0
    for push in pushes:
        hops = _hops(push, follow(points.get(push.trace, ())), reads.found.get(push.intended_ns))
        batching_ns += hops.pop("batching", 0)
        job_ns += hops.get("job", 0)
        for name, duration_ns in hops.items():
            times[name].record(duration_ns)
    stats = {name: _stats(histogram) for name, histogram in times.items()}
    job = stats.pop("job")
    share = round(batching_ns / job_ns * 100, 1) if job_ns else None
    return HopsReport(
        traced=len(pushes),
        reason=_reason(times) if pushes else "no message was followed",
        job=JobHopStats(job.count, job.p50, job.p99, job.max, share),
        **stats,
    )


def _hops(push: TracedPush, journey: Journey, read: tuple[int, int] | None) -> dict[str, int]:
    """Return the time of each hop of which both ends are known, in ns; and under `batching` a part of job's."""
    reached = [way for way in journey.ways if way.written is not None and way.written.clients]
    ways = reached or list(journey.ways)
    accepted = journey.accepted
    ends: dict[str, int | None] = {
        "planned": push.intended_ns,
        "publish": None if accepted is None else accepted.at_ns,
        "logic": _mean(ways, lambda way: _at(way.published)),
        "bus": _mean(ways, lambda way: _at(way.read)),
        "job": _mean(ways, lambda way: _at(way.sent)),
        "comet": _mean(ways, _written_ns) if reached else None,
        "wire": None if read is None else push.intended_ns + read[1] // read[0],
    }
    names = list(ends)
    hops = {
        name: end - start
        for before, name in pairwise(names)
        if (start := ends[before]) is not None and (end := ends[name]) is not None
    }
    routed_ns = _mean(ways, lambda way: _at(way.routed))
    if routed_ns is not None and ends["bus"] is not None:
        hops["batching"] = routed_ns - ends["bus"]
    if ends["wire"] is not None:
        hops["total"] = ends["wire"] - push.intended_ns
    return hops


def _at(point: TracePoint | None) -> int | None:
    return None if point is None else point.at_ns


def _written_ns(way: Way) -> int | None:
    """Return when a comet had written to half of its clients."""
    return None if way.written is None else (way.written.began_ns + way.written.at_ns) // 2


def _mean(ways: Sequence[Way], at_ns: Callable[[Way], int | None]) -> int | None:
    """Return a time, the mean over receivers; None unless it is known of every way."""
    total = clients = 0
    for way in ways:
        at = at_ns(way)
        if at is None:
            return None
        weight = way.written.clients if way.written is not None and way.written.clients else 1
        total += at * weight
        clients += weight
    return total // clients if clients else None


def _stats(histogram: Histogram) -> HopStats:
    if not histogram.count:
        return HopStats()
    p50, p99 = (_ms(histogram.percentile_ns(percent)) for percent in (50, 99))
    return HopStats(histogram.count, p50, p99, _ms(histogram.max_ns))


def _reason(times: Mapping[str, Histogram]) -> str:
    missing = [name for name, histogram in times.items() if not histogram.count]
    if "publish" in missing:
        return "logic told of none of the followed messages; a Go logic never does"
    return f"nobody told of {', '.join(missing)}; Go nodes never do" if missing else ""


def _ms(duration_ns: float) -> float:
    return round(duration_ns / 1e6, 3)
