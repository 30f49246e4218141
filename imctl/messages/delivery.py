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
  until the comet is back or the session has ended. Then its cursor goes too;
- a connection is not registered although its comet has it, since the log was
  away at the time or what logic was told has been lost: it is registered here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from imctl.hooks.context import Delivery, HookContext, Message
from imctl.messages.contract import Batch, Cursor, KeptMessage, MessageLog
from imctl.messages.ids import sequence_of
from imctl.messages.lanes import End, Lanes

__all__ = ["Dispatcher"]

_HOLD_S = 1.5
"""A hold is given back after this time, long before the 5 s after which others would get it."""
_LOOK_AGAIN_S = 10.0
_MAX_ABSENT = 10_000
_MAX_COMETS = 10_000
_GO_COMET_S = 0.5  # such a comet does not tell when it routes to a connection; it has long done it by then


class Dispatcher:
    """Hands over in the background.

    Args:
        log: Where messages are kept.
        context: Of the hook.
        max_age_s: Older messages are not handed over.
        patience_s: A comet that has not answered for so long has lost its connections as far as others are concerned.
    """

    def __init__(self, log: MessageLog, context: HookContext, *, max_age_s: float, patience_s: float) -> None:
        self._log = log
        self._context = context
        self._max_age_s = max_age_s
        self._patience_s = patience_s
        self._lanes = Lanes(self._hand_over, self._put_off, context)
        self._ahead: dict[str, tuple[int, int]] = {}  # key -> epoch, and how far it has really been handed
        self._away_since_s: dict[str, float] = {}
        self._unsure: set[tuple[str, str]] = set()  # to be registered before they are handed anything
        self._absent: dict[tuple[str, str], float] = {}  # what its comet did not have, and when that was

    @property
    def waiting(self) -> int:
        """Connections that are to be handed something."""
        return self._lanes.waiting

    @property
    def gone(self) -> list[str]:
        """Comets that are away for so long that nobody has to wait for connections on them."""
        limit_s = time.monotonic() - self._patience_s
        return [server for server in self._lanes.away if self._away_since_s.get(server, limit_s) <= limit_s]

    def wake(self, mid: int, key: str, server: str) -> None:
        """Hand a connection what waits for it, soon; one that its comet has and that is not registered becomes so."""
        self._lanes.wake(mid, key, server)

    def register(self, mid: int, key: str, server: str) -> None:
        """As wake(), of a connection that could not be registered; whatever is registered under its key is older."""
        if not self._lanes.closed:
            self._unsure.add((server, key))
            self.wake(mid, key, server)

    def look_for(self, mid: int, key: str, server: str) -> None:
        """As wake(), of a session that is not registered; when the comet did not have it, not again for 10 s."""
        if time.monotonic() - self._absent.get((server, key), float("-inf")) >= _LOOK_AGAIN_S:
            self.wake(mid, key, server)

    async def close(self) -> None:
        """Finish the batches under way, for at most 3 s, and end."""
        await self._lanes.close()
        self._unsure.clear()

    def _put_off(self, server: str, key: str) -> None:
        """Leave a connection to the next sweep that finds it."""
        self._unsure.discard((server, key))
        self._context.count("put_off", 1)

    # --- one connection -----------------------------------------------------

    async def _hand_over(self, mid: int, key: str, server: str) -> End:
        """Hand over all that waits for a connection."""
        while not self._lanes.closed:
            until_s = time.monotonic() + _HOLD_S
            async with self._context.hold(f"messages:{key}"):
                while time.monotonic() < until_s:
                    end = await self._hand_over_batch(mid, key, server)
                    if end is not None:
                        return end
        return End.DONE

    async def _hand_over_batch(self, mid: int, key: str, server: str) -> End | None:
        """Hand over the next batch; None when there may be more."""
        if (server, key) in self._unsure:
            end = await self._register(mid, key, server)
            if end is not End.AWAY:
                self._unsure.discard((server, key))
            if end is not None:
                return end
        batch = await self._log.waiting(mid, key, round((time.time() - self._max_age_s) * 1000))
        if batch is None:
            self._ahead.pop(key, None)
            return await self._register(mid, key, server)
        cursor = batch.cursor
        if cursor.server != server:
            self.wake(mid, key, cursor.server)  # it has moved; its own lane takes it
            return End.DONE
        epoch, handed = self._ahead.get(key, (0, 0))
        if epoch == cursor.epoch and handed > cursor.handed:
            await self._advance(cursor, handed)
            return None
        if not batch.messages:
            return End.DONE
        result = await self._context.deliverer.deliver(server, key, _frames(batch.messages), mid=mid)
        return await self._delivered(batch, result)

    async def _delivered(self, batch: Batch, result: Delivery) -> End | None:
        cursor = batch.cursor
        self._note_answer(cursor.server, result)
        if result is Delivery.TAKEN:
            self._context.count("handed_over", len(batch.messages))
            self._lanes.took(cursor.server, cursor.key)
            await self._advance(cursor, batch.messages[-1].id)
            return None
        if result is Delivery.FULL:
            self._context.count("client_slow", 1)
            return End.SLOW
        if result is Delivery.UNREACHABLE:
            self._context.count("comet_away", 1)
            if await self._has_session(cursor.mid, cursor.key, cursor.server):
                return End.AWAY
        await self._log.drop_cursor(cursor)
        self._ahead.pop(cursor.key, None)
        return End.DONE

    async def _register(self, mid: int, key: str, server: str) -> End | None:
        """Register a connection that its comet has; None when it was, and may be handed something now."""
        if not await self._has_session(mid, key, server):
            return End.DONE
        result, session = await self._context.deliverer.find(server, key, mid=mid)
        self._note_answer(server, result)
        if result is Delivery.UNREACHABLE:
            self._context.count("comet_away", 1)
            return End.AWAY
        if result is not Delivery.TAKEN:
            self._note_absent(server, key)
            return End.DONE
        if not session:
            await asyncio.sleep(_GO_COMET_S)
        await self._log.open_cursor(mid, key, server, again=False, session=session)
        self._context.count("registered_late", 1)
        # Once more: if it has just ended, who was to forget it may have come before.
        result, still = await self._context.deliverer.find(server, key, mid=mid)
        if result is Delivery.UNKNOWN or (result is Delivery.TAKEN and still != session):
            await self._log.close_cursor(mid, key, server, session=session)
        return None

    def _note_answer(self, server: str, result: Delivery) -> None:
        """Note whether a comet is there."""
        if result is Delivery.UNREACHABLE:
            if len(self._away_since_s) >= _MAX_COMETS:
                self._away_since_s.clear()
            self._away_since_s.setdefault(server, time.monotonic())
            return
        self._away_since_s.pop(server, None)
        self._lanes.answered(server)

    async def _has_session(self, mid: int, key: str, server: str) -> bool:
        sessions = await self._context.deliverer.sessions((mid,))
        return sessions.get(mid, {}).get(key) == server

    def _note_absent(self, server: str, key: str) -> None:
        if len(self._absent) >= _MAX_ABSENT:
            self._absent.clear()
        self._absent[server, key] = time.monotonic()

    async def _advance(self, cursor: Cursor, handed: int) -> None:
        self._ahead[cursor.key] = (cursor.epoch, handed)
        await self._log.advance(cursor, handed, self.gone)
        # Moved, or opened anew: then it begins at its own place.
        del self._ahead[cursor.key]


def _frames(messages: Sequence[KeptMessage]) -> list[Message]:
    return [Message(message.operation, message.body, sequence_of(message.id)) for message in messages]
