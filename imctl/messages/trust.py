"""Which sessions a push over the bus would reach: those whose comet still has them.

A comet that is killed ends its sessions without a word, and the session store
goes on naming them for half an hour. What went over the bus to them would be
lost. So once a second a comet is asked for one of the connections that is to
get a push, which costs the comet next to nothing. When it does not answer or
does not know the connection, every connection on it is in doubt from then on,
and is asked for before it is trusted again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from imctl.hooks.context import Deliverer, Delivery

__all__ = ["Trust"]

_CHECK_EVERY_S = 1.0
_DOUBT_S = 1800.0  # as long as the session store remembers a session that nobody refreshes
_MAX_FOUND = 100_000
_MAX_COMETS = 10_000


class _Comet:
    __slots__ = ("asked_s", "away", "doubt_until_s", "found")

    def __init__(self) -> None:
        self.asked_s = float("-inf")
        self.away = False
        self.doubt_until_s = float("-inf")
        self.found: set[str] = set()  # connections that were there since the doubt began


class Trust:
    """What is known of the comets.

    Args:
        deliverer: The way to them.
        clock: Seconds.
    """

    def __init__(self, deliverer: Deliverer, clock: Callable[[], float] = time.monotonic) -> None:
        self._deliverer = deliverer
        self._clock = clock
        self._comets: dict[str, _Comet] = {}

    async def trusted(self, sessions: Iterable[tuple[str, str]]) -> set[str]:
        """Return the keys, of (key, server), that their comets still have as far as is known."""
        wanted = list(sessions)
        now = self._clock()
        due: list[tuple[str, str]] = []
        for key, server in wanted:
            comet = self._comet(server)
            if now - comet.asked_s >= _CHECK_EVERY_S:
                comet.asked_s = now
                due.append((key, server))
        trusted = await self._ask_all(due)
        doubtful: list[tuple[str, str]] = []
        for key, server in wanted:
            comet = self._comet(server)
            if now >= comet.doubt_until_s or key in comet.found:
                trusted.add(key)
            elif not comet.away and (key, server) not in due:
                doubtful.append((key, server))
        return trusted | await self._ask_all(doubtful)

    def _comet(self, server: str) -> _Comet:
        comet = self._comets.get(server)
        if comet is None:
            if len(self._comets) >= _MAX_COMETS:
                self._comets.clear()
            comet = self._comets[server] = _Comet()
        return comet

    async def _ask_all(self, sessions: list[tuple[str, str]]) -> set[str]:
        """Return the keys that their comets have."""
        if not sessions:
            return set()
        there = await asyncio.gather(*(self._ask(key, server) for key, server in sessions))
        return {key for (key, _), is_there in zip(sessions, there, strict=True) if is_there}

    async def _ask(self, key: str, server: str) -> bool:
        result = await self._deliverer.deliver(server, key, ())
        comet = self._comet(server)
        comet.away = result is Delivery.UNREACHABLE
        if result in (Delivery.UNKNOWN, Delivery.UNREACHABLE):
            if key in comet.found or self._clock() >= comet.doubt_until_s:
                # A new doubt: what was found before may be gone as well.
                comet.found.clear()
            comet.doubt_until_s = self._clock() + _DOUBT_S
            return False
        if self._clock() < comet.doubt_until_s:
            if len(comet.found) >= _MAX_FOUND:
                comet.found.clear()
            comet.found.add(key)
        return True
