"""A captured packet to its TCP segment: link layers, IPv4 and IPv6, TCP."""

from __future__ import annotations

import enum
import ipaddress
import struct
from dataclasses import dataclass
from functools import lru_cache

from imctl.pcap.reader import Packet

__all__ = ["ACK", "FIN", "LINK_RAW", "RST", "SYN", "Endpoint", "NoSegment", "Segment", "parse_segment"]

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
LINK_RAW = 101

_LINK_NULL, _LINK_ETHERNET, _LINK_LOOP, _LINK_SLL, _LINK_SLL2 = 0, 1, 108, 113, 276
_LINKS_IP = {12, 14, LINK_RAW, 228, 229}  # 12 and 14: raw IP as some BSDs number it
_VLANS = {0x8100, 0x88A8, 0x9100}
_IPV4, _IPV6 = 0x0800, 0x86DD
_TCP = 6
_FRAGMENT, _AUTHENTICATION = 44, 51
_EXTENSIONS = {0, 43, 60, 135, _FRAGMENT, _AUTHENTICATION}

_tcp_head = struct.Struct(">HHIIBB").unpack_from

Endpoint = tuple[str, int]
"""IP address as text, and port."""


class NoSegment(enum.Enum):
    """Why a packet has no TCP segment to read."""

    OTHER = "not TCP"
    FRAGMENT = "an IP fragment"
    CUT = "cut by the snapshot length before the end of the TCP header"
    LINK = "a link type that is not known"


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment.

    Args:
        source: Who sent it.
        target: Who got it.
        seq: Sequence number of its first byte.
        ack: Acknowledgement number; of no meaning without ACK in flags.
        flags: FIN, SYN, RST, ACK.
        payload: What was captured of its bytes.
        size: Bytes of payload on the wire, which are more when a snapshot length cut it.
    """

    source: Endpoint
    target: Endpoint
    seq: int
    ack: int
    flags: int
    payload: bytes
    size: int


def parse_segment(packet: Packet) -> Segment | NoSegment:
    """Return the TCP segment in a packet, or why there is none; never raises, whatever the bytes."""
    try:
        found = _link(packet)
        if isinstance(found, NoSegment):
            return found
        version = packet.data[found] >> 4
        if version == 4:
            return _ipv4(packet.data, found)
        return _ipv6(packet.data, found) if version == 6 else NoSegment.OTHER
    except (struct.error, IndexError):
        return NoSegment.CUT


def _link(packet: Packet) -> int | NoSegment:
    """Return where IP begins."""
    data, link_type = packet.data, packet.link_type
    if link_type in _LINKS_IP:
        return 0
    if link_type == _LINK_ETHERNET:
        at = 12
        while (kind := _u16(data, at)) in _VLANS:
            at += 4
        return at + 2 if kind in (_IPV4, _IPV6) else NoSegment.OTHER
    if link_type in (_LINK_NULL, _LINK_LOOP):
        return 4  # the protocol family differs from system to system: IP's own version tells
    if link_type == _LINK_SLL:
        at = 14
        while (kind := _u16(data, at)) in _VLANS:
            at += 4
        return at + 2 if kind in (_IPV4, _IPV6) else NoSegment.OTHER
    if link_type == _LINK_SLL2:
        return 20 if _u16(data, 0) in (_IPV4, _IPV6) else NoSegment.OTHER
    return NoSegment.LINK


def _ipv4(data: bytes, at: int) -> Segment | NoSegment:
    header = (data[at] & 0x0F) * 4
    total, fragment = _u16(data, at + 2), _u16(data, at + 6)
    if data[at + 9] != _TCP or header < 20:
        return NoSegment.OTHER
    if fragment & 0x3FFF:
        return NoSegment.FRAGMENT
    if len(data) < at + 20:
        return NoSegment.CUT
    # 0: the network card cut it into packets later (TCP segmentation offload).
    end = at + total if total else len(data)
    return _tcp(data, at + header, end, data[at + 12 : at + 16], data[at + 16 : at + 20])


def _ipv6(data: bytes, at: int) -> Segment | NoSegment:
    length, kind = _u16(data, at + 4), data[at + 6]
    end = at + 40 + length if length else len(data)
    position = at + 40
    while kind in _EXTENSIONS:
        if kind == _FRAGMENT and _u16(data, position + 2) & 0xFFF9:
            return NoSegment.FRAGMENT
        size = {_FRAGMENT: 8, _AUTHENTICATION: 4 * (data[position + 1] + 2)}.get(kind, 8 * (data[position + 1] + 1))
        kind, position = data[position], position + size
    if kind != _TCP:
        return NoSegment.OTHER
    return _tcp(data, position, end, data[at + 8 : at + 24], data[at + 24 : at + 40])


def _tcp(data: bytes, at: int, end: int, source: bytes, target: bytes) -> Segment | NoSegment:
    source_port, target_port, seq, ack, offset, flags = _tcp_head(data, at)
    header = (offset >> 4) * 4
    if header < 20 or at + header > end:
        return NoSegment.OTHER  # no TCP that any system would take
    payload = data[at + header : end]
    size = end - at - header
    return Segment((_text(source), source_port), (_text(target), target_port), seq, ack, flags, payload, size)


def _u16(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


@lru_cache(maxsize=4096)
def _text(address: bytes) -> str:
    return str(ipaddress.ip_address(address))
