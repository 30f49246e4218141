"""When each virtual publisher of a closed loop may send.

The factor of a phase says how many of them are active: of 20 publishers `x2`
makes 40, `x0` none, and on a ramp `x1..x2` they join one after the other.
Virtual publisher v, from 0, is active while publishers times factor is at
least v + 0.5, so their number is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sim.scenario.publishing import ClosedLoop
from sim.scenario.scenario import Phase
from sim.scenario.shapes import NS_PER_S, phase_factors, phase_spans

__all__ = ["most_active", "next_active_ns"]


def most_active(closed: ClosedLoop, phases: Sequence[Phase]) -> int:
    """Return the most virtual publishers that are active at a time."""
    highest = max((max(phase_factors(phase)) for phase in phases), default=0.0)
    return math.floor(closed.publishers * highest + 0.5)


def next_active_ns(closed: ClosedLoop, phases: Sequence[Phase], number: int, at_ns: int) -> int | None:
    """Return the first time from `at_ns` on at which a virtual publisher is active; None when it never is again.

    Args:
        closed: The loop.
        phases: One after the other, from time 0.
        number: Of the virtual publisher, from 0.
        at_ns: From the start of the first phase.
    """
    needed = (number + 0.5) / closed.publishers
    for phase, span in zip(phases, phase_spans(phases), strict=True):
        if span.end_ns <= at_ns:
            continue
        start, end = phase_factors(phase)
        from_ns = max(at_ns, span.start_ns)
        now = start + (end - start) * (from_ns - span.start_ns) / (span.end_ns - span.start_ns)
        if now >= needed:
            return from_ns
        if end > start and end > needed:
            # It rises, and reaches what is needed before its end.
            share = (needed - start) / (end - start)
            reached_ns = span.start_ns + math.ceil(share * phase.duration_s * NS_PER_S)
            if reached_ns < span.end_ns:
                return max(reached_ns, from_ns)
    return None
