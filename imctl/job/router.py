"""From bus records to calls of comets.

    PUSH       PushMsg        to the comet that holds the keys
    BROADCAST  Broadcast      to every comet, which share the speed
    ROOM       BroadcastRoom  to every comet, merged with what comes close to it

The proto inside is always ver 1, op 9, seq 0, and its body is whole frames of
ver 1 and seq 0 with the pushed operations (goim internal/job/push.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from imctl.bus.contract import Record
from imctl.job.comet_queue import CometQueue
from imctl.job.config import JobConfig
from imctl.job.push import Push
from imctl.job.room_batch import RoomBatch, RoomBatcher
from imctl.link.contract import Peer
from imctl.link.methods import BROADCAST, BROADCAST_ROOM, PUSH_MSG
from imctl.node import Counters
from imctl.trace import TraceLog
from protocol.frame import pack_frame
from protocol.pb import comet, logic, protocol
from protocol.trace import Place

__all__ = ["Router", "split_speed"]

_OP_RAW = 9
_PUSH, _ROOM, _BROADCAST = logic.PushMsg.PUSH, logic.PushMsg.ROOM, logic.PushMsg.BROADCAST


def split_speed(speed: int, comets: int, *, compat_goim: bool = False) -> list[int]:
    """Return each comet's part of a broadcast's speed, in connections a second; 0 is unthrottled.

    The parts add up to the speed, but none is 0 by rounding, as goim's are.
    """
    if compat_goim and comets:
        return [abs(speed) // comets * (1 if speed > 0 else -1)] * comets  # Go rounds towards 0
    if speed <= 0:
        return [0] * comets
    return [max(1, speed // comets + (i < speed % comets)) for i in range(comets)]


class _Ticket:
    """Records that are done when every call made for them has its outcome."""

    __slots__ = ("_finish", "_records", "_remaining")

    def __init__(self, records: tuple[Record, ...], calls: int, finish: Callable[[tuple[Record, ...]], None]) -> None:
        self._records = records
        self._remaining = calls
        self._finish = finish

    def done(self) -> None:
        self._remaining -= 1
        if not self._remaining:
            self._finish(self._records)


class Router:
    """Knows the comets and calls them for each record.

    Args:
        config: The job's.
        counters: The job's, by kind of record and call.
        drops: The job's, by reason.
        finish: Called with records that are done: each comet has answered, or what was lost is counted.
        traces: Remembers messages that are followed.
    """

    def __init__(
        self,
        config: JobConfig,
        counters: Counters,
        drops: Counters,
        finish: Callable[[tuple[Record, ...]], None],
        traces: TraceLog,
    ) -> None:
        self.finish = finish
        """May be set anew; what is under way keeps the one it began with."""
        self._config = config
        self._counters = counters
        self._drops = drops
        self._traces = traces
        self._queues: dict[str, CometQueue] = {}
        # By room: the messages that are followed among those that wait for the end of its batch.
        self._waiting_traces: dict[str, list[int]] = {}
        compat = config.compat_goim
        self._batcher: RoomBatcher[Record] = RoomBatcher(
            delay_s=config.room_signal_s if compat else config.room_delay_s,
            max_messages=config.room_batch,
            max_bytes=config.room_batch_bytes,
            eager=not compat,
        )

    @property
    def queues(self) -> Mapping[str, CometQueue]:
        """What waits for each comet, by hostname."""
        return self._queues

    @property
    def rooms(self) -> int:
        """Rooms that are collecting messages."""
        return self._batcher.rooms

    def congested(self) -> list[CometQueue]:
        """Return the queues that should drain before more is taken."""
        return [queue for queue in self._queues.values() if queue.is_congested()]

    def set_comets(self, peers: Mapping[str, Peer]) -> None:
        """Serve these comets from now on; what waits for one that is gone is dropped and counted.

        What waits for a comet that has moved to another address stays.
        """
        for hostname in [name for name in self._queues if name not in peers]:
            self._queues.pop(hostname).close(drop=True)
        for hostname, peer in peers.items():
            queue = self._queues.get(hostname)
            if queue is None or type(queue.peer) is not type(peer):
                if queue is not None:
                    queue.close(drop=True)
                self._queues[hostname] = CometQueue(peer, self._config, self._counters, self._drops, self._traces)
            else:
                queue.peer = peer

    def take(self, records: Iterable[Record], now_s: float, read_ns: int = 0) -> None:
        """Route records that are ready together; rooms that are due leave after the last of them.

        Args:
            records: From the bus.
            now_s: Time of the loop.
            read_ns: When they came from the bus, by time.monotonic_ns(); 0 for now.
        """
        values = self._counters.values
        for record in records:
            try:
                message = logic.PushMsg.FromString(record.value)
            except DecodeError:
                self._lose(record, "job.bad_record")
                continue
            kind = message.type
            if message.trace:
                self._traces.add((message.trace,), Place.READ, at_ns=read_ns, server=message.server, room=message.room)
            if kind == _PUSH:
                values["push"] += 1
                self._push(record, message)
            elif kind == _ROOM:
                values["room"] += 1
                frame = pack_frame(message.operation, message.msg)
                if message.trace:
                    self._waiting_traces.setdefault(message.room, []).append(message.trace)
                batch = self._batcher.add(message.room, frame, record, now_s)
                if batch is not None:
                    self._push_room(batch)
            elif kind == _BROADCAST:
                values["broadcast"] += 1
                self._broadcast(record, message)
            else:
                self._lose(record, "job.bad_record")
        self.flush_due(now_s)

    def flush_due(self, now_s: float) -> None:
        """Call comets for the rooms whose time has come."""
        for batch in self._batcher.due(now_s):
            self._push_room(batch)

    def flush_all(self) -> None:
        """Call comets for all rooms now."""
        for batch in self._batcher.flush_all():
            self._push_room(batch)

    def next_due_s(self) -> float | None:
        """Return when to call flush_due(), None when no room waits."""
        return self._batcher.next_due_s()

    def close(self) -> None:
        """Leave undone what waits."""
        for queue in self._queues.values():
            queue.close(drop=False)

    def _push(self, record: Record, message: Any) -> None:
        traces = (message.trace,) if message.trace else ()
        receivers = max(len(message.keys), 1)  # each key is one: that is what a drop is counted in
        queue = self._queues.get(message.server)
        if queue is None:
            self._lose(record, "job.unknown_server", traces, server=message.server, count=receivers)
            return
        request = comet.PushMsgReq(
            keys=message.keys,
            proto=_raw(pack_frame(message.operation, message.msg)),
            protoOp=message.operation,
        )
        if traces:
            request.traces.extend(traces)
            self._traces.add(traces, Place.ROUTED, server=message.server, calls=1, messages=1)
        ticket = _Ticket((record,), 1, self.finish)
        queue.put(Push(PUSH_MSG, request, record.key, receivers, ticket.done, traces))

    def _broadcast(self, record: Record, message: Any) -> None:
        traces = (message.trace,) if message.trace else ()
        queues = list(self._queues.values())
        if not queues:
            self._lose(record, "job.no_comet", traces)
            return
        if traces:
            self._traces.add(traces, Place.ROUTED, calls=len(queues), messages=1)
        proto = _raw(pack_frame(message.operation, message.msg))
        ticket = _Ticket((record,), len(queues), self.finish)
        speeds = split_speed(message.speed, len(queues), compat_goim=self._config.compat_goim)
        for queue, speed in zip(queues, speeds, strict=True):
            request = comet.BroadcastReq(protoOp=message.operation, proto=proto, speed=speed)
            if traces:
                request.traces.extend(traces)
            queue.put(Push(BROADCAST, request, record.key, 1, ticket.done, traces))

    def _push_room(self, batch: RoomBatch[Record]) -> None:
        values = self._counters.values
        values["room_batches"] += 1
        values["room_messages"] += len(batch.sources)
        traces = self._waiting_traces.pop(batch.room, ()) if self._waiting_traces else ()
        queues = list(self._queues.values())
        if not queues:
            self._drops.add("job.no_comet", len(batch.sources))
            self._traces.add(traces, Place.DROPPED, reason="job.no_comet")
            self.finish(batch.sources)
            return
        request = comet.BroadcastRoomReq(roomID=batch.room, proto=_raw(batch.body))
        if traces:
            request.traces.extend(traces)
            self._traces.add(traces, Place.ROUTED, calls=len(queues), messages=len(batch.sources))
        ticket = _Ticket(batch.sources, len(queues), self.finish)
        for queue in queues:
            queue.put(Push(BROADCAST_ROOM, request, batch.room, len(batch.sources), ticket.done, traces))

    def _lose(
        self, record: Record, reason: str, traces: Iterable[int] = (), server: str = "", *, count: int = 1
    ) -> None:
        self._drops.add(reason, count)
        self._traces.add(traces, Place.DROPPED, server=server, reason=reason)
        self.finish((record,))


def _raw(body: bytes) -> Any:
    return protocol.Proto(ver=1, op=_OP_RAW, body=body)
