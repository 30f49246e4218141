"""What is seen of connections between clients and comets: begin, rows and problems of both ways, end."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imctl.decode.items import Problem, Row
from imctl.decode.stream import Items, StreamWalker
from imctl.decode.tcp import TcpWalker
from imctl.decode.walk import guess_websocket
from imctl.decode.ws import HTTP_STARTS, WebSocketWalker

__all__ = ["MAX_KEPT_BYTES", "Began", "Conversation", "Ended", "Event", "Peers", "Seen", "Side", "time_of"]

MAX_KEPT_BYTES = 256 * 1024
"""Of a frame that is not yet whole, each way of a connection; of a longer one only the header is told."""

_LAST_NS = 250_000_000_000 * 1_000_000_000
_UNKNOWN_KEPT = 16384
"""Of what each side sent, while it cannot be told which transport it is."""


class Side(enum.Enum):
    """Who sent something."""

    CLIENT = "client"
    COMET = "comet"

    @property
    def other(self) -> Side:
        """Who got it."""
        return Side.COMET if self is Side.CLIENT else Side.CLIENT


@dataclass(frozen=True, slots=True)
class Peers:
    """A connection: its number, from 1 on, and both ends as `host:port`."""

    number: int
    client: str
    comet: str


@dataclass(frozen=True, slots=True)
class Began:
    """A connection began.

    Args:
        time_ns: Unix time.
        peers: Which.
        note: What is worth knowing; "" for nothing.
    """

    time_ns: int
    peers: Peers
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON; Any because it is JSON."""
        found = {**_head(self.time_ns, self.peers), "kind": "begin", "comet": self.peers.comet}
        return found | ({"note": self.note} if self.note else {})


@dataclass(frozen=True, slots=True)
class Seen:
    """A row or a problem; its offset counts from the first byte that this side sent.

    Args:
        time_ns: Unix time of the bytes that completed it.
        peers: Which connection.
        side: Who sent it.
        item: What it is.
    """

    time_ns: int
    peers: Peers
    side: Side
    item: Row | Problem

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON; Any because it is JSON."""
        return {**_head(self.time_ns, self.peers), "from": self.side.value, **self.item.to_json()}


@dataclass(frozen=True, slots=True)
class Ended:
    """A connection ended.

    Args:
        time_ns: Unix time.
        peers: Which.
        why: Such as `closed by the client`.
        duration_ns: How long it was, or was seen.
        from_client: Bytes that the client sent.
        from_comet: Bytes that the comet sent.
    """

    time_ns: int
    peers: Peers
    why: str
    duration_ns: int
    from_client: int
    from_comet: int

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON; Any because it is JSON."""
        return {
            **_head(self.time_ns, self.peers),
            "kind": "end",
            "why": self.why,
            "duration_ms": self.duration_ns / 1e6,
            "bytes_from_client": self.from_client,
            "bytes_from_comet": self.from_comet,
        }


Event = Began | Seen | Ended


def time_of(time_ns: int) -> datetime:
    """Return Unix time in the local time zone, to the microsecond; a damaged file's may be no year of ours."""
    seconds, rest_ns = divmod(min(max(time_ns, 0), _LAST_NS), 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).astimezone().replace(microsecond=rest_ns // 1000)


def _head(time_ns: int, peers: Peers) -> dict[str, Any]:
    when = time_of(time_ns).isoformat(timespec="microseconds")
    return {"time": when, "connection": peers.number, "client": peers.client}


class Conversation:
    """Both ways of one connection. Which transport it is, its first bytes tell.

    Args:
        begun: The first bytes are the first of the connection; else they may be in the middle of a frame.
        max_kept: As of StreamWalker.
    """

    def __init__(self, *, begun: bool = True, max_kept: int = MAX_KEPT_BYTES) -> None:
        self.transport = ""
        """`tcp` or `ws`, "" until it is known."""
        self._begun = begun
        self._max_kept = max_kept
        self._first: dict[Side, bytes] = {}  # too few to tell
        self._walkers: dict[Side, StreamWalker] = {}

    def feed(self, side: Side, data: bytes) -> Iterator[Row | Problem]:
        """Yield what can be told by now of what a side sent; has to be gone through to its end."""
        if not self._walkers:
            data = self._first.pop(side, b"") + data
            ws = self._guess(data)
            if ws is None and len(data) < _UNKNOWN_KEPT:
                self._first[side] = data
                return
            self._set_out(ws=bool(ws))
        walker = self._walkers[side]
        walker.feed(data)
        yield from walker.items()

    def gap(self, side: Side, size: int, what: str, hint: str = "") -> Items:
        """Return what is told of bytes that are missing here; see StreamWalker.gap()."""
        if not self._walkers:
            self._begun = False
            self._set_out(ws=bool(self._guess(self._first.get(side, b""))))
        walker = self._walkers[side]
        return [*walker.items(), *walker.gap(size, what, hint)]

    def end(self, side: Side) -> Iterator[Row | Problem]:
        """Yield what is left of a side, which sends no more; to be called once."""
        if side in self._first:
            self._set_out(ws=bool(self._guess(self._first[side])))
        if side in self._walkers:
            yield from self._walkers[side].end()

    def _guess(self, first: bytes) -> bool | None:
        """Return whether it is WebSocket, None when that cannot be told yet."""
        if not self._begun:
            return guess_websocket(first, lost=True)
        if any(start.startswith(first) for start in HTTP_STARTS):
            return None
        return first.startswith(HTTP_STARTS)

    def _set_out(self, *, ws: bool) -> None:
        self.transport = "ws" if ws else "tcp"
        for side in Side:
            lost = not self._begun
            walker: StreamWalker
            if ws:
                walker = WebSocketWalker(max_kept=self._max_kept, lost=lost)
            else:
                walker = TcpWalker(max_kept=self._max_kept, lost=lost)
            self._walkers[side] = walker
            walker.feed(self._first.pop(side, b""))
