"""The ready-made message store: what a user misses is kept, handed over in order, and gone once acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from imctl.errors import ConfigError
from imctl.hooks.context import HookContext
from imctl.hooks.contract import (
    ClientEvent,
    HookError,
    PushEvent,
    PushTarget,
    ReceiveEvent,
    ReceiveReply,
    StoreReply,
)
from imctl.messages.contract import (
    Cursor,
    Entry,
    KeptMessage,
    Limits,
    MessageLog,
    Offer,
    Waiting,
    mid_scope,
    room_scope,
)
from imctl.messages.delivery import Dispatcher
from imctl.messages.factory import open_messages
from imctl.messages.trust import Trust
from imctl.ratelog import LimitedLogger
from imctl.store.contract import StoreError
from protocol.operation import MESSAGES_ACK

__all__ = ["OfflineMessages"]

_OFFERS_AT_A_TIME = 500
_SWEEP_EVERY_S = 1.0
_SWEEP_USERS = 500
_MOST_READ = 1000
_PATIENCE_S = 60.0
"""What a user has acknowledged is not kept longer for connections on a comet that has not answered for so long."""


class OfflineMessages:
    """A hook: MessageStore, Receiver, and told of sessions; see docs/messages.md.

    Args:
        url: Where messages are kept, see imctl.messages.factory.open_messages.
        keep: `offline`: pushes by mid to users who are not there, or for whom older ones wait still; others go over
            the bus. `all`: every push by mid, which then goes to the comets directly.
        ack: A message is deleted when the `client` has acknowledged it, or when the `comet` has taken it.
        max_messages: Kept for one user; beyond, the oldest go.
        max_bytes: As above, of their bodies; also of each history.
        max_age_s: Older messages are deleted.
        history: Pushes to remember for each user and room; 0 for none.
        history_age_s: For how long.
        ack_operation: Operation of a client's acknowledgement.
    """

    def __init__(
        self,
        url: str = "sqlite://",
        *,
        keep: Literal["offline", "all"] = "offline",
        ack: Literal["client", "comet"] = "client",
        max_messages: int = 10_000,
        max_bytes: int = 10_000_000,
        max_age_s: float = 7 * 86_400.0,
        history: int = 100,
        history_age_s: float = 7 * 86_400.0,
        ack_operation: int = MESSAGES_ACK,
    ) -> None:
        _check("keep", keep, keep in ("offline", "all"), "offline or all")
        _check("ack", ack, ack in ("client", "comet"), "client or comet")
        _check("max_messages", max_messages, max_messages >= 1, "1 or more")
        _check("max_bytes", max_bytes, max_bytes >= 1, "1 or more")
        _check("max_age_s", max_age_s, max_age_s > 0, "more than 0")
        _check("history", history, 0 <= history <= _MOST_READ, f"0 to {_MOST_READ}")
        _check("history_age_s", history_age_s, history_age_s >= 1, "1 or more")
        self._keep_all = keep == "all"
        self._limits = Limits(max_messages, max_bytes, max_age_s, history, history_age_s, delete_taken=ack == "comet")
        self._ack_operation = ack_operation
        self._log: MessageLog = open_messages(url, self._limits)
        self._context: HookContext
        self._dispatcher: Dispatcher
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, context: HookContext) -> None:
        """Open the log and begin to clean up."""
        try:
            await self._log.check()
        except StoreError as exc:
            await self._log.close()
            raise _hook_error(exc) from exc
        self._context = context
        self._logger = LimitedLogger(context.logger)
        self._trust = Trust(context.deliverer)
        patience_s = 0.0 if self._limits.delete_taken else _PATIENCE_S
        self._dispatcher = Dispatcher(self._log, context, max_age_s=self._limits.max_age_s, patience_s=patience_s)
        self._sweeper = asyncio.create_task(self._sweep_always(), name=f"sweep {self._log.url}")

    async def stop(self) -> None:
        """Finish what is under way and close the log."""
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeper
            await self._dispatcher.close()
        await self._log.close()

    # --- pushes -------------------------------------------------------------

    async def store_message(self, event: PushEvent) -> StoreReply:
        """Keep a push by mid for those who need it; remember it and one to a room.

        Raises:
            HookError: a push by mid could not be kept; of several users, some may have got it.
        """
        if event.target is PushTarget.ROOM:
            await self._record_room(event)
        if event.target is not PushTarget.MIDS:
            return StoreReply()
        time_ms = _now_ms()
        live = {} if self._keep_all else await self._live(event)
        offers = [
            Offer(mid, event.operation, event.body, time_ms, live.get(mid, {}))
            for mid in dict.fromkeys(event.mids)
            if mid > 0
        ]
        handled: set[int] = set()
        for first in range(0, len(offers), _OFFERS_AT_A_TIME):
            handled |= await self._offer(offers[first : first + _OFFERS_AT_A_TIME], event.sessions)
        return StoreReply(frozenset(handled))

    async def _live(self, event: PushEvent) -> Mapping[int, Mapping[str, str]]:
        """Return the sessions {mid: {key: server}} that a push over the bus would reach."""
        sessions = event.sessions
        trusted = await self._trust.trusted(item for found in sessions.values() for item in found.items())
        return {
            mid: {key: server for key, server in found.items() if key in trusted} for mid, found in sessions.items()
        }

    async def _offer(self, offers: Sequence[Offer], sessions: Mapping[int, Mapping[str, str]]) -> set[int]:
        """Offer messages; return the users for whom they were kept."""
        try:
            placed = await self._log.offer(offers)
        except StoreError as exc:
            raise _hook_error(exc) from exc
        handled = {offer.mid for offer, place in zip(offers, placed, strict=True) if place.id}
        for offer, place in zip(offers, placed, strict=True):
            for cursor in place.cursors:
                self._dispatcher.wake(cursor.mid, cursor.key, cursor.server)
            if place.id:
                self._look_for_others(offer.mid, sessions, place.cursors)
        self._count("kept", len(handled))
        self._count("live", len(offers) - len(handled))
        self._drop("history", sum(not place.recorded for place in placed))
        self._drop("over_count", sum(place.over_count for place in placed))
        self._drop("over_bytes", sum(place.over_bytes for place in placed))
        return handled

    def _look_for_others(self, mid: int, sessions: Mapping[int, Mapping[str, str]], cursors: Sequence[Cursor]) -> None:
        """Find sessions of a user that should have been registered and are not."""
        registered = {(cursor.key, cursor.server) for cursor in cursors}
        for session in sessions.get(mid, {}).items():
            if session not in registered:
                self._dispatcher.look_for(mid, *session)

    async def _record_room(self, event: PushEvent) -> None:
        """Enter a push in its room's history; without that it goes on all the same."""
        if not self._limits.history:
            return
        try:
            await self._log.record(Entry(room_scope(event.room), event.operation, event.body, _now_ms()))
        except StoreError as exc:
            self._drop("history", 1)
            self._logger.info("a push to a room is missing in its history: %s", exc.message)

    # --- clients ------------------------------------------------------------

    async def receive(self, event: ReceiveEvent) -> ReceiveReply:
        """Take an acknowledgement; other operations are for the next receiver."""
        if event.operation != self._ack_operation:
            return ReceiveReply(handled=False)
        if event.mid > 0:
            try:
                self._count("acknowledged", await self._log.acknowledge(event.mid, event.seq))
            except StoreError as exc:
                raise _hook_error(exc) from exc
        return ReceiveReply()

    async def registered(self, event: ClientEvent) -> None:
        """Begin to hand a connection what waits for its user."""
        await self._open(event, again=event.again)

    async def refreshed(self, event: ClientEvent) -> None:
        """Make sure that a connection which is alive is known."""
        await self._open(event, again=True)

    async def disconnected(self, event: ClientEvent) -> None:
        """Forget a connection."""
        if event.mid > 0:
            try:
                await self._log.close_cursor(event.mid, event.key, event.server, session=event.session)
            except StoreError as exc:
                raise _hook_error(exc) from exc

    async def _open(self, event: ClientEvent, *, again: bool) -> None:
        if event.mid <= 0:
            return
        mid, key, server = event.mid, event.key, event.server
        try:
            cursor = await self._log.open_cursor(mid, key, server, again=again, session=event.session)
        except (StoreError, asyncio.CancelledError) as exc:  # the latter when the time for it is over
            # Of a session that has no id, which one is registered cannot be told.
            find = self._dispatcher.register if event.session or not again else self._dispatcher.wake
            find(mid, key, server)
            if isinstance(exc, StoreError):
                raise _hook_error(exc) from exc
            raise
        if cursor is not None:
            self._dispatcher.wake(mid, key, server)

    # --- readers ------------------------------------------------------------

    async def history(
        self, *, mid: int | None = None, room: str | None = None, limit: int = 20, before: int = 0
    ) -> Sequence[KeptMessage]:
        """See MessageReader.history."""
        scope = room_scope(room) if room is not None else mid_scope(mid or 0)
        oldest_ms = _now_ms() - round(self._limits.history_age_s * 1000)
        try:
            return await self._log.history(scope, min(limit, _MOST_READ), before, oldest_ms)
        except StoreError as exc:
            raise _hook_error(exc) from exc

    async def offline(self, mid: int) -> Waiting:
        """See MessageReader.offline."""
        try:
            return await self._log.queue(mid)
        except StoreError as exc:
            raise _hook_error(exc) from exc

    async def delete_offline(self, mid: int) -> int:
        """See MessageReader.delete_offline."""
        try:
            return await self._log.delete(mid)
        except StoreError as exc:
            raise _hook_error(exc) from exc

    # --- cleaning up --------------------------------------------------------

    async def _sweep_always(self) -> None:
        """Delete what is too old, and find connections that nobody else hands anything.

        These are those that a logic which has died was to serve, and those that should have been registered.
        """
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            try:
                await self._sweep()
            except StoreError as exc:
                self._count("sweeps_failed", 1)
                self._logger.info("old messages stay for now: %s", exc.message)

    async def _sweep(self) -> None:
        swept = await self._log.sweep(_now_ms(), _SWEEP_USERS, self._dispatcher.gone)
        self._drop("over_age", swept.over_age)
        for cursor in swept.behind:
            self._dispatcher.wake(cursor.mid, cursor.key, cursor.server)
        if swept.cursors:
            sessions = await self._context.deliverer.sessions(list(swept.cursors))
            for mid, cursors in swept.cursors.items():
                self._look_for_others(mid, sessions, cursors)

    def _count(self, name: str, count: int) -> None:
        if count:
            self._context.count(name, count)

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self._context.drop(reason, count)


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ConfigError(f"hook offline: {name} is {value!r}; expected {expected}")


def _now_ms() -> int:
    return round(time.time() * 1000)


def _hook_error(exc: StoreError) -> HookError:
    return HookError(exc.message, hint=exc.hint)
