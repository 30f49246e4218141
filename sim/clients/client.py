"""One simulated client: a slotted protocol, no task and no timer of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from protocol.bodies import serialize_operations
from protocol.errors import WireError
from protocol.frame import Frame, pack_frame, parse_frames
from protocol.operation import Operation
from protocol.raw import flatten
from protocol.websocket import ClientUpgrade, MessageDecoder, serialize_message
from sim.clients.membership import Change, Membership
from sim.clients.memo import CODE_BITS, Chunk, Entry, code_of
from sim.measure.ledger import Cursor, Stay
from sim.run.clocks import monotonic_ns

if TYPE_CHECKING:
    from sim.clients.plan import ClientPlan
    from sim.clients.swarm import Swarm

__all__ = ["SimClient"]

_MASK = (1 << CODE_BITS) - 1
# A fixed mask of zeros: it costs nothing to apply, and hides nothing from a server under test.
_NO_MASK = b"\0\0\0\0"
_BINARY = 2
_CLOSE, _PING, _PONG = 8, 9, 10


class SimClient(asyncio.Protocol):
    """One connection of a client, with what the client knows from those before it.

    Args:
        swarm: Who counts.
        plan: Which client.
        former: The connection before this one, ended; None for the first.

    Attributes:
        next: Place in a stream (memo.code_of) at which the next message of the
            current stream is expected; -1 before the first.
        cursors: By stream; the one of the current stream lags behind `next`.
        joined_ns: When the auth reply was read; 0 before.
        left_ns: When the connection ended, or the client decided to leave; 0 while it is there.
        leaving: Whether it ended by the client's own will.
        comet: Place of its comet among those of the target; -1 before it connects.
        silenced, stopped: How many events keep it from sending heartbeats, and from reading.
        unheard: Whether it has been silent, and comet has not answered a heartbeat since.
        replaced: Whether another connection takes over its key, or has.
        streams: Streams it is a member of.
        members: When it was a member of which stream; None while that is its first whole connection.
    """

    __slots__ = (
        "comet",
        "cursors",
        "joined_ns",
        "leaving",
        "left_ns",
        "members",
        "next",
        "plan",
        "replaced",
        "rest",
        "silenced",
        "stopped",
        "streams",
        "swarm",
        "tally",
        "transport",
        "unheard",
        "upgrade",
    )

    def __init__(self, swarm: Swarm, plan: ClientPlan, former: SimClient | None = None) -> None:
        self.swarm = swarm
        self.plan = plan
        self.tally = swarm.tallies[plan.population]
        self.next = -1
        self.cursors: dict[int, Cursor] | None = None if former is None else former.close_books()
        self.rest = b""
        self.joined_ns = 0
        self.left_ns = 0
        self.leaving = False
        self.comet = -1
        self.silenced = 0
        self.stopped = 0
        self.unheard = False
        self.replaced = False
        self.streams = plan.streams
        self.members: Membership | None = None if former is None else Membership(former.memberships())
        self.transport: asyncio.Transport | None = None
        self.upgrade: ClientUpgrade | None = None

    # --- asyncio.Protocol ---------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the upgrade, or authenticate at once."""
        self.transport = stream = cast(asyncio.Transport, transport)
        if self.plan.is_ws:
            self.upgrade = ClientUpgrade("imctl-sim", self.plan.index.to_bytes(16, "big"))
            stream.write(self.upgrade.request)
        else:
            self.send(Operation.AUTH, self.plan.token.serialize())

    def data_received(self, data: bytes) -> None:
        """Count a delivery: the hot path of the whole simulator."""
        tally = self.tally
        if data == tally.last:
            # What the client before this one got: to compare 2 KB is ten times cheaper than to hash them.
            chunk = tally.last_chunk
        else:
            chunk = tally.chunks.get(data)
            if chunk is not None:
                tally.last = data
                tally.last_chunk = chunk
        if chunk is not None and chunk.first == self.next:
            self.next = chunk.next
            now = monotonic_ns()
            if now < chunk.until_ns:
                chunk.waiting += 1
            else:
                tally.memo.roll(chunk, now)
            return
        try:
            self._receive(data, chunk, monotonic_ns())
        except (WireError, ValueError) as exc:
            self.swarm.broken(self, str(exc))
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; the ledger judges by it."""
        self._end()
        self.transport = None  # with its buffers: the client may be kept for long
        self.swarm.lost(self)

    @property
    def is_in(self) -> bool:
        """Whether it has joined and not left."""
        return bool(self.joined_ns) and not self.left_ns

    @property
    def is_provoked(self) -> bool:
        """Whether comet has a reason to end the connection that the scenario has given it."""
        return self.unheard or self.replaced

    def leave(self) -> None:
        """Close the connection by its own will."""
        self.leaving = True
        self.hang_up()
        self._end()

    def stop_reading(self) -> None:
        """Leave what comes in the socket, until read_on() was called as often."""
        self.stopped += 1
        if self.transport is not None:
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Read again, if this was the last that kept it from it."""
        self.stopped -= 1
        if not self.stopped and self.transport is not None:
            self.transport.resume_reading()

    def silence(self) -> None:
        """Send no heartbeats, until speak() was called as often."""
        self.silenced += 1
        self.unheard = True

    def speak(self) -> None:
        """Send heartbeats again, if this was the last that kept it from it."""
        self.silenced -= 1

    # --- membership ---------------------------------------------------------

    def change_room(self, room: str) -> None:
        """Ask comet for another room, "" for none."""
        plan = self.swarm.plan
        enters = (plan.room_streams[room],) if room in plan.room_streams else ()
        self._ask(Change(Operation.CHANGE_ROOM_REPLY, monotonic_ns(), plan.is_room, enters))
        self.send(Operation.CHANGE_ROOM, room.encode())

    def subscribe(self, operations: tuple[int, ...]) -> None:
        """Ask comet for the pushes of more operations."""
        enters = self.swarm.plan.accepted(self.plan.token, operations)
        self._ask(Change(Operation.SUB_REPLY, monotonic_ns(), lambda stream: False, enters))
        self.send(Operation.SUB, serialize_operations(operations))

    def unsubscribe(self, operations: tuple[int, ...]) -> None:
        """Ask comet for no more pushes of some operations."""
        leaves = self.swarm.plan.accepted(self.plan.token, operations)
        self._ask(Change(Operation.UNSUB_REPLY, monotonic_ns(), leaves.__contains__))
        self.send(Operation.UNSUB, serialize_operations(operations))

    def give_way(self, asked_ns: int, now_ns: int) -> None:
        """Leave what goes by key and mid to another connection with the same ones, which has asked for it and is in."""
        self._save_cursor()
        left = [stream for stream in self.streams if self.swarm.plan.is_login(stream)]
        self._membership().leave(left, asked_ns, now_ns)
        self.streams = tuple(stream for stream in self.streams if stream not in left)

    def _ask(self, change: Change) -> None:
        self._membership().ask(change)

    def _membership(self) -> Membership:
        if self.members is None:
            self.members = Membership([])
            self.members.enter(self.streams, self.joined_ns, self.comet)
        return self.members

    def hang_up(self) -> None:
        """End the connection at once, if there is one."""
        if self.transport is not None and not self.left_ns:
            self.transport.abort()

    def _end(self) -> None:
        if not self.left_ns:
            self.left_ns = monotonic_ns()
            if self.joined_ns:
                self.swarm.alive -= 1

    # --- requests -----------------------------------------------------------

    def send(self, op: int, body: bytes = b"") -> None:
        """Send one frame, as a WebSocket message where the client is one."""
        frame = pack_frame(op, body)
        if self.transport is not None:
            self.transport.write(serialize_message(frame, mask=_NO_MASK) if self.plan.is_ws else frame)

    # --- receiving ----------------------------------------------------------

    def _receive(self, data: bytes, chunk: Chunk | None, now: int) -> None:
        """Take a chunk that is not the plain continuation of this client's stream."""
        if chunk is not None and not self.rest:
            if self._take(chunk.entries):
                self._count(chunk, now)
            return
        if self.upgrade is not None:
            behind = self.upgrade.feed(data)
            if behind is None:
                return
            self.upgrade = None
            self.send(Operation.AUTH, self.plan.token.serialize())
            data = behind
        whole = self.rest + data if self.rest else data
        frames, used = self._decode(whole)
        is_memo = not self.rest and used == len(data)
        self._set_rest(whole[used:])
        entries: list[Entry] = []
        for frame in frames:
            entry = self.swarm.entry_of(frame)
            if entry is not None:
                entries.append(entry)
            else:
                is_memo = False
                self._control(frame, now)
        if not entries:
            return
        new = self._take(entries)
        if is_memo and new:
            self._count(self.tally.memo.add(data, tuple(entries)), now)
        elif new:
            self.tally.record(tuple(entries), now, 1)

    def _count(self, chunk: Chunk, now: int) -> None:
        if now < chunk.until_ns:
            chunk.waiting += 1
        else:
            self.tally.memo.roll(chunk, now)

    def _decode(self, data: bytes) -> tuple[list[Frame], int]:
        """Return the application's frames in the bytes, and how many bytes they took."""
        if not self.plan.is_ws:
            return parse_frames(data)
        decoder = MessageDecoder()
        decoder.feed(data)
        frames: list[Frame] = []
        used = 0
        while (message := decoder.next_message()) is not None:
            if message.opcode <= _BINARY:
                outer, length = parse_frames(message.payload)
                if length != len(message.payload):
                    raise ValueError(f"message of {len(message.payload)} bytes holds {length} bytes of frames")
                for frame in outer:
                    frames += flatten(frame)
                used = len(data) - decoder.buffered
            elif message.opcode == _PING:
                self._pong(message.payload)
            elif message.opcode == _CLOSE:
                self.hang_up()
        # What is kept has to begin with a whole fragment, and `buffered` does not count the headers of fragments.
        return frames, used if decoder.buffered else len(data)

    def _pong(self, payload: bytes) -> None:
        if self.transport is not None:
            self.transport.write(serialize_message(payload, opcode=_PONG, mask=_NO_MASK))

    def _set_rest(self, rest: bytes) -> None:
        self.rest = rest
        if rest and self.next >= 0:
            # No chunk matches while half a frame waits.
            self._save_cursor()
            self.next = -1

    def _control(self, frame: Frame, now: int) -> None:
        if frame.op == Operation.AUTH_REPLY and not self.joined_ns:
            self.joined_ns = now
            if self.members is not None:
                self.members.enter(self.streams, now, self.comet)
            self.swarm.joined(self)
        elif frame.op == Operation.HEARTBEAT_REPLY:
            self.swarm.heartbeat_replies += 1
            if not self.silenced:
                self.unheard = False
        elif self.members is None or (streams := self.members.confirm(frame.op, self.streams, now, self.comet)) is None:
            self.swarm.foreign += 1
        else:
            self._save_cursor()  # no chunk of what it has left is counted unseen from now on
            self.streams = streams

    def _take(self, entries: tuple[Entry, ...] | list[Entry]) -> bool:
        """Move the cursors; return whether all were new to this client, recording none of them then.

        When some are duplicates, or not for this client, the others are recorded here.
        """
        self._save_cursor()
        tally = self.tally
        cursors = self.cursors
        if cursors is None:
            cursors = self.cursors = {}
        fresh: list[Entry] = []
        last = -1
        for entry in entries:
            stream, sequence = entry.stream, entry.sequence
            if stream not in self.streams and not self._admits(entry):
                tally.delivery(entry.cell).unexpected += 1
                continue
            cursor = cursors.get(stream)
            if cursor is None:
                cursor = cursors[stream] = Cursor()
            highest = cursor.next - 1
            is_new = cursor.take(sequence)
            last = stream
            if not is_new:
                tally.delivery(entry.cell).duplicated += 1
                continue
            if sequence < highest:
                tally.late[stream, sequence, highest] += 1
            fresh.append(entry)
        # Not in a stream it has left or not entered yet: there each message has to be looked at.
        if last in self.streams and not self.rest:
            self.next = code_of(last, cursors[last].next)
        if len(fresh) == len(entries):
            return True
        if fresh:
            tally.record(tuple(fresh), monotonic_ns(), 1)
        return False

    def _admits(self, entry: Entry) -> bool:
        return self.members is not None and self.members.admits(entry.stream, entry.intended_ns)

    # --- for the ledger -----------------------------------------------------

    def memberships(self) -> list[Stay]:
        """Return when it was a member of which stream, on this connection and those before; call it at the end."""
        until_ns = self.left_ns or None
        by_will = self.leaving or self.is_provoked
        trouble = self.swarm.networks.take_trouble(self)
        if self.members is not None:
            return self.members.close(until_ns, by_will=by_will, trouble=trouble)
        if not self.joined_ns:
            return []
        return [Stay(stream, self.joined_ns, until_ns, by_will, self.comet, trouble) for stream in self.plan.streams]

    def _save_cursor(self) -> None:
        if self.next >= 0 and self.cursors is not None:
            cursor = self.cursors.get(self.next >> CODE_BITS)
            if cursor is not None:
                cursor.next = self.next & _MASK
        self.next = -1

    def close_books(self) -> dict[int, Cursor]:
        """Return the cursors, complete."""
        self._save_cursor()
        return self.cursors or {}
