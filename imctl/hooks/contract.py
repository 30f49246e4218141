"""goim's customisation points: what a hook is asked, and what it may answer.

A hook is any object with some of the methods below; each is one point. Every
method takes one event and returns one reply, so that fields can be added to
either. It is a coroutine function, or a plain function, which then runs in a
thread. All of them are called in logic, under a time limit.

| method | asked | when it fails |
|---|---|---|
| authenticate | who a client is | the client is refused |
| enter_room | may a user be in a room: at connect, change-room, later again | not in it; at connect: refused |
| open_session | which key, and what of the user's other sessions | the client is refused |
| store_message | before a push goes to the bus | the push is answered with an error |
| receive | a message that a client has sent up | nothing more happens to it |
| connected, registered, refreshed, disconnected | nothing: these only tell | nothing |

A hook may also have `start(context)`, awaited before the first event, and
`stop()`, awaited after the last; see imctl.hooks.context.

Source of the points: goim's page "architecture and Customization".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Protocol

from imctl.errors import ImctlError

__all__ = [
    "POINTS",
    "Action",
    "Authenticator",
    "ClientEvent",
    "ConnectEvent",
    "HookError",
    "Identity",
    "MessageStore",
    "Moment",
    "PushEvent",
    "PushTarget",
    "ReceiveEvent",
    "ReceiveReply",
    "Receiver",
    "Refusal",
    "RoomEvent",
    "RoomPolicy",
    "RoomReply",
    "SessionEvent",
    "SessionPolicy",
    "SessionReply",
    "StoreReply",
]


class HookError(ImctlError):
    """What a hook raises when it cannot do its work and has a text to say so, such as a full disk."""


# --- who is it ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConnectEvent:
    """A client wants in.

    Args:
        token: The body of its op 7, as it came.
        cookie: The Cookie header of a WebSocket upgrade, else empty.
        server: The comet it is on.
    """

    token: bytes
    cookie: str
    server: str


@dataclass(frozen=True, slots=True)
class Identity:
    """The client is this user.

    Args:
        mid: User id, int64; 0 or less is anonymous.
        key: Connection id it asks for; empty lets logic make a UUID.
        room: Room key `type://id` to enter at once; empty is none.
        accepts: Operations it wants from pushes by key, mid and to all.
        grant: Anything that later decisions need, at most 4,096 bytes. The
            comet keeps it with the connection, and it comes back in every RoomEvent.
    """

    mid: int
    key: str = ""
    room: str = ""
    accepts: tuple[int, ...] = ()
    grant: bytes = b""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The client is not let in; the reason is for logs and stats and never goes over the wire.

    Args:
        reason: A short text from a small fixed set, such as `expired`; each is a counter.
        detail: More for the log.
    """

    reason: str
    detail: str = ""


class Authenticator(Protocol):
    """User management: verify the token, say who it is."""

    async def authenticate(self, event: ConnectEvent) -> Identity | Refusal | None:
        """Return who it is, why not, or None: not a token of mine, ask the next one.

        When every authenticator returns None the client is refused; when there
        is none, goim's JSON token is read and trusted.
        """


# --- rooms --------------------------------------------------------------------


class Moment(enum.Enum):
    """When a room is asked for."""

    CONNECT = "connect"
    CHANGE = "change"  # op 12
    AGAIN = "again"  # the time that the last reply had set is over


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """A user wants to be, or to stay, in a room.

    Args:
        mid: Who.
        key: On which connection.
        room: Room key `type://id`; leaving all rooms is never asked.
        server: On which comet.
        moment: When.
        grant: What the authenticator gave this connection.
    """

    mid: int
    key: str
    room: str
    server: str
    moment: Moment
    grant: bytes = b""


@dataclass(frozen=True, slots=True)
class RoomReply:
    """The answer to a RoomEvent.

    Args:
        allow: Whether the user may be in the room. Every policy has to allow it.
        reason: Why not, for logs and stats.
        again_s: Ask again after so many seconds; 0 never. A user who is then
            refused leaves the room and stays connected. The smallest of all policies counts.
    """

    allow: bool
    reason: str = ""
    again_s: float = 0.0


class RoomPolicy(Protocol):
    """Room permission."""

    async def enter_room(self, event: RoomEvent) -> RoomReply:
        """Return whether the user may be in the room."""


