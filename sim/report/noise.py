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
from collections.abc import Sequence

__all__ = ["ALPHA", "MIN_SECONDS", "is_shifted", "rank_test"]

ALPHA = 0.02
"""Two runs that are the same are taken for different in so many cases, before the tolerance has its say."""

MIN_SECONDS = 5


def rank_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Return how likely two samples of one distribution differ as much as these, 0.0 to 1.0."""
    count = len(a) + len(b)
    if not a or not b:
        return 1.0
    ties = Counter((*a, *b))
    above, mean = _pairs_above(a, b), len(a) * len(b) / 2
    tied = sum(times**3 - times for times in ties.values()) / (count * (count - 1))
    variance = len(a) * len(b) / 12 * (count + 1 - tied)
    if variance <= 0:
        return 1.0  # all values are the same
    distance = max(abs(above - mean) - 0.5, 0.0) / math.sqrt(variance)
    return math.erfc(distance / math.sqrt(2))


def is_shifted(a: Sequence[float], b: Sequence[float], *, up: bool) -> bool:
    """Whether the values of b are larger than those of a, or smaller, by more than chance."""
    above, mean = _pairs_above(a, b), len(a) * len(b) / 2
    return (above < mean if up else above > mean) and rank_test(a, b) <= ALPHA


def _pairs_above(a: Sequence[float], b: Sequence[float]) -> float:
    """Return in how many pairs of a value of each the one of a is the larger; of equal ones half of them."""
    ordered = sorted((*a, *b))
    # The middle of the places that equal values share.
    ranks = {value: bisect_left(ordered, value) + (times + 1) / 2 for value, times in Counter(ordered).items()}
    return sum(ranks[value] for value in a) - len(a) * (len(a) + 1) / 2
