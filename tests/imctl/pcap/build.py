"""Capture files made by hand: files, link layers, and the packets of a connection."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterable

from imctl.pcap import TcpScript

__all__ = ["CLIENT", "COMET", "LINKS", "dialogue", "ip_packet", "pcap", "pcapng", "pcapng_block"]

CLIENT, COMET = ("10.0.0.1", 40000), ("10.0.0.2", 3101)
MAGICS = {(">", 1000): 0xA1B2C3D4, (">", 1): 0xA1B23C4D}


def _ethernet(packet: bytes, tags: bytes = b"") -> bytes:
    return bytes(12) + tags + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet


def _kind(packet: bytes) -> bytes:
    return b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (1, _ethernet),
    "vlan": (1, lambda packet: _ethernet(packet, b"\x81\x00\x00\x07")),
    "two vlans": (1, lambda packet: _ethernet(packet, b"\x88\xa8\x00\x01\x81\x00\x00\x07")),
    "null little-endian": (0, lambda packet: struct.pack("<I", 2) + packet),
    "null big-endian": (0, lambda packet: struct.pack(">I", 30) + packet),
    "loop": (108, lambda packet: struct.pack(">I", 2) + packet),
    "raw": (101, lambda packet: packet),
    "sll": (113, lambda packet: bytes(14) + _kind(packet) + packet),
    "sll2": (276, lambda packet: _kind(packet) + bytes(18) + packet),
}
"""By name: link type, and what stands before IP."""


def pcap(packets: Iterable[bytes], link_type: int = 101, *, order: str = "<", unit_ns: int = 1000) -> bytes:
    """Return a pcap file of packets a second apart from 1,000,000,000 s on, and 7 units later."""
    magic = MAGICS[">", unit_ns]
    data = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, link_type)
    for number, packet in enumerate(packets):
        data += struct.pack(f"{order}IIII", 1_000_000_000 + number, 7, len(packet), len(packet)) + packet
    return data


def pcapng_block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + length + body + length


def pcapng(packets: Iterable[bytes], link_type: int = 101, *, order: str = "<", options: bytes = b"") -> bytes:
    """Return a pcapng file of packets a microsecond apart from 1,000,000,000 s on."""
    data = pcapng_block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    data += pcapng_block(1, struct.pack(f"{order}HHI", link_type, 0, 0) + options, order)
    for number, packet in enumerate(packets):
        high, low = divmod(1_000_000_000_000_000 + number, 1 << 32)
        head = struct.pack(f"{order}IIIII", 0, high, low, len(packet), len(packet))
        data += pcapng_block(6, head + packet, order)
    return data


def ip_packet(source: tuple[str, int], target: tuple[str, int], segment: bytes, *, extension: bytes = b"") -> bytes:
    """Return an IP packet around a TCP segment; extension is an IPv6 header before it, with its type first."""
    addresses = ipaddress.ip_address(source[0]).packed + ipaddress.ip_address(target[0]).packed
    if len(addresses) == 8:
        return struct.pack(">BBHIBBH", 0x45, 0, 20 + len(segment), 0, 64, 6, 0) + addresses + segment
    kind, rest = (extension[0], extension[1:]) if extension else (6, b"")
    return struct.pack(">IHBB", 6 << 28, len(rest) + len(segment), kind, 64) + addresses + rest + segment


def dialogue(*said: tuple[str, bytes], client: tuple[str, int] = CLIENT, comet: tuple[str, int] = COMET) -> list[bytes]:
    """Return the packets of a whole connection; each of `said` is `>` or `<`, and bytes."""
    script = TcpScript(client, comet)
    packets = script.open()
    for way, data in said:
        packets += script.send(data, from_client=way == ">")
    return packets + script.finish(from_client=True) + script.finish(from_client=False)
