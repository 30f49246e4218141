"""Times that chance draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

__all__ = ["ExponentialTime", "LognormalTime", "Time", "UniformTime", "draw_time_s"]


@dataclass(frozen=True, slots=True)
class UniformTime:
    """Every time from `min_s` to `max_s` is as likely."""

    min_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class ExponentialTime:
    """Times as between chance events: most are shorter than their mean, a few are several times as long."""

    mean_s: float


@dataclass(frozen=True, slots=True)
class LognormalTime:
    """Times as people take: most near `median_s`, a few much longer, none over `max_s`.

    `sigma` is the standard deviation of the time's natural logarithm.
    """

    median_s: float
    sigma: float
    max_s: float


Time = float | UniformTime | ExponentialTime | LognormalTime


def draw_time_s(time: Time, rng: Random) -> float:
    """Return a time; a fixed one draws nothing."""
    match time:
        case UniformTime(low, high):
            return rng.uniform(low, high)
        case ExponentialTime(mean):
            return rng.expovariate(1 / mean)
        case LognormalTime(median, sigma, longest):
            return min(rng.lognormvariate(math.log(median), sigma), longest)
        case _:
            return time
