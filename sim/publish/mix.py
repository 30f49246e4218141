"""Which publishers share a schedule or a loop, and whose turn the next message is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from random import Random

from sim.scenario.publishing import ClosedLoop, Publisher

__all__ = ["choose", "loops_of", "mixes_of"]


def mixes_of(publishers: Sequence[Publisher]) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the publishers of each mix, in order; one without a mix is by itself."""
    mixes: dict[str | int, list[int]] = {}
    for index, publisher in enumerate(publishers):
        mixes.setdefault(publisher.mix or index, []).append(index)
    return tuple(tuple(mix) for mix in mixes.values())


def loops_of(publishers: Sequence[Publisher]) -> list[tuple[tuple[int, ...], ClosedLoop]]:
    """Return the mixes that are closed loops, each with its loop."""
    mixes = ((mix, publishers[mix[0]].closed) for mix in mixes_of(publishers))
    return [(mix, closed) for mix, closed in mixes if closed is not None]


def choose(weights: Sequence[float], rng: Random) -> int:
    """Return an index, each as often as its weight says; the only one without drawing."""
    if len(weights) == 1:
        return 0
    return rng.choices(range(len(weights)), cum_weights=list(accumulate(weights)))[0]
