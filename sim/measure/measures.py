"""What was measured, by publisher, population and segment, added up for any part of the run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sim.clients.plan import Plan
from sim.measure.attribution import UNKNOWN, Drop, Loss, Outage, attribute_losses
from sim.measure.cells import Cells
from sim.measure.fanout import Arrivals, Reached, merge_groups
from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery, LostEnd, StreamLog
from sim.report.model import (
    DeliveryReport,
    FanoutReport,
    LagStats,
    LatencyStats,
    PublishReport,
    SpreadStats,
)
from sim.run.messages import Published, Result
from sim.scenario.scenario import PublishTo

__all__ = ["Measures", "PartReport", "latency_stats", "ms"]


@dataclass(frozen=True, slots=True)
class PartReport:
    """The numbers of a part of a run, in the form of the result document."""

    publish: PublishReport
    delivery: DeliveryReport
    latency_ms: LatencyStats
    fanout: FanoutReport


@dataclass(slots=True)
class _Fanout:
    messages: int = 0
    complete: int = 0
    spread: Histogram = field(default_factory=Histogram)


class Measures:
    """All that the processes of a run found.

    Args:
        plan: The scenario's plan.
        results: Of the workers.
        published: Of the publisher; None when it did not finish.
        end_s: When publishing ended, from the start of the first phase: a run may be ended early.
    """

    def __init__(
        self, plan: Plan, results: Sequence[Result], published: Published | None, *, end_s: float = math.inf
    ) -> None:
        self.cells = Cells(plan)
        self.end_s = end_s
        self._plan = plan
        self._published = published
        self._logs: Mapping[int, StreamLog] = published.logs if published is not None else {}
        self._latency: dict[tuple[int, int, int], Histogram] = {}
        self._deliveries: dict[tuple[int, int, int], Delivery] = {}
        for result in results:
            for cell, histogram in result.swarm.latency.items():
                self._latency.setdefault(cell, Histogram()).merge(histogram)
            for (population, publisher), row in result.swarm.deliveries.items():
                for segment, delivery in enumerate(row):
                    self._deliveries.setdefault((population, publisher, segment), Delivery()).add(delivery)
        self._ends: Counter[LostEnd] = Counter()
        self._network: Counter[tuple[int, str]] = Counter()
        for result in results:
            self._ends.update(result.swarm.lost_ends)
            self._network.update(result.swarm.lost_network)
        self._groups = merge_groups(result.swarm.reached for result in results)
        self._fanouts = self._add_fanouts([result.swarm.arrivals for result in results])
        self._lost_at: dict[int, Counter[str]] = {}

    def attribute(self, drops: Sequence[Drop], outages: Sequence[Outage], comets: Sequence[str], t0_ns: int) -> None:
        """Find out where deliveries were lost; before it, nobody knows. The arguments are attribute_losses()'."""
        self._lost_at = attribute_losses(self._losses(t0_ns), self._ends, drops, outages, comets, t0_ns)
        for (segment, fault), count in self._network.items():
            self._lost_at.setdefault(segment, Counter())[fault] += count

    def part(
        self, segments: Collection[int], *, population: int | None = None, publisher: int | None = None
    ) -> PartReport:
        """Return the numbers of some segments, of one population or publisher where that is given."""
        duration_s = sum(self.cells.segments.length_s(segment, self.end_s) for segment in segments)
        return PartReport(
            publish=self._publish(segments, publisher, duration_s),
            delivery=self._delivery(segments, population, publisher, duration_s),
            latency_ms=latency_stats(self.latency(segments, population=population, publisher=publisher)),
            fanout=self._fanout(segments, publisher) if population is None else FanoutReport(),
        )

    def latency(
        self, segments: Collection[int], *, population: int | None = None, publisher: int | None = None
    ) -> Histogram:
        """Return the latencies of a part; the arguments are those of part()."""
        total = Histogram()
        for cell, histogram in self._latency.items():
            if _is_in(cell, segments, population, publisher):
                total.merge(histogram)
        return total

    def _publish(self, segments: Collection[int], publisher: int | None, duration_s: float) -> PublishReport:
        if self._published is None:
            return PublishReport()
        lag = Histogram()
        for (number, segment), histogram in self._published.lag.items():
            if segment in segments and publisher in (None, number):
                lag.merge(histogram)
        messages = sum(
            count
            for (number, segment), count in self._published.sent.items()
            if segment in segments and publisher in (None, number)
        )
        errors = sum(
            count
            for (number, segment), count in self._published.errors.items()
            if segment in segments and publisher in (None, number)
        )
        stats = LagStats()
        if lag.count:
            stats = LagStats(ms(lag.percentile_ns(50)), ms(lag.percentile_ns(99)), ms(lag.max_ns))
        rate = round(messages / duration_s, 2) if duration_s else 0.0
        return PublishReport(messages, errors, rate, stats)

    def _delivery(
        self, segments: Collection[int], population: int | None, publisher: int | None, duration_s: float
    ) -> DeliveryReport:
        total = Delivery()
        for cell, delivery in self._deliveries.items():
            if _is_in(cell, segments, population, publisher):
                total.add(delivery)
        places: Counter[str] = Counter()
        if population is None and publisher is None:
            for segment in segments:
                places.update(self._lost_at.get(segment, {}))
            if rest := total.lost - places.total():
                places[UNKNOWN] += rest  # whose worker told how many, and not which
        delivered = total.expected - total.lost
        return DeliveryReport(
            expected=total.expected,
            delivered=delivered,
            lost=total.lost,
            duplicated=total.duplicated,
            reordered=total.reordered,
            unexpected=total.unexpected,
            deliveries_per_s=round(delivered / duration_s, 1) if duration_s else 0.0,
            lost_at=dict(sorted((+places).items(), key=lambda item: (item[0] == UNKNOWN, -item[1], item[0]))),
            lost_percent=_percent(total.lost, total.expected),
        )

    def _fanout(self, segments: Collection[int], publisher: int | None) -> FanoutReport:
        total = _Fanout()
        for (number, segment), one in self._fanouts.items():
            if segment in segments and publisher in (None, number):
                total.messages += one.messages
                total.complete += one.complete
                total.spread.merge(one.spread)
        spread, stats = total.spread, SpreadStats()
        if spread.count:
            stats = SpreadStats(ms(spread.percentile_ns(50)), ms(spread.percentile_ns(99)), ms(spread.max_ns))
        return FanoutReport(total.messages, total.complete, _percent(total.complete, total.messages), stats)

    def _add_fanouts(self, parts: Iterable[Arrivals]) -> dict[tuple[int, int], _Fanout]:
        """Return what became of messages to several clients, by publisher and segment."""
        arrivals = Arrivals(i for i, stream in enumerate(self._plan.streams) if stream.members > 1)
        for part in parts:
            arrivals.merge(part)
        found: dict[tuple[int, int], _Fanout] = {}
        by_stream: dict[int, list[Reached]] = {}
        for (stream, _, _), reached in self._groups.items():
            by_stream.setdefault(stream, []).append(reached)
        for stream in arrivals.first:
            log = self._logs.get(stream)
            groups = by_stream.get(stream, ())
            for sequence, segment in enumerate(log.phase if log is not None else ()):
                if not sum(reached.expected[sequence] for reached in groups):
                    continue
                one = found.setdefault((self.cells.publishers[stream], segment), _Fanout())
                one.messages += 1
                one.complete += not any(reached.lost[sequence] for reached in groups)
                spread_ns = arrivals.spread_ns(stream, sequence)
                if spread_ns is not None:
                    one.spread.record(spread_ns)
        return found

    def _losses(self, t0_ns: int) -> Iterable[Loss]:
        """Yield what clients missed that were not cut off."""
        for (stream, comet, ended), reached in self._groups.items():
            log = self._logs.get(stream)
            if ended or log is None:
                continue
            by_key = self._plan.streams[stream].to in (PublishTo.MID, PublishTo.KEY)
            for sequence, lost in enumerate(reached.lost):
                if lost:
                    whole = lost == reached.expected[sequence]
                    at_ns, segment = log.sent_ns[sequence] - t0_ns, log.phase[sequence]
                    yield Loss(at_ns, segment, (stream, sequence), comet, lost, whole, by_key)


def latency_stats(total: Histogram) -> LatencyStats:
    """Return what a report says of latencies."""
    if not total.count:
        return LatencyStats()
    p50, p90, p95, p99, p999 = (ms(total.percentile_ns(percent)) for percent in (50, 90, 95, 99, 99.9))
    return LatencyStats(total.count, ms(total.min_ns), p50, p90, p95, p99, p999, ms(total.max_ns))


def ms(duration_ns: float) -> float:
    """Return milliseconds to the microsecond."""
    return round(duration_ns / 1e6, 3)


def _percent(part: int, whole: int) -> float | None:
    """Return a share, never rounded to 0 or 100 % when it is not."""
    if not whole:
        return None
    exact = part / whole * 100
    rounded = round(exact, 4)
    return exact if rounded in (0.0, 100.0) and part not in (0, whole) else rounded


def _is_in(
    cell: tuple[int, int, int], segments: Collection[int], population: int | None, publisher: int | None
) -> bool:
    return cell[2] in segments and population in (None, cell[0]) and publisher in (None, cell[1])
