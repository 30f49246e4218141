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
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from imctl.comet.hub import write_all
from imctl.comet.timers import DeadlineWheel
from imctl.link.contract import Handlers, PeerError
from imctl.link.methods import DELIVER, ENTER_ROOM, KICK, REGISTERED
from imctl.link.pool import PeerPool
from imctl.link.waiting import RESOURCE_EXHAUSTED
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
_MAX_KICKED = 10_000

_TAKEN = DeliverReply()
_FULL = DeliverReply(result=DeliverReply.FULL)
_UNKNOWN = DeliverReply(result=DeliverReply.UNKNOWN)


class Guard:
    """What one session has to ask and tell.

    Attributes:
        deadline, tick: When to ask again for its room; for the DeadlineWheel.
        session: Its id in logic.
        told: Logic knows that pushes reach it.
        refreshing: Refreshes that logic has not answered.
        ended: What is to be done once it has, when the session is over.
    """

    __slots__ = (
        "again_s",
        "ask_rooms",
        "channel",
        "deadline",
        "ended",
        "grant",
        "refreshing",
        "session",
        "tell_registered",
        "tick",
        "told",
    )

    def __init__(self, channel: Channel, session: Session) -> None:
        self.channel = channel
        self.grant: bytes = session.grant
        self.ask_rooms: bool = session.ask_rooms
        self.tell_registered: bool = session.tell_registered
        self.session: int = session.id
        self.again_s: float = session.again_ms / 1000
        self.told = False
        self.refreshing = 0
        self.ended: Callable[[], None] | None = None
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
        # Connects that logic has not answered, by number, oldest first.
        self._connecting: dict[int, None] = {}
        self._connects = 0
        # Sessions that were kicked and may be in the answer to one of those: the last connect then, and why.
        self._kicked: dict[int, tuple[int, str]] = {}
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

    def asking(self) -> int:
        """Note that logic is asked about a client; return the number of the question."""
        self._connects += 1
        self._connecting[self._connects] = None
        return self._connects

    def answered(self, connect: int) -> None:
        """Note that a question has had its answer, and what followed from it is done."""
        del self._connecting[connect]
        if not self._kicked:
            return  # nearly always; the oldest of a dict whose front was deleted is not found at once
        oldest = next(iter(self._connecting), self._connects + 1)
        while self._kicked:
            session, (last, _) = next(iter(self._kicked.items()))
            if last >= oldest:
                return
            del self._kicked[session]

    def was_kicked(self, session: int) -> str | None:
        """Return why a session that is about to begin was kicked while its connect was on the way, None if not."""
        _, reason = self._kicked.pop(session, (0, None))
        return reason

    def tell(self, guard: Guard) -> None:
        """Tell logic that pushes reach a session, once more when that fails."""
        channel = guard.channel
        request = RegisteredReq(
            mid=channel.mid,
            key=channel.key,
            server=self._sessions.config.hostname,
            again=guard.told,
            session=guard.session,
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
        if not request.messages:
            return DeliverReply(session=channel.session)
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
        """End sessions, each where it is now: in the tables, or in an answer to a connect that is on its way here.

        Any other is over, and what its key stands for now is a later login.
        """
        here = []
        sessions = self._sessions
        for key, session in zip(request.keys, chain(request.sessions, repeat(0)), strict=False):
            channel = sessions.hub.channels.get(key)
            if channel is not None and session in (0, channel.session):
                here.append(key)
                sessions.kick(channel, request.reason)
            elif session and self._connecting:
                if len(self._kicked) >= _MAX_KICKED:
                    raise PeerError(f"{_MAX_KICKED} kicks wait for connects already", RESOURCE_EXHAUSTED)
                self._kicked[session] = self._connects, request.reason
        return KickReply(keys=here)
