"""Sessions of a logic that has hooks: every decision goim leaves to an edit of its source is asked for.

A connect: who is it (authenticate), under which key and what of the user's
other sessions (open_session, one login of a user after the other), may it be
in its room (enter_room); then others are kicked, the session is stored, and
the comet is told to ask again at change-room. All questions of one connect
share one time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from imctl.hooks.contract import (
    Action,
    ClientEvent,
    ConnectEvent,
    Identity,
    Moment,
    ReceiveEvent,
    Refusal,
    RoomEvent,
    SessionEvent,
)
from imctl.hooks.hooks import Hooks
from imctl.link.contract import Handler, PeerError
from imctl.link.methods import ENTER_ROOM, REGISTERED, Method
from imctl.logic.comet_links import CometLinks
from imctl.logic.sessions import SessionHandlers
from imctl.node import Counters
from imctl.store.contract import SessionStore, StoreError
from protocol.bodies import parse_token
from protocol.errors import BodyError
from protocol.pb import logic, session

__all__ = ["HookedSessionHandlers"]

_Message = Any
"""A protobuf message; the classes are made at run time."""

_REGISTERED_REPLY = session.RegisteredReply()
_MAX_AGAIN_MS = 2**32 - 1
_ASSUMED_REGISTERED_S = 0.5  # a Go comet does not tell; it has long done it by then


class HookedSessionHandlers(SessionHandlers):
    """The handlers of sessions with hooks.

    Args:
        hooks: Who is asked.
        comets: The way to a comet, for those that are kicked.
    """

    def __init__(
        self,
        store: SessionStore,
        heartbeat_limit_ns: int,
        counters: Counters,
        drops: Counters,
        *,
        hooks: Hooks,
        comets: CometLinks,
    ) -> None:
        super().__init__(store, heartbeat_limit_ns, counters, drops)
        self._hooks = hooks
        self._comets = comets

    @property
    def handlers(self) -> dict[Method, Handler]:
        """Handlers for a server of goim.logic.Logic and imctl.session.Logic."""
        return {**super().handlers, ENTER_ROOM: self.enter_room, REGISTERED: self.registered}

    async def connect(self, request: _Message) -> _Message:
        """Take a client in if the hooks let it.

        Raises:
            PeerError: with the reason, for the comet's log; the comet closes the client.
        """
        deadline_s = self._hooks.deadline_s()
        asked = await self._identify(request, deadline_s)
        try:
            async with self._one_login(asked.mid):
                identity, kick = await self._session(asked, request.server, deadline_s)
                again_s = await self._room(identity, request.server, deadline_s)
                await self._kick(identity, kick)
                await self._store.add(identity.mid, identity.key, request.server)
        except StoreError as exc:
            raise self._failed("logic.connect_store", exc) from exc
        self._counters.add("connects")
        event = ClientEvent(identity.mid, identity.key, request.server)
        self._hooks.tell("connected", event)
        if not self._comets.is_ours(request.server):
            asyncio.get_running_loop().call_later(_ASSUMED_REGISTERED_S, self._hooks.tell, "registered", event)
        return logic.ConnectReply(
            mid=identity.mid,
            key=identity.key,
            roomID=identity.room,
            accepts=identity.accepts,
            heartbeat=self._heartbeat_limit_ns,
            session=session.Session(
                grant=identity.grant,
                ask_rooms=self._hooks.has("enter_room"),
                again_ms=_milliseconds(again_s),
                tell_registered=self._hooks.has("registered"),
            ),
        )

    def disconnect(self, request: _Message) -> _Message | Awaitable[_Message]:
        """Let a client go; `has` says whether this server had it."""
        self._hooks.tell("disconnected", ClientEvent(request.mid, request.key, request.server))
        return super().disconnect(request)

    def heartbeat(self, request: _Message) -> _Message | Awaitable[_Message]:
        """Keep a session alive."""
        self._hooks.tell("refreshed", ClientEvent(request.mid, request.key, request.server))
        return super().heartbeat(request)

    async def receive(self, request: _Message) -> _Message:
        """Offer a client's message to the receivers."""
        proto = request.proto
        await self._hooks.receive(ReceiveEvent(request.mid, request.key, proto.op, proto.seq, proto.body))
        return super().receive(request)

    def registered(self, request: _Message) -> _Message:
        """Note that a comet routes to a session now."""
        event = ClientEvent(request.mid, request.key, request.server, request.again)
        self._hooks.tell("registered", event)
        return _REGISTERED_REPLY

    async def enter_room(self, request: _Message) -> _Message:
        """Say whether a session may enter a room, or stay in it."""
        moment = Moment.AGAIN if request.again else Moment.CHANGE
        event = RoomEvent(request.mid, request.key, request.room, request.server, moment, request.grant)
        reply = await self._hooks.enter_room(event, self._hooks.deadline_s())
        return session.EnterRoomReply(allow=reply.allow, again_ms=_milliseconds(reply.again_s))

    async def _identify(self, request: _Message, deadline_s: float) -> Identity:
        if not self._hooks.has("authenticate"):
            try:
                token = parse_token(request.token)
            except BodyError as exc:
                self._drops.add("logic.bad_token")
                raise PeerError(str(exc)) from exc
            return Identity(token.mid, token.key, token.room_id, token.accepts)
        event = ConnectEvent(request.token, request.cookie, request.server)
        reply = await self._hooks.authenticate(event, deadline_s)
        if isinstance(reply, Refusal):
            raise _refusal(reply.reason, reply.detail)
        return reply

    def _one_login(self, mid: int) -> contextlib.AbstractAsyncContextManager[None]:
        """Let the logins of one user wait for each other, where a policy looks at the user's sessions."""
        if mid > 0 and self._hooks.has("open_session"):
            return self._store.hold(f"login:{mid}")
        return contextlib.nullcontext()

    async def _session(
        self, asked: Identity, server: str, deadline_s: float
    ) -> tuple[Identity, Mapping[str, list[str]]]:
        """Return the identity under its final key, and whom to kick: {server: keys}."""
        if not self._hooks.has("open_session"):
            return replace(asked, key=asked.key or str(uuid4())), {}
        found = await self._store.sessions_by_mid((asked.mid,)) if asked.mid > 0 else {}
        others = found.get(asked.mid, {})
        holders = await self._store.servers_by_key((asked.key,)) if asked.key else {}
        taken_on = holders.get(asked.key, "")
        reply = await self._hooks.open_session(SessionEvent(asked.mid, asked.key, server, others, taken_on), deadline_s)
        if reply.action is Action.REJECT:
            raise _refusal(reply.reason or "session_rejected", f"mid {asked.mid} has {len(others)} sessions")
        key = asked.key if reply.key is None else reply.key
        where = {**others, asked.key: taken_on} if taken_on else others
        kick: dict[str, list[str]] = {}
        for other in sorted(reply.kick):
            if other in where:
                kick.setdefault(where[other], []).append(other)
        return replace(asked, key=key or str(uuid4())), kick

    async def _room(self, identity: Identity, server: str, deadline_s: float) -> float:
        if not identity.room or not self._hooks.has("enter_room"):
            return 0.0
        event = RoomEvent(identity.mid, identity.key, identity.room, server, Moment.CONNECT, identity.grant)
        reply = await self._hooks.enter_room(event, deadline_s)
        if not reply.allow:
            raise _refusal(reply.reason or "room_refused", f"mid {identity.mid}, room {identity.room}")
        return reply.again_s

    async def _kick(self, identity: Identity, kick: Mapping[str, list[str]]) -> None:
        """End other sessions; where the comet cannot be reached they are at least no longer pushed to."""
        for server, keys in kick.items():
            if await self._comets.kick(server, keys, "another login"):
                self._counters.add("kicked", len(keys))
            else:
                self._drops.add("logic.kick_failed", len(keys))
            for key in keys:
                await self._store.remove(identity.mid, key, server)


def _refusal(reason: str, detail: str) -> PeerError:
    return PeerError(f"{reason}: {detail}" if detail else reason)


def _milliseconds(again_s: float) -> int:
    return min(max(round(again_s * 1000), 1), _MAX_AGAIN_MS) if again_s > 0 else 0
