"""goim's HTTP push API as values: requests, their parameters, and the reply envelope.

A request is a method and a target (path and query); the body of a push is the
message itself, bytes of any kind. All parameters stand in the query, also for
POST. Replies are in `protocol.push_reply`, and offered here too. Sources:
goim internal/logic/http, gin 1.7 and the recorded calls of a goim logic.

What begins with `/imctl/` is not goim's, see `protocol.imctl_api`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from protocol.bodies import room_key
from protocol.golang import parse_query
from protocol.imctl_api import (
    OWN_ROUTES,
    DeleteOffline,
    History,
    HookList,
    Offline,
    OwnRequest,
    Sessions,
    Stats,
    Traces,
)
from protocol.push_query import Pairs, ParamError, escape, every, first, many, number, require
from protocol.push_reply import (
    BAD_REQUEST,
    CONTENT_TYPE_JSON,
    CONTENT_TYPE_TEXT,
    NOT_FOUND_TEXT,
    OK,
    OK_BODY,
    SERVER_ERROR,
    Reply,
    ReplyError,
    dump_reply,
    parse_reply,
)

__all__ = [
    "BAD_REQUEST",
    "CONTENT_TYPE_JSON",
    "CONTENT_TYPE_TEXT",
    "NOT_FOUND_TEXT",
    "OK",
    "OK_BODY",
    "SERVER_ERROR",
    "DeleteOffline",
    "History",
    "HookList",
    "NodesInstances",
    "NodesWeighted",
    "Offline",
    "OnlineRoom",
    "OnlineTop",
    "OnlineTotal",
    "ParamError",
    "PushAll",
    "PushKeys",
    "PushMids",
    "PushRoom",
    "Redirect",
    "Reply",
    "ReplyError",
    "Request",
    "Sessions",
    "Stats",
    "Traces",
    "dump_reply",
    "parse_reply",
    "parse_request",
]

# Longer targets, with many mids, are not kept for the next request.
_MAX_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class PushKeys:
    """Push to connections by key; POST /goim/push/keys."""

    method: ClassVar[str] = "POST"
    path: ClassVar[str] = "/goim/push/keys"

    operation: int
    keys: tuple[str, ...]

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?operation={self.operation}{many('keys', self.keys)}"


@dataclass(frozen=True, slots=True)
class PushMids:
    """Push to all connections of users; POST /goim/push/mids."""

    method: ClassVar[str] = "POST"
    path: ClassVar[str] = "/goim/push/mids"

    operation: int
    mids: tuple[int, ...]

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?operation={self.operation}{many('mids', self.mids)}"


@dataclass(frozen=True, slots=True)
class PushRoom:
    """Push to the room `type://room`; POST /goim/push/room."""

    method: ClassVar[str] = "POST"
    path: ClassVar[str] = "/goim/push/room"

    operation: int
    type: str
    room: str

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?operation={self.operation}&type={escape(self.type)}&room={escape(self.room)}"

    @property
    def room_key(self) -> str:
        """The room's key."""
        return room_key(self.type, self.room)


@dataclass(frozen=True, slots=True)
class PushAll:
    """Push to every connection; POST /goim/push/all.

    Args:
        operation: Operation of the message.
        speed: Messages a second for the whole cluster; 0 is as fast as it goes.
    """

    method: ClassVar[str] = "POST"
    path: ClassVar[str] = "/goim/push/all"

    operation: int
    speed: int = 0

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?operation={self.operation}&speed={self.speed}"


@dataclass(frozen=True, slots=True)
class OnlineTop:
    """The fullest rooms whose key begins with `type`; GET /goim/online/top. `limit` may be negative."""

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/goim/online/top"

    type: str
    limit: int

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?type={escape(self.type)}&limit={self.limit}"


@dataclass(frozen=True, slots=True)
class OnlineRoom:
    """Members of each room `type://room`; GET /goim/online/room."""

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/goim/online/room"

    type: str
    rooms: tuple[str, ...]

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?type={escape(self.type)}{many('rooms', self.rooms)}"


@dataclass(frozen=True, slots=True)
class OnlineTotal:
    """Connections and addresses of all comets; GET /goim/online/total."""

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/goim/online/total"

    @property
    def target(self) -> str:
        """Path of this request."""
        return self.path


