"""When which connection is served: one lane a comet, a few connections of a lane at a time.

Whoever finds that a connection is behind wakes it. One that fails is tried
again after a wait; a comet that is away makes its whole lane wait. Neither
holds up others, and how many wait is bounded.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable

from imctl.hooks.context import HookContext
from imctl.ratelog import LimitedLogger
from imctl.store.contract import StoreError

__all__ = ["End", "Lanes"]

_AT_A_TIME = 8
_MAX_WAITING = 100_000
_FIRST_WAIT_S = 0.02
_MAX_SLOW_WAIT_S = 1.0
_MAX_AWAY_WAIT_S = 10.0
_MAX_TRIES_PER_S = 2000
"""Of connections that wait for their next try, all together."""
_STOP_S = 3.0


class End(enum.Enum):
    """What came of serving a connection."""

    DONE = enum.auto()
    SLOW = enum.auto()  # this connection later
    AWAY = enum.auto()  # this comet later


class _Lane:
    """The connections of one comet that are behind."""

    __slots__ = ("active", "again", "pending", "slow", "timer", "wait_s", "workers")

    def __init__(self) -> None:
        self.pending: dict[str, int] = {}  # key -> mid, the first is next
        self.active: set[str] = set()
        self.again: dict[str, int] = {}  # woken while active
        self.slow: dict[str, float] = {}  # key -> its last wait
        self.workers: set[asyncio.Task[None]] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.wait_s = 0.0  # more than 0: the comet is away

    @property
    def is_idle(self) -> bool:
        return not (self.pending or self.active or self.slow or self.workers or self.timer)


class Lanes:
    """The lanes of all comets.

    Args:
        serve: Serves a connection, given mid, key and comet; StoreError, or any other, is as SLOW.
        put_off: Told of a comet and key for which there was no space.
        context: Of the hook.
    """

    def __init__(
        self,
        serve: Callable[[int, str, str], Awaitable[End]],
        put_off: Callable[[str, str], None],
        context: HookContext,
    ) -> None:
        self._serve = serve
        self._put_off = put_off
        self._context = context
        self._lanes: dict[str, _Lane] = {}
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._logger = LimitedLogger(context.logger)
        self.closed = False

    @property
    def waiting(self) -> int:
        """Connections that are to be served."""
        return len(self._timers) + sum(len(lane.pending) + len(lane.active) for lane in self._lanes.values())

    @property
    def away(self) -> list[str]:
        """Comets that are away, as far as is known from serving connections on them."""
        return [server for server, lane in self._lanes.items() if lane.wait_s]

    def wake(self, mid: int, key: str, server: str) -> None:
        """Serve a connection, soon."""
        if self.closed:
            return
        lane = self._lanes.get(server)
        if lane is None:
            lane = self._lanes[server] = _Lane()
        if key in lane.active:
            lane.again[key] = mid
        elif (server, key) not in self._timers:
            if len(lane.pending) >= _MAX_WAITING:
                self._put_off(server, key)
                return
            lane.pending[key] = mid
        self._run(server, lane)

    def answered(self, server: str) -> None:
        """A comet is there."""
        if (lane := self._lanes.get(server)) is not None:
            lane.wait_s = 0.0

    def took(self, server: str, key: str) -> None:
        """A connection makes progress: when it is slow the next time, the wait is a short one again."""
        if (lane := self._lanes.get(server)) is not None:
            lane.slow.pop(key, None)

    async def close(self) -> None:
        """Finish what is under way, for at most 3 s, and end."""
        self.closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        workers = [worker for lane in self._lanes.values() for worker in lane.workers]
        for lane in self._lanes.values():
            lane.pending.clear()
            lane.again.clear()
            if lane.timer is not None:
                lane.timer.cancel()
        if workers:
            await asyncio.wait(workers, timeout=_STOP_S)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        self._lanes.clear()

    def _run(self, server: str, lane: _Lane) -> None:
        # A comet that has just been away is tried with one connection.
        most = 1 if lane.wait_s else _AT_A_TIME
        while (
            lane.timer is None
            and len(lane.workers) < most
            and len(lane.workers) - len(lane.active) < len(lane.pending)
            and not self.closed
        ):
            worker = asyncio.get_running_loop().create_task(
                self._work(server, lane), name=f"hand over messages on {server}"
            )
            lane.workers.add(worker)

    async def _work(self, server: str, lane: _Lane) -> None:
        try:
            while lane.pending and lane.timer is None and not self.closed:
                key = next(iter(lane.pending))
                mid = lane.pending.pop(key)
                lane.active.add(key)
                try:
                    end = await self._serve(mid, key, server)
                except StoreError as exc:
                    self._context.count("delayed", 1)
                    self._logger.info("messages wait: %s", exc.message)
                    end = End.SLOW
                except Exception:
                    logging.getLogger(__name__).exception("handing over messages failed")
                    end = End.SLOW
                finally:
                    lane.active.discard(key)
                self._ended(server, lane, mid, key, end)
        finally:
            task = asyncio.current_task()
            assert task is not None
            lane.workers.discard(task)
            if lane.is_idle and self._lanes.get(server) is lane:
                del self._lanes[server]

    def _ended(self, server: str, lane: _Lane, mid: int, key: str, end: End) -> None:
        again = lane.again.pop(key, None)
        if self.closed:
            return
        loop = asyncio.get_running_loop()
        if end is End.AWAY:
            lane.pending[key] = mid
            if lane.timer is None:
                lane.wait_s = min(max(lane.wait_s * 2, 10 * _FIRST_WAIT_S), _MAX_AWAY_WAIT_S)
                lane.timer = loop.call_later(lane.wait_s, self._try_comet, server, lane)
            return
        if end is End.SLOW and len(self._timers) < _MAX_WAITING:
            wait_s = lane.slow[key] = min(max(lane.slow.get(key, 0.0) * 2, _FIRST_WAIT_S), _MAX_SLOW_WAIT_S)
            wait_s = max(wait_s, len(self._timers) / _MAX_TRIES_PER_S)
            self._timers[server, key] = loop.call_later(wait_s, self._try_connection, server, lane, mid, key)
            return
        lane.slow.pop(key, None)
        if end is End.SLOW:
            self._put_off(server, key)
        elif again is not None:
            lane.pending[key] = again
        self._run(server, lane)

    def _try_comet(self, server: str, lane: _Lane) -> None:
        lane.timer = None
        self._run(server, lane)

    def _try_connection(self, server: str, lane: _Lane, mid: int, key: str) -> None:
        del self._timers[server, key]
        lane.pending[key] = mid
        self._run(server, lane)
