"""Hands over what waits: from the log to the comets, one lane a comet.

Whoever finds that a connection is behind wakes its lane. A lane hands over to
a few connections at a time; each is held under a name that all logics share,
so one connection is handed its messages by one logic at a time, in order:
read a batch, deliver it, move the cursor. What can go wrong in between:

- this process dies after delivering and before the cursor has moved: the batch
  comes again, with the same ids;
- the cursor cannot be moved since the log is full or away: it is remembered
  here how far it should be, and nothing is delivered before it has been moved;
- the client is slow: it is tried again after a wait that doubles up to 1 s;
- the comet does not answer: the whole lane waits, up to 10 s between two tries,
  until the comet is back or the session has ended. Then its cursor goes too.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Sequence

from imctl.hooks.context import Delivery, HookContext, Message
from imctl.messages.contract import Batch, Cursor, KeptMessage, MessageLog
from imctl.messages.ids import sequence_of
from imctl.ratelog import LimitedLogger
from imctl.store.contract import StoreError

__all__ = ["Dispatcher"]

_AT_A_TIME = 8
_MAX_WAITING = 100_000
_HOLD_S = 1.5
"""A hold is given back after this time, long before the 5 s after which others would get it."""
_FIRST_WAIT_S = 0.02
_MAX_SLOW_WAIT_S = 1.0
_MAX_AWAY_WAIT_S = 10.0
_STOP_S = 3.0


class _End(enum.Enum):
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
        self.wait_s = 0.0

    @property
    def is_idle(self) -> bool:
        return not (self.pending or self.active or self.slow or self.workers or self.timer)


class Dispatcher:
    """Hands over in the background.

    Args:
        log: Where messages are kept.
        context: Of the hook.
        max_age_s: Older messages are not handed over.
    """

    def __init__(self, log: MessageLog, context: HookContext, max_age_s: float) -> None:
        self._log = log
        self._context = context
        self._max_age_s = max_age_s
        self._lanes: dict[str, _Lane] = {}
        self._ahead: dict[str, tuple[int, int]] = {}  # key -> epoch, and how far it has really been handed
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._closed = False
        self._logger = LimitedLogger(context.logger)

    @property
    def waiting(self) -> int:
        """Connections that are to be handed something."""
        return len(self._timers) + sum(len(lane.pending) + len(lane.active) for lane in self._lanes.values())

    def wake(self, cursor: Cursor) -> None:
        """Hand a connection what waits for it, soon."""
        if self._closed:
            return
        lane = self._lanes.get(cursor.server)
        if lane is None:
            lane = self._lanes[cursor.server] = _Lane()
        if cursor.key in lane.active:
            lane.again[cursor.key] = cursor.mid
        elif (cursor.server, cursor.key) not in self._timers:
            if len(lane.pending) >= _MAX_WAITING:
                self._context.count("put_off", 1)  # the next sweep finds it
                return
            lane.pending[cursor.key] = cursor.mid
        self._run(cursor.server, lane)

    async def close(self) -> None:
        """Finish the batches under way, for at most 3 s, and end."""
        self._closed = True
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

    # --- lanes --------------------------------------------------------------

    def _run(self, server: str, lane: _Lane) -> None:
        # A comet that has just been away is tried with one connection.
        most = 1 if lane.wait_s else _AT_A_TIME
        while (
            lane.timer is None
            and len(lane.workers) < most
            and len(lane.workers) - len(lane.active) < len(lane.pending)
            and not self._closed
        ):
            worker = asyncio.get_running_loop().create_task(
                self._work(server, lane), name=f"hand over messages on {server}"
            )
            lane.workers.add(worker)

    async def _work(self, server: str, lane: _Lane) -> None:
        try:
            while lane.pending and lane.timer is None and not self._closed:
                key = next(iter(lane.pending))
                mid = lane.pending.pop(key)
                lane.active.add(key)
                try:
                    end = await self._hand_over(mid, key, server)
                except StoreError as exc:
                    self._context.count("delayed", 1)
                    self._logger.info("messages wait: %s", exc.message)
                    end = _End.SLOW
                except Exception:
                    logging.getLogger(__name__).exception("handing over messages failed")
                    end = _End.SLOW
                finally:
                    lane.active.discard(key)
                self._ended(server, lane, mid, key, end)
        finally:
            task = asyncio.current_task()
            assert task is not None
            lane.workers.discard(task)
            if lane.is_idle and self._lanes.get(server) is lane:
                del self._lanes[server]

    def _ended(self, server: str, lane: _Lane, mid: int, key: str, end: _End) -> None:
        again = lane.again.pop(key, None)
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        if end is _End.AWAY:
            lane.pending[key] = mid
            if lane.timer is None:
                lane.wait_s = min(max(lane.wait_s * 2, 10 * _FIRST_WAIT_S), _MAX_AWAY_WAIT_S)
                lane.timer = loop.call_later(lane.wait_s, self._try_comet, server, lane)
            return
        if end is _End.SLOW:
            wait_s = lane.slow[key] = min(max(lane.slow.get(key, 0.0) * 2, _FIRST_WAIT_S), _MAX_SLOW_WAIT_S)
            self._timers[server, key] = loop.call_later(wait_s, self._try_connection, server, lane, mid, key)
            return
        lane.slow.pop(key, None)
        lane.wait_s = 0.0
        if again is not None:
            lane.pending[key] = again
        self._run(server, lane)

    def _try_comet(self, server: str, lane: _Lane) -> None:
        lane.timer = None
        self._run(server, lane)

    def _try_connection(self, server: str, lane: _Lane, mid: int, key: str) -> None:
        del self._timers[server, key]
        lane.pending[key] = mid
        self._run(server, lane)

    # --- one connection -----------------------------------------------------

    async def _hand_over(self, mid: int, key: str, server: str) -> _End:
        """Hand over all that waits for a connection."""
        while not self._closed:
            until_s = time.monotonic() + _HOLD_S
            async with self._context.hold(f"messages:{key}"):
                while time.monotonic() < until_s:
                    end = await self._hand_over_batch(mid, key, server)
                    if end is not None:
                        return end
        return _End.DONE

    async def _hand_over_batch(self, mid: int, key: str, server: str) -> _End | None:
        """Hand over the next batch; None when there may be more."""
        batch = await self._log.waiting(mid, key, round((time.time() - self._max_age_s) * 1000))
        if batch is None:
            self._ahead.pop(key, None)
            return _End.DONE
        cursor = batch.cursor
        if cursor.server != server:
            self.wake(cursor)  # it has moved; its own lane takes it
            return _End.DONE
        epoch, handed = self._ahead.get(key, (0, 0))
        if epoch == cursor.epoch and handed > cursor.handed:
            await self._advance(cursor, handed)
            return None
        if not batch.messages:
            return _End.DONE
        result = await self._context.deliverer.deliver(server, key, _frames(batch.messages), mid=mid)
        return await self._delivered(batch, result)

    async def _delivered(self, batch: Batch, result: Delivery) -> _End | None:
        cursor = batch.cursor
        lane = self._lanes.get(cursor.server)
        if result is Delivery.TAKEN:
            self._context.count("handed_over", len(batch.messages))
            if lane is not None:
                lane.slow.pop(cursor.key, None)  # it makes progress: the next wait is a short one again
            await self._advance(cursor, batch.messages[-1].id)
            return None
        if result is Delivery.FULL:
            self._context.count("client_slow", 1)
            return _End.SLOW
        if result is Delivery.UNREACHABLE:
            self._context.count("comet_away", 1)
            sessions = await self._context.deliverer.sessions((cursor.mid,))
            if sessions.get(cursor.mid, {}).get(cursor.key) == cursor.server:
                return _End.AWAY
        await self._log.drop_cursor(cursor)
        self._ahead.pop(cursor.key, None)
        return _End.DONE

    async def _advance(self, cursor: Cursor, handed: int) -> None:
        away = [server for server, lane in self._lanes.items() if lane.wait_s]
        self._ahead[cursor.key] = (cursor.epoch, handed)
        await self._log.advance(cursor, handed, away)
        # Moved, or opened anew: then it begins at its own place.
        del self._ahead[cursor.key]


def _frames(messages: Sequence[KeptMessage]) -> list[Message]:
    return [Message(message.operation, message.body, sequence_of(message.id)) for message in messages]
