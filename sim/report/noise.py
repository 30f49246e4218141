"""Whether two runs differ by more than their own seconds do: the rank test of Mann and Whitney.

Each second of a run gives one value, such as its p99. If the two runs were the
same, a second of one would be larger than a second of the other as often as
not, however uneven and lopsided the seconds are. The test says how likely the
ranks that were found are then. It takes no shape of the values for granted,
has no chance in it, and the same two reports always give the same answer.

Source: Mann and Whitney, Annals of Mathematical Statistics 18 (1947); with the
normal approximation, corrected for ties and continuity. Under five seconds on
a side it cannot tell anything at ALPHA.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

from sim.report.model import PhaseReport, RunReport, SeriesRow

__all__ = ["ALPHA", "MIN_SECONDS", "rank_test", "seconds_of"]

ALPHA = 0.02
"""Two runs that are the same are taken for different in so many cases, before the tolerance has its say."""

MIN_SECONDS = 5


def rank_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Return how likely two samples of one distribution differ as much as these, 0.0 to 1.0."""
    count = len(a) + len(b)
    if not a or not b:
        return 1.0
    ordered = sorted((*a, *b))
    ties = Counter(ordered)
    # The middle of the places that equal values share.
    ranks = {value: bisect_left(ordered, value) + (times + 1) / 2 for value, times in ties.items()}
    above = sum(ranks[value] for value in a) - len(a) * (len(a) + 1) / 2
    mean = len(a) * len(b) / 2
    tied = sum(times**3 - times for times in ties.values()) / (count * (count - 1))
    variance = len(a) * len(b) / 12 * (count + 1 - tied)
    if variance <= 0:
        return 1.0  # all values are the same
    distance = max(abs(above - mean) - 0.5, 0.0) / math.sqrt(variance)
    return math.erfc(distance / math.sqrt(2))


def seconds_of(report: RunReport, phase: str = "") -> list[SeriesRow]:
    """Return the whole seconds of the measured phases, or of one phase; part of a second would look like a change."""
    spans: Mapping[str, tuple[float, float]] = _spans(report.phases)
    names = {one.name for one in report.phases if one.measure and phase in ("", one.name)}
    found = []
    for row in report.series:
        if row.phase in names:
            start_s, end_s = spans[row.phase]
            if row.at_s >= start_s - 1e-6 and row.at_s + 1 <= end_s + 1e-6:
                found.append(row)
    return found


def _spans(phases: Sequence[PhaseReport]) -> dict[str, tuple[float, float]]:
    spans: dict[str, tuple[float, float]] = {}
    at_s = 0.0
    for phase in phases:
        spans[phase.name] = at_s, at_s + phase.duration_s
        at_s += phase.duration_s
    return spans
