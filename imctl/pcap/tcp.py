"""TCP segments, as they were captured, to what each side of each connection sent, in order.

A segment that came again, or overlaps with one before, gives its new bytes
only; of two versions of a byte the first one counts. One that came too early
is held until the bytes before it are there. They are told as missing when the
receiver has acknowledged them and some more segments did not bring them, when
the connection or the capture ends, or when too much is held.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from imctl.pcap.packet import ACK, FIN, RST, SYN, Endpoint, Segment

__all__ = ["Closed", "Data", "Flow", "Missing", "Opened", "Reassembler", "TcpEvent"]

MAX_FLOWS = 65536
"""Connections followed at once; the one that began first is given up for one more."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Of segments that came too early, over all connections."""
MAX_HELD_ONE_WAY = 4 * 1024 * 1024
_MAX_HELD_SEGMENTS = 4096
_LATE_SEGMENTS = 3
"""A capture may have an acknowledgement before what it acknowledges, when several processors wrote it."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection.

    Args:
        client: Who opened it.
        server: Who listened.
        begun: Whether its beginning was captured.
    """

    client: Endpoint
    server: Endpoint
    begun: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection was seen for the first time."""

    time_ns: int
    flow: Flow


@dataclass(frozen=True, slots=True)
class Data:
    """The next bytes of one side."""

    time_ns: int
    flow: Flow
    from_client: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Missing:
    """Bytes of one side that the capture does not have.

    Args:
        time_ns: When that was known.
        flow: Which connection.
        from_client: Which side.
        size: How many bytes.
        cut: The packet was captured, and its end cut off by the snapshot length.
    """

    time_ns: int
    flow: Flow
    from_client: bool
    size: int
    cut: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection ended, or is not followed any longer."""

    time_ns: int
    flow: Flow
    why: str


TcpEvent = Opened | Data | Missing | Closed


@dataclass(slots=True, eq=False)
class _Way:
    """What one side sends."""

    from_client: bool
    next_seq: int | None = None
    held: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # payload and size, by sequence number
    held_bytes: int = 0
    fin_seq: int | None = None
    acked: int | None = None
    late: int = 0  # segments since the receiver had what is missing here

    @property
    def ended(self) -> bool:
        return self.fin_seq is not None and self.fin_seq == self.next_seq


@dataclass(slots=True, eq=False)
class _State:
    flow: Flow
    ways: tuple[_Way, _Way]  # of the client, of the server
    first_seq: int | None = None  # of the client's SYN
    first_fin: str = ""


