"""What hooks are only told of: in the background, in order for each connection, in bounded numbers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from imctl.hooks.contract import ClientEvent
from imctl.node import Counters

__all__ = ["Notices"]

_LANES = 16
_MAX_WAITING = 20_000
_CLOSE_S = 2.0


class Notices:
    """Queues of notifications; a connection's go through one of 16 lanes, so a slow hook holds up few others.

    Args:
        tell: Tells all hooks of one event; must not raise.
        drops: `hooks.notices_full` counts what did not fit.
    """

    def __init__(self, tell: Callable[[str, ClientEvent], Awaitable[None]], drops: Counters) -> None:
        self._tell = tell
        self._drops = drops
        self._lanes: list[deque[tuple[str, ClientEvent]]] = [deque() for _ in range(_LANES)]
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._waiting = 0

    def put(self, method: str, event: ClientEvent) -> None:
        """Queue one; a full queue drops and counts it."""
        if self._waiting >= _MAX_WAITING:
            self._drops.add("hooks.notices_full")
            return
        lane = hash(event.key) % _LANES
        self._waiting += 1
        self._lanes[lane].append((method, event))
        if lane not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._work(lane), name=f"hook notices {lane}")
            self._tasks[lane] = task

    async def close(self) -> None:
        """Tell what waits, for at most 2 s; what is left then is counted as dropped."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_CLOSE_S)
        for task in list(self._tasks.values()):
            task.cancel()
        if self._waiting:
            self._drops.add("hooks.notices_full", self._waiting)
            self._waiting = 0

    async def _work(self, lane: int) -> None:
        waiting = self._lanes[lane]
        try:
            while waiting:
                await self._tell(*waiting.popleft())
                self._waiting -= 1
        finally:
            del self._tasks[lane]
