"""How many members each room has, over all comets.

Every comet reports its rooms every 10 s to any one logic, which keeps the
report in the store for the others. goim sums the reports once every 10 s;
here a report counts at once, and the store is read every 10 s for what other
logics were told. A comet that leaves the registry takes its members along.
Source: goim internal/logic/online.go.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from imctl.node import Counters
from imctl.store.contract import OnlineReport, SessionStore, StoreError
from protocol.bodies import room_key
from protocol.golang import url_host

__all__ = ["MAX_AGE_S", "OnlineCounts"]

logger = logging.getLogger(__name__)

MAX_AGE_S = 300
"""A report older than this is of a comet that has gone; goim's five minutes."""


class OnlineCounts:
    """Room counts of all comets in the registry.

    Args:
        store: Where reports are kept for other logics.
        counters: Counts renewals.
        drops: Counts reports that could not be kept or read.
        at_once: Whether a report counts at once, or only with the next rebuild as in goim.
        clock_s: Unix seconds; reports carry them, also those of Go nodes.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        counters: Counters,
        drops: Counters,
        at_once: bool = True,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._counters = counters
        self._drops = drops
        self._at_once = at_once
        self._clock_s = clock_s
        # Of all that reported lately; counted are those of comets in the registry.
        self._reports: dict[str, OnlineReport] = {}
        self._live: frozenset[str] = frozenset()
        self._rooms: dict[str, int] = {}

    @property
    def rooms(self) -> Mapping[str, int]:
        """Members of every room that has any."""
        return self._rooms

    async def renew(self, server: str, rooms: Mapping[str, int]) -> Mapping[str, int]:
        """Take the report of a comet and return the counts of the whole cluster."""
        self._counters.add("renewals")
        report = OnlineReport(dict(rooms), int(self._clock_s()))
        if self._at_once:
            self._replace(server, report)
        try:
            await self._store.set_online(server, report)
        except StoreError as exc:
            # The comet gets its answer all the same: its clients see the
            # counts known here, and the next report is ten seconds away.
            self._drops.add("logic.online_store")
            logger.warning("room counts of %s are not stored: %s", server, exc)
        return self._rooms

    def set_live(self, servers: Iterable[str]) -> None:
        """Take the comets that are in the registry and not offline."""
        live = frozenset(servers)
        gone, self._live = self._live - live, live
        for server in gone:
            self._reports.pop(server, None)
        self._sum()

    async def rebuild(self) -> None:
        """Read what other logics were told, and forget what is too old."""
        servers = sorted(self._live)
        results = await asyncio.gather(*map(self._store.online, servers), return_exceptions=True)
        oldest_s = self._clock_s() - MAX_AGE_S
        for server, result in zip(servers, results, strict=True):
            if isinstance(result, StoreError):
                self._drops.add("logic.online_store")
                logger.warning("room counts of %s cannot be read: %s", server, result)
            elif isinstance(result, BaseException):
                raise result
            elif result is not None:
                if result.updated_s < oldest_s:
                    await self._drop(server)
                elif self._is_news(server, result):
                    self._reports[server] = result
        self._reports = {server: report for server, report in self._reports.items() if report.updated_s >= oldest_s}
        self._sum()

    def top(self, kind: str, limit: int) -> list[dict[str, object]]:
        """Return the fullest rooms whose key begins with `kind`, as online/top has them.

        A room is named by the host of its key read as a URL, and left out
        when its key is none, as goim does it.
        """
        named = []
        for room, count in self._rooms.items():
            if room.startswith(kind):
                try:
                    named.append((-count, room, url_host(room)))
                except ValueError:
                    continue
        return [{"room_id": host, "count": -count} for count, _, host in heapq.nsmallest(limit, named)]

    def counts(self, kind: str, rooms: Sequence[str]) -> dict[str, int]:
        """Return the members of rooms `kind://room`, 0 for an unknown one, sorted by name as Go's maps are."""
        return {room: self._rooms.get(room_key(kind, room), 0) for room in sorted(set(rooms))}

    def _is_news(self, server: str, stored: OnlineReport) -> bool:
        # Of the same second our own is the later one: it may have come while
        # the store was being read.
        own = self._reports.get(server)
        return own is None or not self._at_once or stored.updated_s > own.updated_s

    async def _drop(self, server: str) -> None:
        try:
            await self._store.drop_online(server)
        except StoreError as exc:
            self._drops.add("logic.online_store")
            logger.warning("old room counts of %s cannot be dropped: %s", server, exc)

    def _replace(self, server: str, report: OnlineReport) -> None:
        old = self._reports.get(server)
        self._reports[server] = report
        if server not in self._live:
            return
        # By the difference, on a copy: whoever holds the old map keeps a whole one.
        rooms = dict(self._rooms)
        if old is not None:
            for room, count in old.rooms.items():
                _add(rooms, room, -count)
        for room, count in report.rooms.items():
            _add(rooms, room, count)
        self._rooms = rooms

    def _sum(self) -> None:
        rooms: dict[str, int] = {}
        for server, report in self._reports.items():
            if server in self._live:
                for room, count in report.rooms.items():
                    _add(rooms, room, count)
        self._rooms = rooms


def _add(rooms: dict[str, int], room: str, count: int) -> None:
    total = rooms.get(room, 0) + count
    if total:
        rooms[room] = total
    else:
        rooms.pop(room, None)
