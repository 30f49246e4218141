"""The run cut at every time that a phase or the window of an expectation begins or ends.

Whatever is measured is kept by segment, so a phase and a window are each a
number of whole segments, and their figures are exact sums.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from sim.scenario.scenario import Scenario
from sim.scenario.shapes import NS_PER_S, phase_spans

__all__ = ["Segments", "segments_of"]


@dataclass(frozen=True, slots=True)
class Segments:
    """Segments one after the other, from the start of the first phase.

    Args:
        bounds_ns: Where they begin and end: segment i is from bound i up to, not including, bound i + 1.
        phases: Index of the phase that each is part of.
    """

    bounds_ns: tuple[int, ...]
    phases: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.phases)

    def at(self, at_ns: int) -> int:
        """Return the segment of a planned time; the nearest one when it is in none."""
        return min(max(bisect_right(self.bounds_ns, at_ns) - 1, 0), len(self.phases) - 1)

    def of_phases(self, wanted: Callable[[int], bool]) -> tuple[int, ...]:
        """Return the segments of phases, told by their index."""
        return tuple(i for i, phase in enumerate(self.phases) if wanted(phase))

    def between(self, from_s: float, to_s: float) -> tuple[int, ...]:
        """Return the segments of a window that the cuts were made for."""
        low, high = round(from_s * NS_PER_S), math.inf if to_s == math.inf else round(to_s * NS_PER_S)
        return tuple(i for i in range(len(self)) if low <= self.bounds_ns[i] and self.bounds_ns[i + 1] <= high)

    def length_s(self, segment: int, end_s: float = math.inf) -> float:
        """Return how long a segment is; of a run that was ended early, how much of it there was."""
        low, high = self.bounds_ns[segment] / NS_PER_S, self.bounds_ns[segment + 1] / NS_PER_S
        return max(min(high, end_s) - low, 0.0)


def segments_of(scenario: Scenario) -> Segments:
    """Return the segments of a scenario."""
    spans = phase_spans(scenario.phases)
    end_ns = spans[-1].end_ns
    cuts = {0, *(span.end_ns for span in spans)}
    for expectation in scenario.expect:
        for at_s in (expectation.from_s, expectation.to_s):
            if at_s is not None and 0 < round(at_s * NS_PER_S) < end_ns:
                cuts.add(round(at_s * NS_PER_S))
    bounds = tuple(sorted(cuts))
    ends = [span.end_ns for span in spans]
    return Segments(bounds, tuple(bisect_right(ends, start) for start in bounds[:-1]))
