"""A capture file to goim's traffic: which connections are between clients and comets, and what is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from imctl.decode.stream import Items, plural
from imctl.decode.traffic import Began, Conversation, Ended, Event, Peers, Seen, Side
from imctl.decode.walk import guess_websocket
from imctl.pcap.packet import Endpoint, NoSegment, parse_segment
from imctl.pcap.reader import read_packets
from imctl.pcap.tcp import Closed, Data, Flow, Missing, Opened, Reassembler, TcpEvent
from protocol.frame import HEADER, HEADER_LEN
from protocol.websocket import PATH

__all__ = ["COMET_PORTS", "Capture", "address_text"]

COMET_PORTS = (3101, 3102)
"""goim's own, for TCP and WebSocket."""

_LONGEST_FIRST = 65536
"""A client's first frame is its token: bytes that say they are a longer one are something else."""


@dataclass(slots=True, eq=False)
class _Followed:
    """A connection of goim.

    Args:
        peers: Its number and ends.
        began_ns: When it was first seen.
        talk: What it says.
        sent: Bytes of each side.
    """

    peers: Peers
    began_ns: int
    talk: Conversation
    sent: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))


class Capture:
    """One capture file; events() goes through it once.

    Args:
        file: Open for reading bytes; need not be seekable.
        ports: Those of comets; None finds goim's connections on any port, and takes those on goim's own as such.
    """

    def __init__(self, file: BinaryIO, ports: Collection[int] | None = None) -> None:
        self.packets = 0
        """Read so far."""
        self.connections = 0
        """Of goim."""
        self.unread: Counter[NoSegment] = Counter()
        """Packets that could not be read as TCP, by why."""
        self.link_types: set[int] = set()
        """Those among them that are not known."""
        self.others: Counter[int] = Counter()
        """Connections that are not goim's, by the server's port."""
        self._file = file
        self._sure = frozenset(COMET_PORTS if ports is None else ports)
        self._reassembler = Reassembler(self._sure, ports)
        self._time_ns = 0
        self._followed: dict[Flow, _Followed] = {}
        self._waiting: dict[Flow, int] = {}  # began without a byte so far: when

    @property
    def repeated(self) -> int:
        """TCP segments that brought nothing new."""
        return self._reassembler.repeated

    def events(self) -> Iterator[Event]:
        """Yield what happened, in the order of the file.

        Raises:
            CaptureError: the file is damaged from there on; what was before has been yielded, and finish() gives the
                rest of it.
        """
        for packet in read_packets(self._file):
            self.packets += 1
            segment = parse_segment(packet)
            if isinstance(segment, NoSegment):
                self.unread[segment] += 1
                if segment is NoSegment.LINK:
                    self.link_types.add(packet.link_type)
                continue
            self._time_ns = packet.time_ns
            for event in self._reassembler.add(segment, packet.time_ns):
                yield from self._understand(event)

    def finish(self) -> Iterator[Event]:
        """Yield what is left of connections that are still open at the end."""
        for event in self._reassembler.finish(self._time_ns):
            yield from self._understand(event)

    def _understand(self, event: TcpEvent) -> Iterator[Event]:
        flow = event.flow
        if isinstance(event, Opened):
            if flow.server[1] in self._sure:
                yield self._follow(flow, event.time_ns)
            else:
                self._waiting[flow] = event.time_ns
            return
        if flow in self._waiting and not isinstance(event, Missing):
            began_ns = self._waiting.pop(flow)
            if isinstance(event, Data) and _is_goim(event.data, begun=flow.begun):
                yield self._follow(flow, began_ns)
            else:
                self.others[flow.server[1]] += 1
        followed = self._followed.get(flow)
        if followed is None:
            return
        if isinstance(event, Closed):
            yield from self._end(followed, event)
            del self._followed[flow]
            return
        side = Side.CLIENT if event.from_client else Side.COMET
        for item in _items(followed, side, event):
            yield Seen(event.time_ns, followed.peers, side, item)

    def _follow(self, flow: Flow, began_ns: int) -> Began:
        self.connections += 1
        peers = Peers(self.connections, address_text(flow.client), address_text(flow.server))
        self._followed[flow] = _Followed(peers, began_ns, Conversation(begun=flow.begun))
        return Began(began_ns, peers, "" if flow.begun else "its beginning was not captured")

    def _end(self, followed: _Followed, event: Closed) -> Iterator[Event]:
        for side in Side:
            for item in followed.talk.end(side):
                yield Seen(event.time_ns, followed.peers, side, item)
        lasted_ns = event.time_ns - followed.began_ns
        sent = followed.sent
        yield Ended(event.time_ns, followed.peers, event.why, lasted_ns, sent[Side.CLIENT], sent[Side.COMET])


def address_text(endpoint: Endpoint) -> str:
    """Return such as `127.0.0.1:3101` and `[::1]:3101`."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _items(followed: _Followed, side: Side, event: Data | Missing) -> Items:
    if isinstance(event, Data):
        followed.sent[side] += len(event.data)
        return list(followed.talk.feed(side, event.data))
    if event.cut:
        what = f"{plural(event.size)} were cut from a packet when it was captured"
        return followed.talk.gap(side, event.size, what, "tcpdump -s 0 keeps whole packets")
    what = f"{plural(event.size)} are not in the capture"
    return followed.talk.gap(side, event.size, what, "were packets dropped? tcpdump tells at its end")


def _is_goim(first: bytes, *, begun: bool) -> bool:
    """Whether the first bytes of a connection are goim's."""
    if first.startswith(b"GET "):
        return first.split(b" ", 2)[1].split(b"?")[0] == PATH.encode()
    if first.startswith(b"HTTP/"):
        return first[8:13] == b" 101 "
    if not begun:
        return guess_websocket(first, lost=True) is not None
    if len(first) < HEADER_LEN:
        return False
    pack_len, header_len, *_ = HEADER.unpack_from(first)
    return bool(header_len == HEADER_LEN and HEADER_LEN <= pack_len <= _LONGEST_FIRST)
