"""The whole measured seconds of a run, as values that two runs can be compared by.

The series counts a delivery in the second in which it was read. So a cluster
that stands still leaves seconds without any latency, and then one with all of
it: taken as they are, the longer it stands still, the fewer bad seconds there
are. Here each second gets the latency of those who waited in it:

- A second in which messages were pushed, nothing at all was read, and what was
  pushed came late or never, has an infinite one: it is the worst of all.
- Any other has at least the time from it to a later second whose latency
  reaches back to it: what was read after 17 s had waited in each of these 17.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim.report.model import PhaseReport, RunReport, SeriesRow

__all__ = ["Seconds", "seconds_of"]

STALL_MS = 500.0
"""What was pushed in a second without a delivery came so late or later, or the second is no stall: with a few messages
a second one that is pushed at its end is read in the next."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds of a run.

    Args:
        rows: The whole seconds that are compared.
        series: All of the run in order, also those after the last phase: the later ones tell of the earlier.
        stalled: Those of `rows`, by `at_s`, in which the cluster stood still for everybody.
    """

    rows: tuple[SeriesRow, ...] = ()
    series: tuple[SeriesRow, ...] = ()
    stalled: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.rows)

    def counts(self, column: str) -> list[float]:
        """Return what was counted in each second: `messages` or `delivered`."""
        return [getattr(row, column) for row in self.rows]

    def latencies(self, column: str) -> list[float]:
        """Return the latency in ms of each second, such as its `p99_ms`; one that tells nothing is left out."""
        waits = self._waits(column)
        found = (math.inf if row.at_s in self.stalled else waits.get(row.at_s) for row in self.rows)
        return [value for value in found if value is not None]

    def _waits(self, column: str) -> dict[int, float]:
        """Return the latency of each second or, where it is more, how long after it that of a later one began."""
        waits: dict[int, float] = {}
        for row in self.series:
            value = getattr(row, column)
            if value is None:
                continue
            waits[row.at_s] = max(waits.get(row.at_s, 0.0), value)
            for back_s in range(1, min(int(value / 1000), row.at_s) + 1):
                at_s = row.at_s - back_s
                waits[at_s] = max(waits.get(at_s, 0.0), back_s * 1000.0)
        return waits


def seconds_of(report: RunReport, phase: str = "") -> Seconds:
    """Return the whole seconds of the measured phases, or of one phase; part of a second would look like a change."""
    spans: Mapping[str, tuple[float, float]] = _spans(report.phases)
    names = {one.name for one in report.phases if one.measure and phase in ("", one.name)}
    found = []
    for row in report.series:
        if row.phase in names:
            start_s, end_s = spans[row.phase]
            if row.at_s >= start_s - 1e-6 and row.at_s + 1 <= end_s + 1e-6:
                found.append(row)
    stalled = _stalled(report.series) & {row.at_s for row in found}
    return Seconds(tuple(found), report.series, stalled)


def _stalled(series: Sequence[SeriesRow]) -> frozenset[int]:
    found = set()
    later_ms: float | None = None  # the worst latency of the next second in which anything was read
    for row in reversed(series):
        if row.delivered:
            later_ms = row.max_ms
        elif row.messages:
            # Without a loss nobody may have had to get them: clients come and go.
            is_late = row.lost is None if later_ms is None else later_ms >= STALL_MS
            if row.lost or is_late:
                found.add(row.at_s)
    return frozenset(found)


def _spans(phases: Sequence[PhaseReport]) -> dict[str, tuple[float, float]]:
    spans: dict[str, tuple[float, float]] = {}
    at_s = 0.0
    for phase in phases:
        spans[phase.name] = at_s, at_s + phase.duration_s
        at_s += phase.duration_s
    return spans
