"""Sessions of a logic that has hooks: every decision goim leaves to an edit of its source is asked for.

A connect: who is it (authenticate), under which key and what of the user's
other sessions (open_session, one login of a user after the other), may it be
in its room (enter_room); then others are kicked, the session is stored, and
the comet is told to ask again at change-room. All questions of one connect
share one time limit.

With a policy for logins, a user's logins are decided in an order, and what is
left is what the policy says of that order, whatever overtakes what:

- a login is decided under the user's hold: the sessions before it are read,
  those that have to end are kicked, and their comets have answered, before it
  is stored. So the store has every session that was decided before, unless it
  is over, or its comet knows that it has to be;
- a kick names the session, not only its key. Its comet ends it where it is: in
  the tables, or once the answer to its connect is there (comet/guard.py). A
  later session under the same key is another one, and stays;
- the end of a session, told by its comet, takes the mapping of that session
  away and no other, so it may come after the next login under its key;
- a login that has its key from a session on its own comet kicks that one too:
  the answers to both connects may be on their way, in any order;
- a login that took so long that its hold may have ended is not made.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
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

_Kicks = Mapping[str, Mapping[str, int]]
"""{server: {key: id of the session, 0 for whichever has the key}}."""

_REGISTERED_REPLY = session.RegisteredReply()
_MAX_AGAIN_MS = 2**32 - 1
_SESSION_BITS = 61  # so few that a store can number connections without a session above them
_DECIDE_S = 4.5  # a hold ends after 5 s
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
        self._keeps_ids = hooks.has("open_session")

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
        # A Go comet does not send it back, so nobody may expect it of one.
        session_id = random.getrandbits(_SESSION_BITS) or 1 if self._comets.is_ours(request.server) else 0
        try:
            async with self._one_login(asked.mid):
                until_s = asyncio.get_running_loop().time() + _DECIDE_S
                identity, kick = await self._session(asked, request.server, deadline_s)
                again_s = await self._room(identity, request.server, deadline_s)
                await self._kick(identity, kick)
                await self._add(identity, request.server, session_id, until_s)
        except StoreError as exc:
            raise self._failed("logic.connect_store", exc) from exc
        self._counters.add("connects")
        event = ClientEvent(identity.mid, identity.key, request.server, session=session_id)
        self._hooks.tell("connected", event)
        if not session_id:
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
                id=session_id,
            ),
        )

    def disconnect(self, request: _Message) -> _Message | Awaitable[_Message]:
        """Let a client go; `has` says whether this server had it."""
        self._hooks.tell("disconnected", replace(_event(request), reason=request.reason))
        if request.replaced:
            return self._disconnected(False)  # the mapping is that of the session which has its key now
        return super().disconnect(request)

    def heartbeat(self, request: _Message) -> _Message | Awaitable[_Message]:
        """Keep a session alive."""
        self._hooks.tell("refreshed", _event(request))
        return super().heartbeat(request)

    async def receive(self, request: _Message) -> _Message:
        """Offer a client's message to the receivers."""
        proto = request.proto
        await self._hooks.receive(ReceiveEvent(request.mid, request.key, proto.op, proto.seq, proto.body))
        return super().receive(request)

    def registered(self, request: _Message) -> _Message:
        """Note that a comet routes to a session now."""
        self._hooks.tell("registered", replace(_event(request), again=request.again))
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

    async def _session(self, asked: Identity, server: str, deadline_s: float) -> tuple[Identity, _Kicks]:
        """Return the identity under its final key, and whom to kick."""
        if not self._hooks.has("open_session"):
            return replace(asked, key=asked.key or str(uuid4())), {}
        others, ids = await self._sessions_of(asked.mid)
        holders = await self._store.servers_by_key((asked.key,)) if asked.key else {}
        taken_on = holders.get(asked.key, "")
        reply = await self._hooks.open_session(SessionEvent(asked.mid, asked.key, server, others, taken_on), deadline_s)
        if reply.action is Action.REJECT:
            raise _refusal(reply.reason or "session_rejected", f"mid {asked.mid} has {len(others)} sessions")
        key = asked.key if reply.key is None else reply.key
        where = {**others, asked.key: taken_on} if taken_on else others
        ending = set(reply.kick)
        if others.get(key) == server:
            ending.add(key)
        kick: dict[str, dict[str, int]] = {}
        for other in sorted(ending):
            if other in where:
                kick.setdefault(where[other], {})[other] = ids.get(other, 0)
        return replace(asked, key=key or str(uuid4())), kick

    async def _sessions_of(self, mid: int) -> tuple[Mapping[str, str], Mapping[str, int]]:
        """Return a user's sessions, {key: server}, and their ids."""
        if mid <= 0:
            return {}, {}
        found, ids = await asyncio.gather(self._store.sessions_by_mid((mid,)), self._store.session_ids(mid))
        return found.get(mid, {}), ids

    async def _room(self, identity: Identity, server: str, deadline_s: float) -> float:
        if not identity.room or not self._hooks.has("enter_room"):
            return 0.0
        event = RoomEvent(identity.mid, identity.key, identity.room, server, Moment.CONNECT, identity.grant)
        reply = await self._hooks.enter_room(event, deadline_s)
        if not reply.allow:
            raise _refusal(reply.reason or "room_refused", f"mid {identity.mid}, room {identity.room}")
        return reply.again_s

    async def _kick(self, identity: Identity, kick: _Kicks) -> None:
        await asyncio.gather(*(self._kick_on(server, identity.mid, ids) for server, ids in kick.items()))

    async def _kick_on(self, server: str, mid: int, ids: Mapping[str, int]) -> None:
        """End other sessions; where the comet cannot be reached they are at least no longer pushed to."""
        if await self._comets.kick(server, list(ids), "another login", sessions=list(ids.values())):
            self._counters.add("kicked", len(ids))
        else:
            self._drops.add("logic.kick_failed", len(ids))
        await asyncio.gather(*(self._store.remove(mid, key, server, session) for key, session in ids.items()))

    async def _add(self, identity: Identity, server: str, session_id: int, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        mid, key = identity.mid, identity.key
        if not self._keeps_ids:
            await self._store.add(mid, key, server)
            return
        if loop.time() < until_s:
            await self._store.add(mid, key, server, session_id)
            if loop.time() < until_s:
                return
            await self._store.remove(mid, key, server, session_id)
        self._drops.add("logic.login_too_late")
        raise _refusal("login_too_late", f"mid {mid}: not decided within {_DECIDE_S:g} s")


def _event(request: _Message) -> ClientEvent:
    return ClientEvent(request.mid, request.key, request.server, session=request.session)


def _refusal(reason: str, detail: str) -> PeerError:
    return PeerError(f"{reason}: {detail}" if detail else reason)


def _milliseconds(again_s: float) -> int:
    return min(max(round(again_s * 1000), 1), _MAX_AGAIN_MS) if again_s > 0 else 0
