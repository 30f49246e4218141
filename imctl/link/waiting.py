"""Calls that wait for their reply, with a time limit that costs nothing a call.

A timer for every call would cost more than the call. Instead a sweep runs
eight times in the time limit and writes down the newest call id; a call is
late when it is not newer than what was written down eight sweeps ago. So a
call ends between one and 1.125 time limits after it was made, a process that
was stopped for a while does not fail calls whose replies lie in its socket
(a sweep counts its own runs, not the clock), and there is one timer a peer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from imctl.link.contract import PeerError, PeerUnavailableError

__all__ = ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "Waiting", "error_of", "failed"]

# gRPC status codes.
UNKNOWN = 2
DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
INTERNAL = 13
UNAVAILABLE = 14

_SWEEPS = 8

Entry = tuple[asyncio.Future[Any], Callable[[bytes], Any]]


def error_of(code: int, details: str) -> PeerError:
    """Return the error a caller sees for a gRPC status."""
    if code in (DEADLINE_EXCEEDED, UNAVAILABLE):
        return PeerUnavailableError(details, code)
    return PeerError(details, code)


def failed(error: Exception) -> asyncio.Future[Any]:
    """Return a future that has already failed."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


class Waiting:
    """Futures by call id, ids counting up from 1.

    Args:
        name: The peer, for error texts.
        timeout_s: Time limit of each call.
        expired: Called after a sweep that failed late calls.
    """

    __slots__ = ("_expired", "_loop", "_marks", "_name", "_sweep_handle", "_timeout_s", "entries", "last_id")

    def __init__(self, name: str, timeout_s: float, expired: Callable[[], None] | None = None) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._marks: deque[int] = deque()
        self._sweep_handle: asyncio.TimerHandle | None = None
        self.entries: dict[int, Entry] = {}
        self.last_id = 0
        """Id of the newest call, which is also how many there were."""

    def open(self, parse: Callable[[bytes], Any]) -> asyncio.Future[Any]:
        """Return the future of a new call, whose id is then `last_id`."""
        future = self._loop.create_future()
        self.last_id = call_id = self.last_id + 1
        self.entries[call_id] = (future, parse)
        if self._sweep_handle is None:
            self._sweep_handle = self._loop.call_later(self._timeout_s / _SWEEPS, self._sweep)
        return future

    def fail_all(self, code: int, details: str, kind: type[PeerUnavailableError] = PeerUnavailableError) -> None:
        """End every call with an error of this kind."""
        entries, self.entries = self.entries, {}
        for future, _ in entries.values():
            if not future.done():
                future.set_exception(kind(details, code))
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        self._marks.clear()

    def _sweep(self) -> None:
        self._sweep_handle = None
        self._marks.append(self.last_id)
        late: list[int] = []
        if len(self._marks) > _SWEEPS:
            mark = self._marks.popleft()
            for call_id in self.entries:  # in the order they were made
                if call_id > mark:
                    break
                late.append(call_id)
        for call_id in late:
            future, _ = self.entries.pop(call_id)
            if not future.done():
                details = f"{self._name} did not answer within {self._timeout_s:g} s"
                future.set_exception(PeerUnavailableError(details, DEADLINE_EXCEEDED))
        if late and self._expired is not None:
            self._expired()
        if self.entries:
            self._sweep_handle = self._loop.call_later(self._timeout_s / _SWEEPS, self._sweep)
        else:
            self._marks.clear()
