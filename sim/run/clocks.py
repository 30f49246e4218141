"""One clock for a run on many machines: the publisher's.

Every machine has a monotonic clock of its own. A process of the generator
that is on another machine than the publisher gets the difference in its
environment, and its `monotonic_ns` here is the publisher's clock; on the same
machine it is `time.monotonic_ns` itself and costs what that costs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["CLOCK_AHEAD_VARIABLE", "SAME_CLOCK", "ClockOffset", "RoundTrip", "estimate_offset", "monotonic_ns"]

CLOCK_AHEAD_VARIABLE = "IMCTL_SIM_CLOCK_AHEAD_NS"
"""Environment variable: how far this machine's clock is ahead of the run's, in ns."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A question for the time and its answer.

    Args:
        asked_ns, answered_ns: By the clock of who asked.
        there_ns: What the other one's clock showed in between.
    """

    asked_ns: int
    there_ns: int
    answered_ns: int


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far another clock is ahead of ours, and how wrong that may be at most."""

    ahead_ns: int
    bound_ns: int

    def widened_by(self, later: ClockOffset) -> ClockOffset:
        """Return this one with a bound that also holds for what was measured later, so with what they drifted apart."""
        return ClockOffset(self.ahead_ns, max(self.bound_ns, abs(later.ahead_ns - self.ahead_ns) + later.bound_ns))


SAME_CLOCK = ClockOffset(0, 0)


def estimate_offset(samples: Sequence[RoundTrip]) -> ClockOffset:
    """Return what the fastest of some round trips tells.

    The other clock was read somewhere between question and answer, so its middle is wrong by at most half of that,
    however unlike the two ways were. ValueError when there is none.
    """
    best = min(samples, key=lambda one: one.answered_ns - one.asked_ns)
    middle_ns = (best.asked_ns + best.answered_ns) // 2
    return ClockOffset(best.there_ns - middle_ns, (best.answered_ns - best.asked_ns + 1) // 2)


def _run_clock(ahead_ns: int) -> Callable[[], int]:
    own = time.monotonic_ns
    return (lambda: own() - ahead_ns) if ahead_ns else own


monotonic_ns = _run_clock(int(os.environ.get(CLOCK_AHEAD_VARIABLE) or 0))
"""Now, in ns, by the clock of the run."""
