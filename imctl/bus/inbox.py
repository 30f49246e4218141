"""Records on their way from a broker's reader to receive(): bounded, and a cancelled receive() loses none."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from imctl.bus.contract import BusError, Record

__all__ = ["Inbox"]

_RECEIVE = 1000


class Inbox:
    """What has been read and not received.

    The bound is kept by the reader, which waits for room before it reads more,
    so it can be passed by what one read gives.

    Args:
        max_records: With so many the reader waits.
        max_bytes: The same in bytes of values.
    """

    def __init__(self, max_records: int = 2000, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._ready: deque[Record] = deque()
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closed = ""

    def __len__(self) -> int:
        return len(self._ready)

    def put(self, records: Iterable[Record]) -> None:
        """Add records at the end."""
        if self._closed:
            return
        for record in records:
            self._ready.append(record)
            self._bytes += len(record.value)
        if len(self._ready) >= self._max_records or self._bytes >= self._max_bytes:
            self._room.clear()
        if self._ready:
            self._wake_receiver()

    async def room(self) -> None:
        """Wait until less than the bound is ready."""
        await self._room.wait()

    async def get(self) -> list[Record]:
        """See Subscription.receive; raises BusError when it is closed, even if there is more."""
        while not self._ready:
            if self._closed:
                raise BusError(self._closed)
            if self._wake is not None and not self._wake.done():
                raise BusError("another receive() of this subscription is waiting")
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        ready = self._ready
        if len(ready) <= _RECEIVE:
            records = list(ready)
            ready.clear()
            self._bytes = 0
        else:
            records = [ready.popleft() for _ in range(_RECEIVE)]
            self._bytes -= sum(len(record.value) for record in records)
        self._look_for_room()
        return records

    def discard(self, unwanted: Callable[[Record], bool]) -> list[Record]:
        """Take out what is unwanted, and return it."""
        taken = [record for record in self._ready if unwanted(record)]
        if taken:
            self._ready = deque(record for record in self._ready if not unwanted(record))
            self._bytes -= sum(len(record.value) for record in taken)
            self._look_for_room()
        return taken

    def close(self, reason: str) -> list[Record]:
        """Give back what is ready, and wake the receiver with an error of this text."""
        if not self._closed:
            self._closed = reason
        left = list(self._ready)
        self._ready.clear()
        self._bytes = 0
        self._room.set()
        self._wake_receiver()
        return left

    def _look_for_room(self) -> None:
        if len(self._ready) < self._max_records and self._bytes < self._max_bytes:
            self._room.set()

    def _wake_receiver(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