class Reassembler:
    """Follows the connections of a capture.

    Args:
        server_ports: Who has one of these is the server where the beginning of a connection was not captured.
        only_ports: Others are left out; None for all.
    """

    def __init__(self, server_ports: Collection[int] = (), only_ports: Collection[int] | None = None) -> None:
        self.repeated = 0
        """Segments that brought nothing new."""
        self._server_ports = frozenset(server_ports)
        self._only_ports = None if only_ports is None else frozenset(only_ports)
        self._states: dict[tuple[Endpoint, Endpoint], _State] = {}
        self._held_bytes = 0

    def add(self, segment: Segment, time_ns: int) -> list[TcpEvent]:
        """Take the next segment of the capture; return what it tells."""
        wanted = self._only_ports
        if wanted is not None and segment.source[1] not in wanted and segment.target[1] not in wanted:
            return []
        found: list[TcpEvent] = []
        state = self._state(segment, time_ns, found)
        if state is None:
            return found
        way, back = state.ways if segment.source == state.flow.client else state.ways[::-1]
        self._take(state, way, segment, time_ns, found)
        if segment.flags & ACK and (back.acked is None or _after(segment.ack, back.acked) > 0):
            back.acked = segment.ack
        for each in state.ways:
            self._check_late(state, each, time_ns, found)
        self._check_end(state, segment, time_ns, found)
        return found

    def finish(self, time_ns: int) -> list[TcpEvent]:
        """Return what is left at the end of the capture."""
        found: list[TcpEvent] = []
        for state in list(self._states.values()):
            self._close(state, time_ns, "still open when the capture ended", found)
        return found

    def _state(self, segment: Segment, time_ns: int, found: list[TcpEvent]) -> _State | None:
        """Return the connection of a segment, a new one where it is; None when there is nothing to follow."""
        source, target = segment.source, segment.target
        state = self._states.get((source, target)) or self._states.get((target, source))
        opens = segment.flags & (SYN | ACK) == SYN
        if state is not None and opens and state.first_seq != segment.seq:
            self._close(state, time_ns, "its end was not captured: the client's port was used again", found)
            state = None
        if state is not None:
            return state
        if not segment.size and not segment.flags & SYN:
            return None  # the last acknowledgement of one that has ended, or one that says nothing
        source_is_client = opens or (not segment.flags & SYN and self._is_server(target, source))
        client, server = (source, target) if source_is_client else (target, source)
        if len(self._states) >= MAX_FLOWS:
            oldest = next(iter(self._states.values()))
            self._close(oldest, time_ns, f"not followed any longer: over {MAX_FLOWS} connections at once", found)
        flow = Flow(client, server, bool(segment.flags & SYN))
        state = _State(flow, (_Way(True), _Way(False)), segment.seq if opens else None)
        self._states[client, server] = state
        found.append(Opened(time_ns, flow))
        return state

    def _is_server(self, one: Endpoint, other: Endpoint) -> bool:
        """Whether one is more likely the server: by the known ports, else by the lower one."""
        known = (one[1] in self._server_ports, other[1] in self._server_ports)
        return known[0] if known[0] != known[1] else one[1] <= other[1]

    def _take(self, state: _State, way: _Way, segment: Segment, time_ns: int, found: list[TcpEvent]) -> None:
        seq = segment.seq
        if segment.flags & SYN:
            seq = (seq + 1) & 0xFFFFFFFF
        if way.next_seq is None:
            way.next_seq = seq
        if segment.flags & FIN and way.fin_seq is None:
            way.fin_seq = (seq + segment.size) & 0xFFFFFFFF
        if not segment.size:
            return
        behind = _after(seq, way.next_seq)
        if behind > 0:
            self._hold(way, seq, segment.payload, segment.size)
            much = way.held_bytes > MAX_HELD_ONE_WAY or len(way.held) > _MAX_HELD_SEGMENTS
            if much or self._held_bytes > MAX_HELD_BYTES:
                self._pass_gap(state, way, time_ns, found)
        elif -behind >= segment.size:
            self.repeated += 1
        else:
            self._deliver(state, way, segment.payload[-behind:], segment.size + behind, time_ns, found)
            self._deliver_held(state, way, time_ns, found)

    def _hold(self, way: _Way, seq: int, payload: bytes, size: int) -> None:
        before = way.held.get(seq)
        if before is not None and before[1] >= size:
            self.repeated += 1
            return
        kept = before[0] if before is not None else b""
        payload = kept + payload[len(kept) :]
        more = len(payload) - len(kept)
        way.held[seq] = (payload, size)
        way.held_bytes += more
        self._held_bytes += more

    def _deliver(
        self, state: _State, way: _Way, payload: bytes, size: int, time_ns: int, found: list[TcpEvent]
    ) -> None:
        assert way.next_seq is not None, "only what follows is delivered"
        if payload:
            found.append(Data(time_ns, state.flow, way.from_client, payload))
        if len(payload) < size:
            found.append(Missing(time_ns, state.flow, way.from_client, size - len(payload), cut=True))
        way.next_seq = (way.next_seq + size) & 0xFFFFFFFF
        way.late = 0

    def _deliver_held(self, state: _State, way: _Way, time_ns: int, found: list[TcpEvent]) -> None:
        assert way.next_seq is not None, "there is nothing held before the first segment"
        while way.held:
            seq = way.next_seq
            if seq not in way.held:
                seq = min(way.held, key=lambda held: _after(held, way.next_seq or 0))
            behind = _after(seq, way.next_seq)
            if behind > 0:
                return
            payload, size = way.held.pop(seq)
            way.held_bytes -= len(payload)
            self._held_bytes -= len(payload)
            if -behind < size:
                self._deliver(state, way, payload[-behind:], size + behind, time_ns, found)
            else:
                self.repeated += 1

    def _check_late(self, state: _State, way: _Way, time_ns: int, found: list[TcpEvent]) -> None:
        waits = bool(way.held) or (way.fin_seq is not None and not way.ended)
        if not waits or way.acked is None or way.next_seq is None or _after(way.acked, way.next_seq) <= 0:
            return
        way.late += 1
        if way.late > _LATE_SEGMENTS:
            self._pass_gap(state, way, time_ns, found)

    def _pass_gap(self, state: _State, way: _Way, time_ns: int, found: list[TcpEvent]) -> None:
        """Tell what is missing before what is held, or before the end, and go on behind it."""
        if way.next_seq is None:
            return
        next_seq = way.next_seq
        ends = [*way.held] or ([way.fin_seq] if way.fin_seq is not None else [])
        if not ends:
            return
        size = min(_after(end, next_seq) for end in ends)
        if size > 0:
            found.append(Missing(time_ns, state.flow, way.from_client, size, cut=False))
            way.next_seq = (next_seq + size) & 0xFFFFFFFF
        way.late = 0
        self._deliver_held(state, way, time_ns, found)

    def _check_end(self, state: _State, segment: Segment, time_ns: int, found: list[TcpEvent]) -> None:
        who = "client" if segment.source == state.flow.client else "comet"
        if segment.flags & RST:
            self._close(state, time_ns, f"reset by the {who}", found)
            return
        if segment.flags & FIN and not state.first_fin:
            state.first_fin = who
        if state.ways[0].ended and state.ways[1].ended:
            self._close(state, time_ns, f"closed by the {state.first_fin}", found)

    def _close(self, state: _State, time_ns: int, why: str, found: list[TcpEvent]) -> None:
        for way in state.ways:
            while way.held:
                self._pass_gap(state, way, time_ns, found)
            end = way.acked if way.fin_seq is None else way.fin_seq
            size = _after(end, way.next_seq) if end is not None and way.next_seq is not None else 0
            # A FIN is acknowledged as a byte: one that was not captured is none that is missing.
            if size > (way.fin_seq is None):
                found.append(Missing(time_ns, state.flow, way.from_client, size, cut=False))
        if not why.startswith(("reset", "closed")) and state.first_fin:
            why = f"closed by the {state.first_fin}; the other side's end was not captured"
        found.append(Closed(time_ns, state.flow, why))
        del self._states[state.flow.client, state.flow.server]


def _after(seq: int, other: int) -> int:
    """Return how far a sequence number is after another; below 0 when it is before. They wrap at 32 bits."""
    return ((seq - other + 0x80000000) & 0xFFFFFFFF) - 0x80000000
