"""What a logic of this project answers over HTTP beside goim's API, under `/imctl/`.

The form is goim's: parameters in the query, the reply in goim's envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from protocol.push_query import Pairs, ParamError, escape, every, first, many, number
from protocol.trace import dump_trace_id, parse_trace_id

__all__ = [
    "OWN_ROUTES",
    "DeleteOffline",
    "History",
    "HookList",
    "Offline",
    "OwnRequest",
    "Sessions",
    "Stats",
    "Traces",
]

_MOST_READ = 1000


@dataclass(frozen=True, slots=True)
class Sessions:
    """Where users and keys are connected; GET /imctl/sessions (not goim's).

    `data` of the reply: {"mids": {"1": {key: server}}, "keys": {key: server}};
    a mid that is offline has {}, a key that is offline is left out.
    """

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/imctl/sessions"

    mids: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """Path and query of this request."""
        query = (many("mids", self.mids) + many("keys", self.keys))[1:]
        return f"{self.path}?{query}" if query else self.path


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of the logic that answers; GET /imctl/stats (not goim's)."""

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/imctl/stats"

    @property
    def target(self) -> str:
        """Path of this request."""
        return self.path


@dataclass(frozen=True, slots=True)
class HookList:
    """The hooks of the logic that answers, with what their calls came to; GET /imctl/hooks (not goim's)."""

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/imctl/hooks"

    @property
    def target(self) -> str:
        """Path of this request."""
        return self.path


@dataclass(frozen=True, slots=True)
class Traces:
    """Where the logic that answers has seen pushes that are followed; GET /imctl/trace (not goim's).

    `data` of the reply: {"node": hostname, "clock": name of its monotonic clock, "points": [TracePoint.dump()]},
    of the push `trace`, or of all that it remembers when that is 0.
    """

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/imctl/trace"

    trace: int = 0

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?id={dump_trace_id(self.trace)}" if self.trace else self.path


@dataclass(frozen=True, slots=True)
class History:
    """The last pushes to a user, or to a room; GET /imctl/history (not goim's).

    `data` of the reply: {"messages": [{"id", "operation", "time_ms", and "body" as text, or "body_base64" when it is
    not UTF-8}]}, the oldest first. Needs a hook that keeps messages.

    Args:
        mid: User; 0 for a room.
        room: Room key `type://id`; "" for a user.
        limit: How many at most, 1 to 1,000.
        before: Only those with a smaller id; 0 for the last ones.
    """

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/imctl/history"

    mid: int = 0
    room: str = ""
    limit: int = 20
    before: int = 0

    @property
    def target(self) -> str:
        """Path and query of this request."""
        whose = f"room={escape(self.room)}" if self.room else f"mid={self.mid}"
        return f"{self.path}?{whose}&limit={self.limit}&before={self.before}"


@dataclass(frozen=True, slots=True)
class Offline:
    """What waits for a user; GET /imctl/offline (not goim's).

    `data` of the reply: {"mid", "messages", "bytes", "oldest_ms" (null when nothing waits), "last_id",
    "connections": [{"key", "server", "handed"}]}; `handed` is the id up to which it was handed over.
    """

    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "/imctl/offline"

    mid: int

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?mid={self.mid}"


@dataclass(frozen=True, slots=True)
class DeleteOffline:
    """Delete what is kept of a user, history included; DELETE /imctl/offline (not goim's).

    `data` of the reply: {"deleted": messages that waited}.
    """

    method: ClassVar[str] = "DELETE"
    path: ClassVar[str] = "/imctl/offline"

    mid: int

    @property
    def target(self) -> str:
        """Path and query of this request."""
        return f"{self.path}?mid={self.mid}"


OwnRequest = Sessions | Stats | HookList | Traces | History | Offline | DeleteOffline


def _sessions(pairs: Pairs) -> Sessions:
    return Sessions(tuple([number(mid, 64) for mid in every(pairs, "mids")]), tuple(every(pairs, "keys")))


def _traces(pairs: Pairs) -> Traces:
    text = first(pairs, "id")
    try:
        return Traces(parse_trace_id(text) if text else 0)
    except ValueError as exc:
        raise ParamError(str(exc)) from None


def _history(pairs: Pairs) -> History:
    room = first(pairs, "room")
    if room and first(pairs, "mid"):
        raise ParamError("mid and room are both given; expected one of them")
    limit = first(pairs, "limit")
    request = History(
        0 if room else _mid(pairs), room, number(limit, 32) if limit else 20, number(first(pairs, "before"), 64)
    )
    if not 1 <= request.limit <= _MOST_READ:
        raise ParamError(f"limit is {request.limit}; expected 1 to {_MOST_READ}")
    if request.before < 0:
        raise ParamError(f"before is {request.before}; expected an id, or 0")
    return request


def _mid(pairs: Pairs) -> int:
    mid = number(first(pairs, "mid"), 64)
    if mid <= 0:
        raise ParamError(f"mid is {mid}; expected a user, 1 or more")
    return mid


OWN_ROUTES: dict[tuple[str, str], Callable[[Pairs], OwnRequest]] = {
    (Sessions.method, Sessions.path): _sessions,
    (Stats.method, Stats.path): lambda pairs: Stats(),
    (HookList.method, HookList.path): lambda pairs: HookList(),
    (Traces.method, Traces.path): _traces,
    (History.method, History.path): _history,
    (Offline.method, Offline.path): lambda pairs: Offline(_mid(pairs)),
    (DeleteOffline.method, DeleteOffline.path): lambda pairs: DeleteOffline(_mid(pairs)),
}
"""What parses the query of a request, by method and path."""
