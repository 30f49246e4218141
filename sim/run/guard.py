"""Ends a run early: expectations with `abort: true`, looked at every second while the phases run.

Latencies and rates are those since the last look, counts those since the start,
each of what the expectation is about, so an expectation of a phase is only
looked at in that phase. One that has nothing to be measured by (nothing was
published) is passed over; published and not delivered is a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery
from sim.measure.measures import latency_stats
from sim.measure.segments import segments_of
from sim.report.model import ClientsReport, ExpectResult, plain
from sim.run.messages import Progress, PublishProgress
from sim.run.nodes import NodeHistory, TimedSamples
from sim.scenario.expect import evaluate, explain
from sim.scenario.metrics import Subject, split_path
from sim.scenario.scenario import Expectation, Scenario
from sim.scenario.scope import scope_of

__all__ = ["Guard"]

_NODE_WINDOW_S = 2.0  # CPU of the last samples only


@dataclass(slots=True)
class _Look:
    """What there was at one look."""

    at_s: float = 0.0
    sent: Counter[tuple[int, int]] = field(default_factory=Counter)
    latency: dict[tuple[int, int, int], Histogram] = field(default_factory=dict)


class Guard:
    """Watches one run.

    Args:
        scenario: Whose expectations.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._segments = segments_of(scenario)
        self._expectations = [expectation for expectation in scenario.expect if expectation.abort]
        self._failing_since_s: dict[Expectation, float] = {}
        self._before = _Look()
        self._fresh: dict[tuple[int, int, int], Histogram] = {}
        self._now = _Look()

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to watch."""
        return bool(self._expectations)

    def add(self, progress: Progress) -> None:
        """Take what a worker tells."""
        for cell, histogram in progress.live.items():
            self._fresh.setdefault(cell, Histogram()).merge(histogram)

    def look(
        self,
        at_s: float,
        workers: Sequence[Progress],
        publisher: PublishProgress,
        samples: Sequence[TimedSamples],
    ) -> list[str]:
        """Return why the run is to end now; [] when it may go on.

        Args:
            at_s: From the start of the first phase.
            workers: What each has told last.
            publisher: What it has told last.
            samples: Of the nodes, from the start of the first phase.
        """
        self._now = _Look(at_s, Counter(publisher.sent), self._fresh)
        self._fresh = {}
        document = {"clients": plain(_clients(self._scenario, workers))}
        reasons: list[str] = []
        for expectation in self._expectations:
            subject = split_path(expectation.path)
            part = self._part(subject, expectation, workers, publisher, samples)
            if part is None:
                self._failing_since_s.pop(expectation, None)
                continue
            result = _judge(expectation, document | part)
            if result.passed:
                self._failing_since_s.pop(expectation, None)
                continue
            since_s = self._failing_since_s.setdefault(expectation, self._before.at_s)
            if at_s - since_s >= expectation.after_s:
                reasons.append(f"ended after {at_s:.1f} s by {explain(result)}, for {at_s - since_s:.1f} s")
        self._before = self._now
        return reasons

    def _part(
        self,
        subject: Subject,
        expectation: Expectation,
        workers: Sequence[Progress],
        publisher: PublishProgress,
        samples: Sequence[TimedSamples],
    ) -> dict[str, Any] | None:
        """Return what an expectation is about; None when now is not its time, or nothing was there to be measured."""
        segments, population, number = scope_of(subject, expectation, self._scenario, self._segments)
        running = self._segments.at(round(self._before.at_s * 1e9))
        if running not in segments:
            return None
        if subject.node:
            return {"nodes": _nodes(subject, samples, self._now.at_s)}
        sent = _sum_in(self._now.sent, segments, number)
        new = sent - _sum_in(self._before.sent, segments, number)
        read = Histogram()
        for cell, histogram in self._now.latency.items():
            if cell[2] in segments and population in (None, cell[0]) and number in (None, cell[1]):
                read.merge(histogram)
        if not new and not read.count and subject.key.partition(".")[0] != "clients":
            return None
        total = Delivery()
        for progress in workers:
            for (owner, of), row in progress.deliveries.items():
                if population in (None, owner) and number in (None, of):
                    for segment in segments:
                        total.add(row[segment])
        seconds = max(self._now.at_s - self._before.at_s, 1e-3)
        return {
            "publish": {
                "messages": sent,
                "errors": _sum_in(publisher.failed, segments, number),
                "rate_per_s": new / seconds,
            },
            "delivery": {
                "expected": sent,
                "delivered": read.count,
                "deliveries_per_s": read.count / seconds,
                "duplicated": total.duplicated,
                "unexpected": total.unexpected,
            },
            "latency_ms": plain(latency_stats(read)),
        }


def _judge(expectation: Expectation, found: Mapping[str, Any]) -> ExpectResult:
    [result] = evaluate([expectation], found, lambda subject, expectation: found)
    return result


def _sum_in(counts: Mapping[tuple[int, int], int], segments: Collection[int], publisher: int | None) -> int:
    return sum(count for (of, at), count in counts.items() if at in segments and publisher in (None, of))


def _clients(scenario: Scenario, workers: Sequence[Progress]) -> ClientsReport:
    return ClientsReport(
        wanted=scenario.client_count,
        connected=sum(progress.connected for progress in workers),
        failed=sum(progress.failed for progress in workers),
        disconnected=sum(progress.lost_connections for progress in workers),
        reconnects=sum(progress.reconnects for progress in workers),
    )


def _nodes(subject: Subject, samples: Sequence[TimedSamples], at_s: float) -> list[dict[str, Any]]:
    history = NodeHistory(samples)
    from_s = at_s - _NODE_WINDOW_S if subject.key == "cpu_percent" else -1e9
    found: list[dict[str, Any]] = plain(history.reports(from_s, at_s))
    return found
