"""What a hook is only told of: in the background, in order for each connection, in bounded numbers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from imctl.hooks.contract import ClientEvent
from imctl.node import Counters

__all__ = ["Notices"]

_T = TypeVar("_T")

_LANES = 16
_MAX_WAITING = 20_000
_CLOSE_S = 2.0


class Notices(Generic[_T]):
    """The queues of one hook's notifications; a connection's go through one of 16 lanes.

    A hook that hangs delays what it is told itself: each lane is held for the
    limit of a call. Every other hook has its own.

    Args:
        tell: Tells the hook of one event, by one of its methods; must not raise.
        drops: Counts what did not fit.
        dropped_as: Under which name.
    """

    def __init__(self, tell: Callable[[_T, ClientEvent], Awaitable[None]], drops: Counters, dropped_as: str) -> None:
        self._tell = tell
        self._drops = drops
        self._dropped_as = dropped_as
        self._lanes: list[deque[tuple[_T, ClientEvent]]] = [deque() for _ in range(_LANES)]
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._waiting = 0

    def put(self, method: _T, event: ClientEvent) -> None:
        """Queue one; a full queue drops and counts it."""
        if self._waiting >= _MAX_WAITING:
            self._drops.add(self._dropped_as)
            return
        lane = hash(event.key) % _LANES
        self._waiting += 1
        self._lanes[lane].append((method, event))
        if lane not in self._tasks:
            name = f"{self._dropped_as} {lane}"
            self._tasks[lane] = asyncio.get_running_loop().create_task(self._work(lane), name=name)

    async def close(self) -> None:
        """Tell what waits, for at most 2 s; what is left then is counted as dropped."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_CLOSE_S)
        for task in list(self._tasks.values()):
            task.cancel()
        if self._waiting:
            self._drops.add(self._dropped_as, self._waiting)
            self._waiting = 0

    async def _work(self, lane: int) -> None:
        waiting = self._lanes[lane]
        try:
            while waiting:
                await self._tell(*waiting.popleft())
                self._waiting -= 1
        finally:
            del self._tasks[lane]
