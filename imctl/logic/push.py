"""From a push to records on the bus: one goim.logic.PushMsg each, under goim's keys.

| push | records | key |
|---|---|---|
| to keys, mids | one a comet that holds some of them | the first connection key of that record |
| to a room | one | the room key |
| to all | one | the operation in decimal |

Order: pushes that were answered before the next was sent keep their order a
room, and a connection key as long as each names it alone or first. A push
returns once the bus holds its records; who is offline then gets nothing.
Source: goim internal/logic/push.go and the recorded Kafka messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from imctl.bus.contract import Bus, BusError
from imctl.errors import ImctlError
from imctl.hooks.contract import PushEvent, PushTarget
from imctl.hooks.hooks import Hooks
from imctl.node import Counters
from imctl.store.contract import SessionStore
from imctl.store.immediate import ImmediateStore
from imctl.trace import TraceLog
from protocol.pb import logic
from protocol.push_api import PushAll, PushKeys, PushMids, PushRoom
from protocol.trace import Place

__all__ = ["MessageTooLargeError", "Pusher"]

_ROOM = logic.PushMsg.ROOM
_BROADCAST = logic.PushMsg.BROADCAST


class MessageTooLargeError(ImctlError):
    """A push is larger than the bus may be given.

    Args:
        size: Bytes of the record, as far as known.
        limit: Bytes allowed.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"message of {size} bytes is over the limit of {limit} bytes")
        self.size = size
        self.limit = limit


class Pusher:
    """Publishes pushes.

    Every method raises BusError or StoreError when the push, or a part of it,
    is not known to have reached the bus, HookFailedError when a message store
    could not keep it, and MessageTooLargeError. `trace` is the id of a push
    that is followed, 0 for none.

    Args:
        bus: Where records go.
        store: Who says where a key or user is connected.
        max_message_bytes: Largest record, key included.
        counters: Counts pushes by kind and records.
        drops: Counts what was not published by reason; `logic.offline` are
            keys and users that were not connected.
        traces: Remembers pushes that are followed.
        hooks: Who may keep a push before it is published.
    """

    def __init__(
        self,
        bus: Bus,
        store: SessionStore,
        *,
        max_message_bytes: int,
        counters: Counters,
        drops: Counters,
        traces: TraceLog,
        hooks: Hooks | None = None,
    ) -> None:
        self._bus = bus
        self._store = store
        self._now = store if isinstance(store, ImmediateStore) else None
        self._max_message_bytes = max_message_bytes
        self._counters = counters
        self._drops = drops
        self._traces = traces
        self._hooks = hooks if hooks is not None and hooks.has("store_message") else None

    async def push_keys(self, push: PushKeys, body: bytes, trace: int = 0) -> None:
        """Publish to connections by key; a key that is named twice gets it twice."""
        self._counters.add("push_keys")
        if self._hooks is not None:
            await self._hooks.store_message(PushEvent(PushTarget.KEYS, push.operation, body, keys=tuple(push.keys)))
        servers = (
            self._now.servers_by_key_now(push.keys)
            if self._now is not None
            else await self._store.servers_by_key(push.keys)
        )
        by_server: dict[str, list[str]] = {}
        for key in push.keys:
            server = servers.get(key)
            if server is None:
                self._drops.add("logic.offline")
            else:
                by_server.setdefault(server, []).append(key)
        await self._publish_each(push.operation, by_server, body, trace)

    async def push_mids(self, push: PushMids, body: bytes, trace: int = 0) -> None:
        """Publish to all connections of users; each connection gets it once."""
        self._counters.add("push_mids")
        sessions = (
            self._now.sessions_by_mid_now(push.mids)
            if self._now is not None
            else await self._store.sessions_by_mid(push.mids)
        )
        mids = push.mids
        if self._hooks is not None:
            event = PushEvent(PushTarget.MIDS, push.operation, body, mids=tuple(mids), sessions=sessions)
            handled = await self._hooks.store_message(event)
            mids = tuple(mid for mid in mids if mid not in handled)
        if len(mids) == 1:
            servers = sessions.get(mids[0], {})
            offline = int(not servers)
        else:
            # One map over all users, as goim has it: a key of two users counts once.
            wanted = dict.fromkeys(mids)
            servers = {key: server for mid in wanted for key, server in sessions.get(mid, {}).items()}
            offline = sum(mid not in sessions for mid in wanted)
        if offline:
            self._drops.add("logic.offline", offline)
        by_server: dict[str, list[str]] = {}
        for key, server in servers.items():
            by_server.setdefault(server, []).append(key)
        await self._publish_each(push.operation, by_server, body, trace)

    async def push_room(self, push: PushRoom, body: bytes, trace: int = 0) -> None:
        """Publish to a room, whether it has members or not."""
        self._counters.add("push_room")
        room = push.room_key
        if self._hooks is not None:
            await self._hooks.store_message(PushEvent(PushTarget.ROOM, push.operation, body, room=room))
        await self._publish(room, logic.PushMsg(type=_ROOM, operation=push.operation, room=room, msg=body), trace)

    async def push_all(self, push: PushAll, body: bytes, trace: int = 0) -> None:
        """Publish to everybody."""
        self._counters.add("push_all")
        if self._hooks is not None:
            await self._hooks.store_message(PushEvent(PushTarget.ALL, push.operation, body))
        message = logic.PushMsg(type=_BROADCAST, operation=push.operation, speed=push.speed, msg=body)
        await self._publish(str(push.operation), message, trace)

    async def _publish_each(self, operation: int, by_server: dict[str, list[str]], body: bytes, trace: int) -> None:
        records = [
            (keys[0], logic.PushMsg(operation=operation, server=server, keys=keys, msg=body))
            for server, keys in by_server.items()
        ]
        if len(records) == 1:
            await self._publish(*records[0], trace)
        elif records:
            # At once, so that a push to users on many comets waits for the
            # bus once. All are awaited: a failure of one must not hide others.
            results = await asyncio.gather(
                *(self._publish(key, message, trace) for key, message in records), return_exceptions=True
            )
            _raise_first(results)

    async def _publish(self, key: str, message: Any, trace: int) -> None:
        """Give a record to the bus. Any: a logic.PushMsg."""
        if trace:
            message.trace = trace
        value = message.SerializeToString()
        size = len(key.encode()) + len(value)
        if size > self._max_message_bytes:
            self._drops.add("logic.too_large")
            raise MessageTooLargeError(size, self._max_message_bytes)
        if trace:
            self._traces.add((trace,), Place.PUBLISHED, server=message.server, room=message.room)
        try:
            await self._bus.publish(key, value)
        except BusError:
            self._drops.add("logic.bus")
            if trace:
                self._traces.add((trace,), Place.DROPPED, server=message.server, reason="logic.bus")
            raise
        self._counters.add("records")


def _raise_first(results: Iterable[BaseException | None]) -> None:
    for result in results:
        if result is not None:
            raise result
