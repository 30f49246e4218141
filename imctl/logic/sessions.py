"""Who is connected where: goim's Connect, Disconnect, Heartbeat and Receive.

With a store that answers at once every handler returns its reply itself, so a
batch of connects costs no task and no turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

from imctl.link.contract import Handler, PeerError
from imctl.link.methods import CONNECT, DISCONNECT, HEARTBEAT, RECEIVE, Method
from imctl.node import Counters
from imctl.store.contract import SessionStore, StoreError
from imctl.store.immediate import ImmediateStore
from protocol.bodies import AuthToken, parse_token
from protocol.errors import BodyError
from protocol.pb import logic

__all__ = ["SessionHandlers"]

_Message = Any
"""A protobuf message; the classes are made at run time."""

_HEARTBEAT_REPLY = logic.HeartbeatReply()
_RECEIVE_REPLY = logic.ReceiveReply()


class SessionHandlers:
    """The handlers of sessions, by method.

    Args:
        store: Where sessions are kept.
        heartbeat_limit_ns: How long a client may be silent, told with each connect.
        counters: Counts connects, disconnects, refreshes and received.
        drops: Counts refused connects and failed calls by reason.
    """

    def __init__(self, store: SessionStore, heartbeat_limit_ns: int, counters: Counters, drops: Counters) -> None:
        self._store = store
        self._now = store if isinstance(store, ImmediateStore) else None
        self._keeps_ids = False  # of sessions, in the store
        self._heartbeat_limit_ns = heartbeat_limit_ns
        self._counters = counters
        self._drops = drops

    @property
    def handlers(self) -> dict[Method, Handler]:
        """Handlers for a server of goim.logic.Logic."""
        return {
            CONNECT: self.connect,
            DISCONNECT: self.disconnect,
            HEARTBEAT: self.heartbeat,
            RECEIVE: self.receive,
        }

    def connect(self, request: _Message) -> _Message | Awaitable[_Message]:
        """Take a client in: the token of its op 7 says who it is, and is trusted.

        Raises:
            PeerError: the token cannot be read; the comet closes the client.
        """
        try:
            token = parse_token(request.token)
        except BodyError as exc:
            self._drops.add("logic.bad_token")
            raise PeerError(str(exc)) from exc
        key = token.key or str(uuid4())
        if self._now is None:
            return self._connect_later(token, key, request.server)
        self._now.add_now(token.mid, key, request.server)
        return self._connected(token, key)

    def disconnect(self, request: _Message) -> _Message | Awaitable[_Message]:
        """Let a client go; `has` says whether this server had it."""
        if self._now is None:
            return self._disconnect_later(request)
        return self._disconnected(self._now.remove_now(request.mid, request.key, request.server, self._id_of(request)))

    def heartbeat(self, request: _Message) -> _Message | Awaitable[_Message]:
        """Keep a session alive; comets call this for each client every 10 to 30 minutes."""
        if self._now is None:
            return self._heartbeat_later(request)
        self._now.refresh_now(request.mid, request.key, request.server, self._id_of(request))
        self._counters.add("refreshes")
        return _HEARTBEAT_REPLY

    def receive(self, request: _Message) -> _Message:
        """Take a message from a client; goim logs it, here it is counted."""
        self._counters.add("received")
        return _RECEIVE_REPLY

    async def _connect_later(self, token: AuthToken, key: str, server: str) -> _Message:
        try:
            await self._store.add(token.mid, key, server)
        except StoreError as exc:
            raise self._failed("logic.connect_store", exc) from exc
        return self._connected(token, key)

    async def _disconnect_later(self, request: _Message) -> _Message:
        try:
            removed = await self._store.remove(request.mid, request.key, request.server, self._id_of(request))
        except StoreError as exc:
            raise self._failed("logic.disconnect_store", exc) from exc
        return self._disconnected(removed)

    async def _heartbeat_later(self, request: _Message) -> _Message:
        try:
            await self._store.refresh(request.mid, request.key, request.server, self._id_of(request))
        except StoreError as exc:
            raise self._failed("logic.refresh_store", exc) from exc
        self._counters.add("refreshes")
        return _HEARTBEAT_REPLY

    def _connected(self, token: AuthToken, key: str) -> _Message:
        self._counters.add("connects")
        return logic.ConnectReply(
            mid=token.mid,
            key=key,
            roomID=token.room_id,
            accepts=token.accepts,
            heartbeat=self._heartbeat_limit_ns,
        )

    def _disconnected(self, has: bool) -> _Message:
        self._counters.add("disconnects")
        return logic.DisconnectReply(has=has)

    def _id_of(self, request: _Message) -> int:
        session: int = request.session
        return session if self._keeps_ids else 0

    def _failed(self, reason: str, exc: StoreError) -> PeerError:
        self._drops.add(reason)
        return PeerError(exc.message)