# --- sessions -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """A user who is known now opens a session.

    Args:
        mid: Who.
        key: The key it asks for, empty for none.
        server: On which comet.
        others: The user's sessions now, {key: server}; none for a mid of 0 or less.
        taken_on: Comet that has a session under the key it asks for, whoever's it is; empty for none.
    """

    mid: int
    key: str
    server: str
    others: Mapping[str, str]
    taken_on: str = ""


class Action(enum.Enum):
    """What happens to a new session."""

    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class SessionReply:
    """The answer to a SessionEvent.

    Args:
        action: Take it or not.
        key: Its key; None keeps the one it asks for, empty makes a new UUID.
        kick: Keys of sessions that end before this one begins: of `others`, or the key it asks for.
            A session of the user under this one's key on its comet ends in any case.
        reason: Why it is rejected, for logs and stats.
    """

    action: Action = Action.ACCEPT
    key: str | None = None
    kick: frozenset[str] = frozenset()
    reason: str = ""


class SessionPolicy(Protocol):
    """Session management; at most one is loaded. Logins of one user are asked one after the other."""

    async def open_session(self, event: SessionEvent) -> SessionReply:
        """Return whether the session is taken, under which key, and which others end."""


# --- messages -----------------------------------------------------------------


class PushTarget(enum.Enum):
    """What a push is addressed to."""

    KEYS = "keys"
    MIDS = "mids"
    ROOM = "room"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class PushEvent:
    """A push that logic has taken and not yet put on the bus.

    Args:
        target: What it is addressed to.
        operation: Operation clients get it under.
        body: Its body.
        keys: Connection keys, for KEYS.
        mids: Users, for MIDS, as they were named.
        room: Room key, for ROOM.
        sessions: Where the named users are, for MIDS: {mid: {key: server}}; who is offline is left out.
    """

    target: PushTarget
    operation: int
    body: bytes
    keys: tuple[str, ...] = ()
    mids: tuple[int, ...] = ()
    room: str = ""
    sessions: Mapping[int, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoreReply:
    """The answer to a PushEvent.

    Args:
        handled: Users of a push by mid whom the store serves itself: they get nothing over the bus.
    """

    handled: frozenset[int] = frozenset()


class MessageStore(Protocol):
    """Message storage."""

    async def store_message(self, event: PushEvent) -> StoreReply:
        """Keep a push, if it is of interest.

        A push is accepted only when every store has returned.

        Raises:
            HookError: it could not be kept; the publisher is told the text.
        """


@dataclass(frozen=True, slots=True)
class ReceiveEvent:
    """A message that a client has sent up.

    Args:
        mid: From whom.
        key: On which connection; empty when a Go comet passes it on, which does not tell.
        operation: Its operation, one without a meaning for comet.
        seq: Its sequence number.
        body: Its body.
    """

    mid: int
    key: str
    operation: int
    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ReceiveReply:
    """The answer to a ReceiveEvent.

    Args:
        handled: True ends it here; False asks the next receiver.
    """

    handled: bool = True


class Receiver(Protocol):
    """Messages from clients, which goim only logs."""

    async def receive(self, event: ReceiveEvent) -> ReceiveReply:
        """Take a message; the client gets goim's empty answer afterwards, whatever comes of it."""


# --- notifications --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """Something happened to a session.

    connected: logic has taken it in; its comet does not route to it yet.
    registered: its comet routes to it now: what is pushed from here on arrives.
        Only our own comets tell; of a Go comet it is assumed half a second after connected.
    refreshed: its comet has kept it alive, at a heartbeat of its client every 10 to 15
        minutes (10 to 30 on a Go comet, and with `compat = goim`).
    disconnected: it is gone; told once for each that was told as connected, as long as its comet lives.

    Args:
        mid: Who.
        key: Which connection.
        server: On which comet.
        again: registered only: told before, and again because logic was away in between.
        session: Differs for each session, also under one key; 1 to 2**61 - 1. What is told of a session may come after
            its key has begun the next one, and from another logic. 0: not known, since it is on a Go comet.
        reason: disconnected only: why, see docs/hooks.md; empty for a Go comet.
    """

    mid: int
    key: str
    server: str
    again: bool = False
    session: int = 0
    reason: str = ""


POINTS: Mapping[str, tuple[type, ...]] = {
    "authenticate": (Identity, Refusal, NoneType),
    "enter_room": (RoomReply,),
    "open_session": (SessionReply,),
    "store_message": (StoreReply,),
    "receive": (ReceiveReply,),
    "connected": (NoneType,),
    "registered": (NoneType,),
    "refreshed": (NoneType,),
    "disconnected": (NoneType,),
}
"""The methods that a hook may have, and what each may return."""
