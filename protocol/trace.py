"""A push that is followed: its id on the wire, the points where nodes see it, and the ways these add up to.

Not goim's. A publisher gives a push an id in the HTTP header TRACE_HEADER;
logic puts it into the bus record and job into its calls of comets, as fields
that goim skips. Each node remembers when it saw the id, by the monotonic
clock of its machine:

    ACCEPTED   logic has read the HTTP request
    PUBLISHED  logic hands a record to the bus, one for each of them
    READ       job has a record from the bus
    ROUTED     job makes its calls of it, for a room after the room's batch was complete
    SENT       job calls a comet
    WRITTEN    comet has written to its clients
    DROPPED    a node gave the message up, and why

A message to a room or to all takes a way of its own to each comet, and so
does each record of a push to mids or keys.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

__all__ = ["TRACE_HEADER", "Journey", "Place", "TracePoint", "Way", "dump_trace_id", "follow", "parse_trace_id"]

TRACE_HEADER = "X-Imctl-Trace"

_ID = re.compile(r"[0-9a-fA-F]{1,16}")


class Place(enum.StrEnum):
    """Where a message was seen, in the order in which it gets there."""

    ACCEPTED = "accepted"
    PUBLISHED = "published"
    READ = "read"
    ROUTED = "routed"
    SENT = "sent"
    WRITTEN = "written"
    DROPPED = "dropped"


def parse_trace_id(text: str) -> int:
    """Return an id as the header has it.

    Raises:
        ValueError: it is none; the text says what came and what was expected.
    """
    number = int(text, 16) if _ID.fullmatch(text) else 0
    if not number:
        raise ValueError(f"trace id {text[:40]!r}; expected 1 to 16 hex digits, not all 0")
    return number


def dump_trace_id(trace: int) -> str:
    """Return an id as the header has it: 16 hex digits."""
    return f"{trace:016x}"


@dataclass(frozen=True, slots=True)
class TracePoint:
    """A node saw a message.

    Args:
        trace: Which message.
        place: Where.
        node: Hostname of the node that says so.
        at_ns: When, by the monotonic clock of that node's machine.
        server: Hostname of the comet that the record or the call is for; "" for a record that is for all comets.
        room: Of a room's message.
        calls: ROUTED: how many comets are called.
        messages: ROUTED, SENT, WRITTEN: in the call together with this one.
        began_ns: WRITTEN: when the comet had read the call.
        clients: WRITTEN: to how many.
        missed: WRITTEN: to how many it could not, since they were gone or too slow.
        reason: DROPPED: the name it was counted under.
    """

    trace: int
    place: Place
    node: str
    at_ns: int
    server: str = ""
    room: str = ""
    calls: int = 0
    messages: int = 0
    began_ns: int = 0
    clients: int = 0
    missed: int = 0
    reason: str = ""

    def dump(self) -> dict[str, Any]:
        """Return it ready for JSON, without what it does not say. Any: JSON."""
        found = {name: getattr(self, name) for name, default in _FIELDS.items() if getattr(self, name) != default}
        return {**found, "trace": dump_trace_id(self.trace), "place": self.place.value}

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> TracePoint:
        """Return what dump() made this of; what it does not know is passed over. Any: JSON.

        Raises:
            ValueError: it is no point.
        """
        try:
            known = {name: document[name] for name in _FIELDS if name in document}
            return cls(**{**known, "trace": parse_trace_id(document["trace"]), "place": Place(document["place"])})
        except (KeyError, TypeError) as exc:
            raise ValueError(f"{document!r:.200} is no trace point: {exc!r}") from exc


_FIELDS = {item.name: item.default if item.default is not MISSING else None for item in fields(TracePoint)}


@dataclass(frozen=True, slots=True)
class Way:
    """A message on its way to one comet; None is what nobody told."""

    server: str
    published: TracePoint | None = None
    read: TracePoint | None = None
    routed: TracePoint | None = None
    sent: TracePoint | None = None
    written: TracePoint | None = None
    dropped: TracePoint | None = None


@dataclass(frozen=True, slots=True)
class Journey:
    """All that is known of one message.

    Args:
        accepted: By logic.
        ways: One for each comet that is known to be concerned, by name; for a record of which none is known, one.
        records: How many logic published.
        is_over: Whether every record is known to have been written by all its comets or given up, so
            that no further point is to be expected, from the moment on at which logic has answered.
    """

    accepted: TracePoint | None
    ways: tuple[Way, ...]
    records: int
    is_over: bool


def follow(points: Iterable[TracePoint]) -> Journey:
    """Return what the points of one message add up to.

    What was delivered more than once counts by its first delivery.
    """
    at: dict[Place, list[TracePoint]] = {place: [] for place in Place}
    for point in sorted(points, key=lambda point: point.at_ns):
        at[point.place].append(point)
    servers = sorted({point.server for found in at.values() for point in found if point.server})
    if not servers and (at[Place.PUBLISHED] or at[Place.READ]):
        servers = [""]  # a record that is for all comets, and nobody knows whom it went to
    ways = tuple(_way(server, at) for server in servers)
    return Journey(
        accepted=next(iter(at[Place.ACCEPTED]), None),
        ways=ways,
        records=len(at[Place.PUBLISHED]),
        is_over=all(_is_over(record, ways, at) for record in at[Place.PUBLISHED]),
    )


def _way(server: str, at: Mapping[Place, Sequence[TracePoint]]) -> Way:
    """Return the way to a comet, found backwards from its end."""
    written = next((point for point in at[Place.WRITTEN] if point.server == server), None)
    before_ns = written.began_ns if written is not None else None
    found: dict[Place, TracePoint | None] = {}
    for place in (Place.SENT, Place.ROUTED, Place.READ, Place.PUBLISHED):
        known = [point for point in at[place] if point.server in (server, "")]
        earlier = [point for point in known if before_ns is None or point.at_ns <= before_ns]
        point = found[place] = earlier[-1] if earlier else next(iter(known), None)
        before_ns = before_ns if point is None else point.at_ns
    dropped = next((point for point in at[Place.DROPPED] if point.server in (server, "")), None)
    return Way(
        server,
        found[Place.PUBLISHED],
        found[Place.READ],
        found[Place.ROUTED],
        found[Place.SENT],
        written,
        dropped if written is None else None,
    )


def _is_over(record: TracePoint, ways: Sequence[Way], at: Mapping[Place, Sequence[TracePoint]]) -> bool:
    if any(point.server == record.server for point in at[Place.DROPPED]):
        return True
    routed = next((point for point in at[Place.ROUTED] if point.server == record.server), None)
    ended = [way for way in ways if way.written is not None or way.dropped is not None]
    mine = [way for way in ended if record.server in ("", way.server)]
    return routed is not None and len(mine) >= routed.calls
