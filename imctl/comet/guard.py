"""What a comet asks of logic, and does for it, when logic has hooks.

A session whose connect reply carries `imctl.session.Session` gets a Guard:
its rooms are asked for, may be asked for again later, and logic is told when
pushes reach it. Without hooks there is none, and nothing here costs anything.
Logic may also deliver to one session past the bus, and close sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from imctl.comet.hub import write_all
from imctl.comet.timers import DeadlineWheel
from imctl.link.contract import Handlers
from imctl.link.methods import DELIVER, ENTER_ROOM, KICK, REGISTERED
from imctl.link.pool import PeerPool
from protocol.frame import pack_frame
from protocol.operation import Operation
from protocol.pb.session import (
    DeliverReply,
    DeliverReq,
    EnterRoomReq,
    KickReply,
    KickReq,
    RegisteredReq,
    Session,
)
from protocol.websocket import serialize_message

if TYPE_CHECKING:
    from imctl.comet.channel import Channel
    from imctl.comet.sessions import Sessions

__all__ = ["Guard", "Guards"]

_RETRY_S = 1.0
_TELL_A_TICK = 500  # as many as are announced at a time
_KICKED_S = 5.0
_MAX_KICKED = 10_000

_TAKEN = DeliverReply()
_FULL = DeliverReply(result=DeliverReply.FULL)
_UNKNOWN = DeliverReply(result=DeliverReply.UNKNOWN)


class Guard:
    """What one session has to ask and tell.

    Attributes:
        deadline, tick: When to ask again for its room; for the DeadlineWheel.
        told: Logic knows that pushes reach it.
    """

    __slots__ = ("again_s", "ask_rooms", "channel", "deadline", "grant", "tell_registered", "tick", "told")

    def __init__(self, channel: Channel, session: Session) -> None:
        self.channel = channel
        self.grant: bytes = session.grant
        self.ask_rooms: bool = session.ask_rooms
        self.tell_registered: bool = session.tell_registered
        self.again_s: float = session.again_ms / 1000
        self.told = False
        self.deadline = 0.0
        self.tick = 0


class Guards:
    """The guarded sessions of one comet.

    Args:
        sessions: All its sessions.
        logic: Who is asked.
    """

    def __init__(self, sessions: Sessions, logic: PeerPool) -> None:
        self._sessions = sessions
        self._logic = logic
        self._wheel: DeadlineWheel[Guard] = DeadlineWheel()
        self._untold: dict[Guard, None] = {}
        self._tell_at = 0.0
        self._kicked: dict[str, tuple[float, str]] = {}  # when to forget it, and why
        self.handlers: Handlers = {DELIVER: self._deliver, KICK: self._kick}

    # --- a session's life -----------------------------------------------------

    def begin(self, guard: Guard) -> None:
        """A guarded session is in the tables now."""
        if guard.tell_registered:
            self.tell(guard)
        self._arm(guard, guard.again_s)

    def end(self, guard: Guard) -> None:
        """A guarded session is over."""
        self._wheel.discard(guard)
        self._untold.pop(guard, None)

    def was_kicked(self, key: str) -> str:
        """Return why a session that is about to begin was kicked while its connect was on the way, "" if it was not."""
        until, reason = self._kicked.pop(key, (0.0, ""))
        return reason if until > self._sessions.loop.time() else ""

    def tell(self, guard: Guard) -> None:
        """Tell logic that pushes reach a session, once more when that fails."""
        channel = guard.channel
        request = RegisteredReq(
            mid=channel.mid, key=channel.key, server=self._sessions.config.hostname, again=guard.told
        )
        guard.told = True
        self._logic.call(REGISTERED, request).add_done_callback(partial(self._told, guard))

    def _told(self, guard: Guard, future: asyncio.Future[Any]) -> None:
        if (future.cancelled() or future.exception() is not None) and guard.channel.registered:
            self._sessions.counters.add("registered_errors")
            self._untold[guard] = None

    def tick(self) -> None:
        """Ask and tell what is due; call it every tick of the comet."""
        now = self._sessions.loop.time()
        for guard in self._wheel.expired(now):
            self._ask_again(guard)
        if self._untold and now >= self._tell_at:
            self._tell_at = now + _RETRY_S
            for guard in list(self._untold)[:_TELL_A_TICK]:
                del self._untold[guard]
                self.tell(guard)

    # --- rooms ------------------------------------------------------------------

    def ask(self, guard: Guard, room: str, decided: Callable[[bool], None]) -> None:
        """Ask logic whether a session may enter a room; `decided` gets the answer, no when there is none."""
        self._call(guard, room, again=False).add_done_callback(partial(self._asked, guard, room, decided))

    def _asked(self, guard: Guard, room: str, decided: Callable[[bool], None], future: asyncio.Future[Any]) -> None:
        sessions, channel = self._sessions, guard.channel
        if future.cancelled() or future.exception() is not None:
            sessions.counters.add("enter_room_errors")
        elif future.result().allow:
            if channel.registered:
                self._arm(guard, future.result().again_ms / 1000)
            decided(True)
            return
        sessions.counters.add("refused.room")
        sessions.log.info("%s key %r: room %r refused", channel.ip, channel.key, room)
        decided(False)

    def _ask_again(self, guard: Guard) -> None:
        room = guard.channel.room
        if room is None:
            return
        self._call(guard, room.key, again=True).add_done_callback(partial(self._asked_again, guard, room.key))

    def _asked_again(self, guard: Guard, room: str, future: asyncio.Future[Any]) -> None:
        sessions, channel = self._sessions, guard.channel
        if not channel.registered or channel.room is None or channel.room.key != room:
            return  # it has left or moved meanwhile
        if future.cancelled() or future.exception() is not None:
            # Logic is away, which is no reason to empty its rooms.
            sessions.counters.add("enter_room_errors")
            self._arm(guard, _RETRY_S)
        elif future.result().allow:
            self._arm(guard, future.result().again_ms / 1000)
        else:
            sessions.counters.add("room_taken")
            sessions.log.info("%s key %r: room %r taken away", channel.ip, channel.key, room)
            sessions.hub.leave(channel)

    def _call(self, guard: Guard, room: str, *, again: bool) -> asyncio.Future[Any]:
        channel = guard.channel
        server = self._sessions.config.hostname
        request = EnterRoomReq(
            mid=channel.mid, key=channel.key, server=server, room=room, grant=guard.grant, again=again
        )
        return self._logic.call(ENTER_ROOM, request)

    def _arm(self, guard: Guard, again_s: float) -> None:
        self._wheel.discard(guard)
        if again_s > 0:
            guard.deadline = self._sessions.loop.time() + again_s
            self._wheel.add(guard)

    # --- what logic asks --------------------------------------------------------

    def _deliver(self, request: DeliverReq) -> DeliverReply:
        channel = self._sessions.hub.channels.get(request.key)
        if channel is None or request.mid not in (0, channel.mid):
            return _UNKNOWN
        wanted = [message for message in request.messages if message.op in channel.accepts]
        if not wanted:
            return _TAKEN
        data = b"".join(pack_frame(message.op, message.body, seq=message.seq) for message in wanted)
        if channel.is_ws:
            data = serialize_message(pack_frame(Operation.RAW, data))
        if write_all((channel,), data):
            return _UNKNOWN if channel.is_gone else _FULL
        self._sessions.counters.add("delivered", len(wanted))
        return _TAKEN

    def _kick(self, request: KickReq) -> KickReply:
        here = []
        sessions = self._sessions
        for key in request.keys:
            channel = sessions.hub.channels.get(key)
            if channel is not None:
                here.append(key)
                sessions.kick(channel, request.reason)
            elif len(self._kicked) < _MAX_KICKED:
                self._kicked[key] = sessions.loop.time() + _KICKED_S, request.reason or "kicked"
        self._forget_kicked()
        return KickReply(keys=here)

    def _forget_kicked(self) -> None:
        now = self._sessions.loop.time()
        while self._kicked:
            key, (until, _) = next(iter(self._kicked.items()))
            if until > now:
                return
            del self._kicked[key]
