"""Word from the clients of a worker to closed loops that wait until a message has been read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sim.clients.plan import Plan
from sim.publish.mix import loops_of
from sim.scenario.publishing import WaitFor

__all__ = ["Sightings", "watched_streams"]

_REMEMBERED = 8192


def watched_streams(plan: Plan) -> frozenset[int]:
    """Return the streams of which somebody has to say when a message was first read."""
    return frozenset(
        stream
        for mix, closed in loops_of(plan.scenario.publish)
        if closed.wait is WaitFor.DELIVERY
        for index in mix
        for stream in plan.publishers[index]
    )


class Sightings:
    """Messages that a client was the first of this worker's to read, told in batches.

    Args:
        streams: Those that somebody waits for; of others nothing is noted.

    Attributes:
        tell: Called with the (stream, sequence) of what was read in one turn of the event loop.
    """

    __slots__ = ("_fresh", "_known", "streams", "tell")

    def __init__(self, streams: frozenset[int]) -> None:
        self.streams = streams
        self.tell: Callable[[tuple[tuple[int, int], ...]], None] = lambda places: None
        # The latest, in order: everybody in a room reads a message, and one word of it is enough. One
        # that is told twice is no harm.
        self._known: dict[tuple[int, int], None] = {}
        self._fresh: list[tuple[int, int]] = []

    def note(self, stream: int, sequence: int) -> None:
        """Note that a client reads a message; of one of `streams`."""
        place = stream, sequence
        if place in self._known:
            return
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[place] = None
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._flush)
        self._fresh.append(place)

    def _flush(self) -> None:
        fresh, self._fresh = tuple(self._fresh), []
        self.tell(fresh)
