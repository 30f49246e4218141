"""Who is connected, who is in which room, and how one message reaches them all.

A message is encoded once for every kind of client (Wire) and the same bytes
are written to each. The loop over the members is the hot path of the whole
cluster: per client it holds one flag test and one system call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from os import write as os_write
from typing import TYPE_CHECKING

from imctl.node import Counters
from protocol.frame import HEADER, HEADER_LEN, pack_frame
from protocol.operation import Operation
from protocol.websocket import serialize_message

if TYPE_CHECKING:
    from imctl.comet.channel import Channel
    from protocol.pb.protocol import Proto

__all__ = ["Hub", "Room", "Wire", "write_all"]


class Wire:
    """One pushed proto as the bytes each kind of client gets, and how many messages it holds.

    A TCP client gets the body of an op 9 proto bare, a WebSocket client the
    whole container as one message.
    """

    __slots__ = ("_proto", "_ws", "count", "tcp")

    def __init__(self, proto: Proto) -> None:
        self._proto = proto
        self._ws: bytes | None = None
        if proto.op == Operation.RAW:
            self.tcp = proto.body
            self.count = _count_frames(proto.body)
        else:
            self.tcp = pack_frame(proto.op, proto.body, ver=proto.ver, seq=proto.seq)
            self.count = 1

    @property
    def ws(self) -> bytes:
        """The WebSocket form, made when the first WebSocket client needs it."""
        if self._ws is None:
            proto = self._proto
            self._ws = serialize_message(pack_frame(proto.op, proto.body, ver=proto.ver, seq=proto.seq))
        return self._ws


def _count_frames(batch: bytes) -> int:
    count = position = 0
    while position + HEADER_LEN <= len(batch):
        position += max(HEADER.unpack_from(batch, position)[0], HEADER_LEN)
        count += 1
    return count


class Room:
    """The members of one room on this comet, by the form they are written, in the order in which they came.

    Sockets that were opened one after the other lie close together in the
    kernel, and are written to in that order for some percent less than in the
    order of a set.
    """

    __slots__ = ("key", "tcp", "ws")

    def __init__(self, key: str) -> None:
        self.key = key
        self.tcp: dict[Channel, None] = {}
        self.ws: dict[Channel, None] = {}

    def __len__(self) -> int:
        return len(self.tcp) + len(self.ws)


class Hub:
    """All registered channels of one comet.

    Args:
        counters: Where pushes and deliveries are counted.
        drops: Where lost messages are counted, by reason.
        max_rooms: Most rooms at a time.
    """

    def __init__(self, counters: Counters, drops: Counters, *, max_rooms: int) -> None:
        self.channels: dict[str, Channel] = {}
        self.rooms: dict[str, Room] = {}
        self.online: dict[str, int] = {}
        self.ips: dict[str, int] = {}
        self.rooms_changed = False
        self._counters = counters
        self._drops = drops
        self._max_rooms = max_rooms

    def add(self, channel: Channel) -> Channel | None:
        """Register a channel under its key; return the one it replaces, taken out already."""
        old = self.channels.get(channel.key)
        if old is not None:
            self.remove(old)
        self.channels[channel.key] = channel
        self.ips[channel.ip] = self.ips.get(channel.ip, 0) + 1
        return old

    def remove(self, channel: Channel) -> bool:
        """Take a channel out of the table and its room; return whether it was in the table."""
        self.leave(channel)
        if self.channels.get(channel.key) is not channel:
            return False
        del self.channels[channel.key]
        left = self.ips[channel.ip] - 1
        if left:
            self.ips[channel.ip] = left
        else:
            del self.ips[channel.ip]
        return True

    def join(self, channel: Channel, key: str) -> bool:
        """Move a channel to a room, "" for none; return False when there are too many rooms."""
        if channel.room is not None and channel.room.key == key:
            return True
        room = None
        if key:
            room = self.rooms.get(key)
            if room is None:
                if len(self.rooms) >= self._max_rooms:
                    return False
                room = self.rooms[key] = Room(key)
        self.leave(channel)
        if room is not None:
            (room.ws if channel.is_ws else room.tcp)[channel] = None
            channel.room = room
            self.rooms_changed = True
        return True

    def leave(self, channel: Channel) -> None:
        """Take a channel out of its room, if it is in one."""
        room = channel.room
        if room is None:
            return
        (room.ws if channel.is_ws else room.tcp).pop(channel, None)
        channel.room = None
        self.rooms_changed = True
        if not room.tcp and not room.ws and self.rooms.get(room.key) is room:
            del self.rooms[room.key]

    def room_online(self, room: Room | None) -> int:
        """Return the members of a room in the whole cluster, as far as is known; 0 for no room."""
        if room is None:
            return 0
        return self.online.get(room.key) or len(room)

    def push_keys(self, keys: Iterable[str], op: int, wire: Wire) -> int:
        """Write to each of the keys that is here and accepts `op`; return how many were too slow to take it."""
        tcp: list[Channel] = []
        ws: list[Channel] = []
        channels = self.channels
        for key in keys:
            channel = channels.get(key)
            if channel is None:
                self._drops.add("comet.unknown_key", wire.count)
            elif op in channel.accepts:
                (ws if channel.is_ws else tcp).append(channel)
            else:
                self._counters.add("not_accepted", wire.count)
        return self._push(tcp, ws, wire)

    def push_room(self, key: str, wire: Wire) -> int:
        """Write to every member of a room; return how many were too slow to take it."""
        room = self.rooms.get(key)
        if room is None:
            return 0
        return self._push(room.tcp, room.ws, wire)

    def push_some(self, some: Iterable[Channel], op: int, wire: Wire) -> int:
        """Write to those of the channels that accept `op`; return how many were too slow to take it."""
        tcp: list[Channel] = []
        ws: list[Channel] = []
        for channel in some:
            if op in channel.accepts:
                (ws if channel.is_ws else tcp).append(channel)
        return self._push(tcp, ws, wire)

    def _push(self, tcp: Collection[Channel], ws: Collection[Channel], wire: Wire) -> int:
        missed: list[Channel] = []
        if tcp:
            missed += write_all(tcp, wire.tcp)
        if ws:
            missed += write_all(ws, wire.ws)
        count = wire.count
        self._counters.add("delivered", (len(tcp) + len(ws) - len(missed)) * count)
        if not missed:
            return 0
        gone = sum(channel.is_gone for channel in missed)
        if gone:
            self._drops.add("comet.client_gone", gone * count)
        if gone < len(missed):
            self._drops.add("comet.slow_client", (len(missed) - gone) * count)
        return len(missed) - gone


def write_all(channels: Iterable[Channel], data: bytes) -> list[Channel]:
    """Write the same bytes to each channel; return those that are gone or too slow to take it.

    While nothing waits in a channel's transport the bytes go straight to its
    descriptor, which is 15 to 30 % cheaper than transport.write(); what the
    kernel does not take goes to the transport, and so does everything after
    it until the transport is empty again.
    """
    size = len(data)
    missed: list[Channel] = []
    for channel in channels:
        if channel.indirect:
            if not channel.write_indirect(data):
                missed.append(channel)
            continue
        try:
            done = os_write(channel.fd, data)
        except BlockingIOError:
            done = 0
        except OSError:
            channel.abort("write_error")
            missed.append(channel)
            continue
        if done != size:
            channel.write_rest(data, done)
    return missed
