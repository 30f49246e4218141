"""One followed push as `imctl trace` shows it: a row a hop, and which hops nobody told of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from protocol.trace import Journey, TracePoint, Way, dump_trace_id

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Hop", "Read", "TraceReport", "hidden_hops", "hops_of"]


@dataclass(frozen=True, slots=True)
class Read:
    """A client of our own read the message.

    Args:
        at_ns: When, by time.monotonic_ns().
        server: Hostname of its comet; "" when this logic does not tell.
        transport: TCP or WebSocket.
    """

    at_ns: int
    server: str
    transport: str


@dataclass(frozen=True, slots=True)
class Hop:
    """A stretch of the way.

    Args:
        name: push (to logic), logic, bus, job, comet or wire.
        node: Who told of its end.
        at_ms: Its end, since the push began; None when that was seen by another clock.
        took_ms: Since the end of the hop before; None when nobody told of that.
        text: What happened.
        facts: The same in numbers, for programs.
    """

    name: str
    node: str
    at_ms: float | None
    took_ms: float | None
    text: str
    facts: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TraceReport:
    """What is known of one push.

    Args:
        trace: Its id.
        receiver: Whom it was for, such as `room live://1`.
        op: Operation of the message.
        size: Bytes of the body.
        answered_ms: When logic had answered.
        hops: In the order of the way; those of several comets one after the other.
        hidden: {hop: why nobody told of it}.
        lost: What nodes say about giving it up.
        online: Connections that it was for; None when this logic cannot tell.
    """

    trace: int
    receiver: str
    op: int
    size: int
    answered_ms: float
    hops: tuple[Hop, ...]
    hidden: Mapping[str, str]
    lost: tuple[str, ...] = ()
    online: int | None = None

    @property
    def total_ms(self) -> float | None:
        """When the last hop that was seen ended; None when none was."""
        return max((hop.at_ms for hop in self.hops if hop.at_ms is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the document. Any: JSON."""
        return {
            "trace": dump_trace_id(self.trace),
            "receiver": self.receiver,
            "online": self.online,
            "op": self.op,
            "bytes": self.size,
            "answered_ms": _ms(self.answered_ms),
            "total_ms": _ms(self.total_ms),
            "hops": [
                {"hop": hop.name, "node": hop.node, "at_ms": _ms(hop.at_ms), "took_ms": _ms(hop.took_ms), **hop.facts}
                for hop in self.hops
            ],
            "hidden": dict(self.hidden),
            "lost": list(self.lost),
        }

    def render(self, console: Console) -> None:
        """Print a table, and below it what is missing and what was lost."""
        from rich.table import Table
        from rich.text import Text

        from imctl.cli.tables import print_table

        head = f"{self.receiver}, op {self.op}, {self.size} bytes"
        console.print(Text.assemble((f"trace {dump_trace_id(self.trace)}", "bold"), f"  {head}"), soft_wrap=True)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for name in ("hop", "node", "at ms", "took ms", ""):
            numbers = name.endswith("ms")
            table.add_column(name, justify="right" if numbers else "left", no_wrap=numbers or name == "hop")
        for hop in self.hops:
            table.add_row(Text(hop.name, style="bold"), hop.node, _text(hop.at_ms), _text(hop.took_ms), hop.text)
        print_table(console, table)
        for why, names in _by_reason(self.hidden).items():
            console.print(Text(f"not visible: {', '.join(names)} ({why})", style="dim"), soft_wrap=True)
        for text in self.lost:
            console.print(Text.assemble(("lost", "bold red"), f"  {text}"), soft_wrap=True)


def hops_of(journey: Journey, began_ns: int, read: Read | None, *, same_clock: bool = True) -> tuple[Hop, ...]:
    """Return the hops of which both nodes and client told.

    Args:
        journey: What nodes told.
        began_ns: When the push began.
        read: What a client of our own told.
        same_clock: Whether nodes' times can be compared with ours.
    """
    rows = [*_nodes(journey, _Clock(began_ns, same_clock))]
    if read is not None:
        rows.append(_wire(journey, read, began_ns, same_clock))
    # A record's hops up to the comets are the same for each of them.
    return tuple({(row.name, row.node, row.at_ms, row.text): row for row in rows}.values())


