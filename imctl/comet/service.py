"""goim.comet.Comet: what job asks of a comet. Every answer is given without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from imctl.comet.channel import Channel
from imctl.comet.hub import Hub, Wire
from imctl.comet.writing import Writing
from imctl.link.contract import Handlers, PeerError
from imctl.link.methods import BROADCAST, BROADCAST_ROOM, PUSH_MSG, ROOMS
from imctl.node import Counters
from imctl.trace import TraceLog
from protocol.pb import comet as pb
from protocol.trace import Place

__all__ = ["CometService"]

_PACE_S = 0.05  # a broadcast with a speed writes about this often


class CometService:
    """The service over one hub.

    Args:
        hub: Whom pushes reach.
        counters: Where calls are counted.
        drops: Where lost messages are counted.
        max_broadcasts: Paced broadcasts at a time; more are dropped and counted.
        report_full: Answer PushMsg with goim's error when a client could not take the message.
        traces: Remembers messages that are followed.
    """

    def __init__(
        self,
        hub: Hub,
        counters: Counters,
        drops: Counters,
        *,
        max_broadcasts: int,
        report_full: bool,
        traces: TraceLog,
    ) -> None:
        self._hub = hub
        self._counters = counters
        self._drops = drops
        self._max_broadcasts = max_broadcasts
        self._report_full = report_full
        self._traces = traces
        self._broadcasts: set[asyncio.Task[None]] = set()
        self.handlers: Handlers = {
            PUSH_MSG: self._push_msg,
            BROADCAST: self._broadcast,
            BROADCAST_ROOM: self._broadcast_room,
            ROOMS: self._rooms,
        }

    @property
    def broadcasts(self) -> int:
        """Paced broadcasts under way."""
        return len(self._broadcasts)

    async def stop(self) -> None:
        """End paced broadcasts; whom they have not reached is counted as dropped."""
        for task in self._broadcasts:
            task.cancel()
        await asyncio.gather(*self._broadcasts, return_exceptions=True)

    def _push_msg(self, request: pb.PushMsgReq) -> pb.PushMsgReply:
        if not request.keys or not request.HasField("proto"):
            raise PeerError("rpc pushmsg arg error")
        self._counters.add("pushes")
        # goim stops at the first client that is full and skips the other keys; here each has its chance.
        wire = Wire(request.proto)
        writing = self._follow(request.traces, wire) if request.traces else None
        dropped = self._hub.push_keys(request.keys, request.protoOp, wire)
        if writing is not None:
            writing.end()
        if dropped and self._report_full:
            raise PeerError("signal channel full, msg dropped")
        return pb.PushMsgReply()

    def _broadcast_room(self, request: pb.BroadcastRoomReq) -> pb.BroadcastRoomReply:
        if not request.roomID or not request.HasField("proto"):
            raise PeerError("rpc broadcast  room arg error")  # goim's text has two spaces
        self._counters.add("pushes")
        wire = Wire(request.proto)
        writing = self._follow(request.traces, wire) if request.traces else None
        self._hub.push_room(request.roomID, wire)
        if writing is not None:
            writing.end()
        return pb.BroadcastRoomReply()

    def _broadcast(self, request: pb.BroadcastReq) -> pb.BroadcastReply:
        if not request.HasField("proto"):
            raise PeerError("rpc broadcast arg error")
        self._counters.add("pushes")
        wire = Wire(request.proto)
        writing = self._follow(request.traces, wire) if request.traces else None
        everybody = self._hub.channels.values()
        if request.speed <= 0:
            self._hub.push_some(everybody, request.protoOp, wire)
            if writing is not None:
                writing.end()
        elif len(self._broadcasts) >= self._max_broadcasts:
            self._drops.add("comet.broadcast_queue_full", wire.count * _wanting(everybody, request.protoOp))
            self._traces.add(
                request.traces, Place.DROPPED, server=self._traces.node, reason="comet.broadcast_queue_full"
            )
        else:
            if writing is not None:
                writing.pause()
            work = self._paced(list(everybody), wire, request.protoOp, request.speed, writing)
            task = asyncio.get_running_loop().create_task(work, name="paced broadcast")
            self._broadcasts.add(task)
            task.add_done_callback(self._broadcasts.discard)
        return pb.BroadcastReply()

    async def _paced(
        self, channels: Sequence[Channel], wire: Wire, op: int, speed: int, writing: Writing | None
    ) -> None:
        """Write to those connected when it began, `speed` of them a second."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        done = 0
        try:
            while done < len(channels):
                due = min(len(channels), max(int((loop.time() - begin + _PACE_S) * speed), done + 1))
                if writing is not None:
                    writing.resume()
                self._hub.push_some((c for c in channels[done:due] if c.registered), op, wire)
                if writing is not None:
                    writing.pause()
                done = due
                if done < len(channels):
                    await asyncio.sleep(max(done / speed - (loop.time() - begin), 0))
        finally:
            if writing is not None:
                writing.end()
            if lost := _wanting(channels[done:], op):
                self._drops.add("comet.stopped", wire.count * lost)

    def _follow(self, traces: Sequence[int], wire: Wire) -> Writing:
        return Writing(traces, wire.count, self._traces, self._counters, self._drops)

    def _rooms(self, request: pb.RoomsReq) -> pb.RoomsReply:
        return pb.RoomsReply(rooms=dict.fromkeys(self._hub.rooms, True))


def _wanting(channels: Iterable[Channel], op: int) -> int:
    return sum(channel.registered and op in channel.accepts for channel in channels)
