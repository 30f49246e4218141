"""What is done with events besides passing bytes on: in the time that the event loop has left, and no more.

Each turn of the loop passes bytes first, and then at most one slice of this
work is done. What waits for it is bounded: data that finds no room is left
out and counted, and whoever takes the events is told how much was left out
where. A connection whose beginning finds no room is left out as a whole. Ends
always find room: there are no more of them than connections.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from imctl.decode.traffic import Side
from imctl.tap.seen import Accepted, Gone, Left, Passed, Refused, TapEvent

__all__ = ["Backlog"]

_EVENT_BYTES = 500
"""About what an event takes beside its data."""
_SLICE_NS = 1_000_000
_BUSY_SLICE_NS = 100_000
"""While bytes are coming: slices add up when a thousand connections have something to pass on."""
_RETRY_S = 0.02


class Backlog:
    """What waits for one purpose.

    Args:
        take: Called with each event in turn.
        ready: Called before and after each slice; sends what was made so far on its way, and says whether there is room
            for more. Must not wait.
        failed: Called with what take or ready raised; no more is taken then.
        max_bytes: Most that waits.
        clock_ns: For the length of a slice.
    """

    def __init__(
        self,
        take: Callable[[TapEvent], None],
        ready: Callable[[], bool],
        failed: Callable[[Exception], None],
        *,
        max_bytes: int = 16 * 1024 * 1024,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.bytes_left_out = 0
        self.connections_left_out = 0
        self._take = take
        self._ready = ready
        self._failed = failed
        self._max_bytes = max_bytes
        self._clock_ns = clock_ns
        self._waiting: deque[TapEvent] = deque()
        self._waiting_bytes = 0
        self._is_due = False
        self._is_busy = False
        self._broken = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._hidden: set[int] = set()
        self._left: dict[tuple[int, Side], int] = {}

    def watch(self, event: TapEvent) -> None:
        """Put an event in line; never waits."""
        if self._broken:
            return
        self._is_busy = True
        number = event.number
        if number in self._hidden:
            self.bytes_left_out += len(event.data) if isinstance(event, Passed) else 0
            if isinstance(event, Gone):
                self._hidden.discard(number)
        elif isinstance(event, Passed):
            self._watch_data(event)
        elif isinstance(event, (Accepted, Refused)) and self._is_full(0):
            self.connections_left_out += 1
            if isinstance(event, Accepted):
                self._hidden.add(number)
        else:
            if isinstance(event, Gone):
                for side in Side:
                    self._tell_left(event.time_ns, number, side)
            self._put(event, 0)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until all that waits is taken and sent; False when it took too long, and the rest is left out."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            self._broken = True
            for event in self._waiting:
                self.bytes_left_out += len(event.data) if isinstance(event, Passed) else 0
                self.connections_left_out += isinstance(event, (Accepted, Refused))
            self._waiting.clear()
            return False
        return True

    def _watch_data(self, event: Passed) -> None:
        size = len(event.data)
        if self._is_full(size):
            self.bytes_left_out += size
            key = (event.number, event.side)
            self._left[key] = self._left.get(key, 0) + size
            return
        self._tell_left(event.time_ns, event.number, event.side)
        self._put(event, size)

    def _tell_left(self, time_ns: int, number: int, side: Side) -> None:
        size = self._left.pop((number, side), 0) if self._left else 0
        if size:
            self._put(Left(time_ns, number, side, size), 0)

    def _is_full(self, size: int) -> bool:
        # One that is larger than all the room is taken when nothing waits.
        return bool(self._waiting) and self._waiting_bytes + size + _EVENT_BYTES > self._max_bytes

    def _put(self, event: TapEvent, size: int) -> None:
        self._waiting.append(event)
        self._waiting_bytes += size + _EVENT_BYTES
        if not self._is_due:
            self._is_due = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        if self._broken:
            return
        try:
            is_ready = self._ready()
            if is_ready:
                self._take_slice()
                is_ready = self._ready()
        except Exception as exc:
            self._broken = True
            self._waiting.clear()
            self._idle.set()
            self._failed(exc)
            return
        loop = asyncio.get_running_loop()
        if not is_ready:
            loop.call_later(_RETRY_S, self._work)
        elif self._waiting:
            loop.call_soon(self._work)
        else:
            self._is_due = False
            self._idle.set()

    def _take_slice(self) -> None:
        until_ns = self._clock_ns() + (_BUSY_SLICE_NS if self._is_busy else _SLICE_NS)
        self._is_busy = False
        while self._waiting:
            event = self._waiting.popleft()
            self._waiting_bytes -= _EVENT_BYTES + (len(event.data) if isinstance(event, Passed) else 0)
            self._take(event)
            if self._clock_ns() >= until_ns:
                return