@dataclass(frozen=True, slots=True)
class _Clock:
    began_ns: int
    is_ours: bool

    def at_ms(self, point: TracePoint) -> float | None:
        return (point.at_ns - self.began_ns) / 1e6 if self.is_ours else None


def _nodes(journey: Journey, clock: _Clock) -> Iterator[Hop]:
    accepted = journey.accepted
    if accepted is not None:
        at_ms = clock.at_ms(accepted)
        yield Hop("push", accepted.node, at_ms, at_ms, "logic has the request")
    yield from (_hop("logic", clock, accepted, way.published, _published(way)) for way in journey.ways if way.published)
    yield from (_hop("bus", clock, way.published, way.read, "job has the record") for way in journey.ways if way.read)
    for way in journey.ways:
        if way.sent is not None:
            yield _job(way, clock)
        if way.written is not None:
            yield _comet(way, clock)


def _hop(name: str, clock: _Clock, before: TracePoint | None, point: TracePoint | None, text: str, **facts: Any) -> Hop:
    assert point is not None
    took_ms = None if before is None else (point.at_ns - before.at_ns) / 1e6
    return Hop(name, point.node, clock.at_ms(point), took_ms, text, facts)


def _published(way: Way) -> str:
    point = way.published
    return f"bus is given a record for {point.server}" if point and point.server else "bus is given the record"


def _job(way: Way, clock: _Clock) -> Hop:
    assert way.sent is not None
    facts: dict[str, Any] = {"server": way.server, "messages": way.sent.messages}
    text = f"calls {way.server}"
    if way.read is not None and way.routed is not None:
        waited_ms = facts["batching_ms"] = round((way.routed.at_ns - way.read.at_ns) / 1e6, 3)
        if way.read.room:
            text += f"; {_text(waited_ms)} ms of it for the room's batch"
    if way.sent.messages > 1:
        text += f", {way.sent.messages} messages in one call"
    return _hop("job", clock, way.read, way.sent, text, **facts)


def _comet(way: Way, clock: _Clock) -> Hop:
    point = way.written
    assert point is not None
    text = f"written to {point.clients} client{'s' * (point.clients != 1)}"
    if not point.clients and not point.missed:
        text = "nobody here to write it to"
    if point.missed:
        text += f", {point.missed} missed: gone or too slow"
    writing_ms = round((point.at_ns - point.began_ns) / 1e6, 3)
    facts = {"server": way.server, "clients": point.clients, "missed": point.missed, "writing_ms": writing_ms}
    return _hop("comet", clock, way.sent, point, text, **facts)


def _wire(journey: Journey, read: Read, began_ns: int, same_clock: bool) -> Hop:
    written = [way.written for way in journey.ways if way.written is not None and read.server in ("", way.server)]
    at_ms = (read.at_ns - began_ns) / 1e6
    facts = {"server": read.server} if read.server else {}
    if len(written) == 1 and same_clock:
        # The client may have it before the comet has written to all the others.
        took_ms = max((read.at_ns - written[0].at_ns) / 1e6, 0.0)
        return Hop("wire", "client", at_ms, took_ms, f"read over {read.transport}", facts)
    return Hop("wire", "client", at_ms, None, f"read over {read.transport}", facts)


def hidden_hops(journey: Journey, *, logic_why: str, nodes_why: str, listens: bool) -> dict[str, str]:
    """Return which hops nobody told of, and why.

    Args:
        journey: What nodes told.
        logic_why: Why logic would not.
        nodes_why: Why job and comets would not.
        listens: Whether a client of our own was there to read it.
    """
    hidden: dict[str, str] = {}
    ways = journey.ways
    if journey.accepted is None:
        hidden = {"logic": logic_why} | dict.fromkeys(("bus", "job", "comet"), "logic did not mark the message")
    elif any(way.dropped is None for way in ways):
        told = {
            "bus": all(way.read is not None for way in ways),
            "job": all(way.sent is not None for way in ways),
            "comet": all(way.written is not None for way in ways),
        }
        hidden = {name: nodes_why for name, is_told in told.items() if not is_told}
    if not listens:
        hidden["wire"] = "no client of ours is there; --listen connects one"
    return hidden


def _by_reason(hidden: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in hidden.items():
        found.setdefault(why, []).append(name)
    return found


def _ms(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