@dataclass(frozen=True, slots=True)
class NodesWeighted:
    """The comets a client should try, and how; GET /goim/nodes/weighted."""

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/goim/nodes/weighted"

    platform: str = ""

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?platform={escape(self.platform)}" if self.platform else self.path


@dataclass(frozen=True, slots=True)
class NodesInstances:
    """The comets as registered; GET /goim/nodes/instances."""

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/goim/nodes/instances"

    @property
    def target(self) -> str:
        """Path of this request."""
        return self.path


Request = (
    PushKeys
    | PushMids
    | PushRoom
    | PushAll
    | OnlineTop
    | OnlineRoom
    | OnlineTotal
    | NodesWeighted
    | NodesInstances
    | OwnRequest
)


@dataclass(frozen=True, slots=True)
class Redirect:
    """The path of a request has a `/` at its end too many; gin sends the client to the right one.

    Args:
        status: 301 for GET, otherwise 307, which keeps method and body.
        location: The right target.
    """

    status: int
    location: str


def parse_request(method: str, target: str) -> Request | Redirect | None:
    """Return what a request asks for; None when there is no such method and path.

    Raises:
        ParamError: the answer is status 400 with BAD_REQUEST in the envelope.
    """
    # A publisher sends to the same rooms and users again and again.
    parse = _parse_request if len(target) <= _MAX_REMEMBERED else _parse_request.__wrapped__
    return parse(method, target)


@lru_cache(maxsize=1024)
def _parse_request(method: str, target: str) -> Request | Redirect | None:
    path, _, query = target.partition("?")
    parse = _ROUTES.get((method, path))
    if parse is not None:
        return parse(parse_query(query))
    if path.endswith("/") and (method, path[:-1]) in _ROUTES:
        return Redirect(301 if method == "GET" else 307, target.replace(path, path[:-1], 1))
    return None


def _push_keys(pairs: Pairs) -> PushKeys:
    return PushKeys(number(first(pairs, "operation"), 32), tuple(every(pairs, "keys")))


def _push_mids(pairs: Pairs) -> PushMids:
    operation = number(first(pairs, "operation"), 32)
    return PushMids(operation, tuple([number(mid, 64) for mid in every(pairs, "mids")]))


def _push_room(pairs: Pairs) -> PushRoom:
    operation = number(first(pairs, "operation"), 32)
    kind, room = first(pairs, "type"), first(pairs, "room")
    if not (operation and kind and room):
        require(Op=operation, Type=kind, Room=room)
    return PushRoom(operation, kind, room)


def _push_all(pairs: Pairs) -> PushAll:
    operation = number(first(pairs, "operation"), 32)
    speed = number(first(pairs, "speed"), 32)
    require(Op=operation)
    return PushAll(operation, speed)


def _online_top(pairs: Pairs) -> OnlineTop:
    kind, limit = first(pairs, "type"), number(first(pairs, "limit"), 64)
    require(Type=kind, Limit=limit)
    return OnlineTop(kind, limit)


def _online_room(pairs: Pairs) -> OnlineRoom:
    kind, rooms = first(pairs, "type"), every(pairs, "rooms")
    require(Type=kind, Rooms=rooms)
    return OnlineRoom(kind, tuple(rooms))


_ROUTES: dict[tuple[str, str], Callable[[Pairs], Request]] = {
    (PushKeys.method, PushKeys.path): _push_keys,
    (PushMids.method, PushMids.path): _push_mids,
    (PushRoom.method, PushRoom.path): _push_room,
    (PushAll.method, PushAll.path): _push_all,
    (OnlineTop.method, OnlineTop.path): _online_top,
    (OnlineRoom.method, OnlineRoom.path): _online_room,
    (OnlineTotal.method, OnlineTotal.path): lambda pairs: OnlineTotal(),
    (NodesWeighted.method, NodesWeighted.path): lambda pairs: NodesWeighted(first(pairs, "platform")),
    (NodesInstances.method, NodesInstances.path): lambda pairs: NodesInstances(),
    **OWN_ROUTES,
}
