"""Connections to a pcapng file of raw IP packets, as they would have been captured between client and comet.

The packets are made up: handshake, data with sequence and acknowledgement
numbers, end.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field
from typing import Protocol

from imctl.pcap.packet import ACK, FIN, LINK_RAW, RST, SYN, Endpoint

__all__ = ["PcapngWriter", "Sink", "TcpScript"]

_MAX_PAYLOAD = 32768
_WINDOW = 65535
_NANOSECONDS = 9


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


class Sink(Protocol):
    """Where a file's bytes go."""

    def write(self, data: bytes, /) -> int | None:
        """Take all of the bytes."""


class PcapngWriter:
    """Writes packets.

    Args:
        file: Each write has whole blocks.
        application: Who writes it, for who reads it.
    """

    def __init__(self, file: Sink, application: str) -> None:
        self._file = file
        section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(4, application.encode()) + _option(0, b"")
        about = _option(2, b"tap") + _option(9, bytes([_NANOSECONDS])) + _option(0, b"")
        self._file.write(_block(0x0A0D0D0A, section) + _block(1, struct.pack("<HHI", LINK_RAW, 0, 0) + about))

    def add(self, time_ns: int, packets: list[bytes]) -> None:
        """Write IP packets that were seen at a Unix time."""
        high, low = divmod(time_ns, 1 << 32)
        blocks = [
            _block(6, struct.pack("<IIIII", 0, high, low, len(packet), len(packet)) + packet) for packet in packets
        ]
        self._file.write(b"".join(blocks))


@dataclass(slots=True, eq=False)
class _End:
    """One end of a connection: who it is, and the sequence number of what it sends next."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    seq: int
    opened: bool = field(default=False)


class TcpScript:
    """Makes the packets of one connection.

    Args:
        client: Who opened it.
        server: Who listens; when one of both is IPv6, the other is written as mapped into it.
        number: Makes the sequence numbers of connections differ.
    """

    def __init__(self, client: Endpoint, server: Endpoint, number: int = 0) -> None:
        addresses = [ipaddress.ip_address(host.partition("%")[0]) for host, _ in (client, server)]
        if {address.version for address in addresses} == {4, 6}:
            addresses = [
                address if address.version == 6 else ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
                for address in addresses
            ]
        first = number * 0x9E3779B1 & 0xFFFFFFFF
        self._client = _End(addresses[0], client[1], first)
        self._server = _End(addresses[1], server[1], first ^ 0x55555555)

    def open(self) -> list[bytes]:
        """Return the packets of the handshake."""
        client, server = self._client, self._server
        return [
            self._packet(client, server, SYN),
            self._packet(server, client, SYN | ACK),
            self._packet(client, server, ACK),
        ]

    def refuse(self) -> list[bytes]:
        """Return the packets of a connection that nobody took."""
        client, server = self._client, self._server
        return [self._packet(client, server, SYN), self._packet(server, client, RST | ACK)]

    def send(self, data: bytes, *, from_client: bool) -> list[bytes]:
        """Return the packets of some bytes."""
        sender, receiver = self._ends(from_client)
        parts = (data[at : at + _MAX_PAYLOAD] for at in range(0, len(data), _MAX_PAYLOAD))
        return [self._packet(sender, receiver, ACK, part) for part in parts]

    def skip(self, size: int, *, from_client: bool) -> None:
        """Leave out so many bytes, which whoever reads the file is to see as missing."""
        sender, _ = self._ends(from_client)
        sender.seq = (sender.seq + size) & 0xFFFFFFFF

    def finish(self, *, from_client: bool) -> list[bytes]:
        """Return the packets that end one direction."""
        sender, receiver = self._ends(from_client)
        return [self._packet(sender, receiver, FIN | ACK), self._packet(receiver, sender, ACK)]

    def reset(self, *, from_client: bool) -> list[bytes]:
        """Return the packet that ends both directions at once."""
        return [self._packet(*self._ends(from_client), RST | ACK)]

    def _ends(self, from_client: bool) -> tuple[_End, _End]:
        return (self._client, self._server) if from_client else (self._server, self._client)

    def _packet(self, sender: _End, receiver: _End, flags: int, payload: bytes = b"") -> bytes:
        ack = receiver.seq if flags & ACK else 0
        head = struct.pack(">HHIIBBHHH", sender.port, receiver.port, sender.seq, ack, 5 << 4, flags, _WINDOW, 0, 0)
        addresses = sender.address.packed + receiver.address.packed
        size = len(head) + len(payload)
        checksum = _checksum(addresses + struct.pack(">II", size, 6) + head + payload)
        segment = head[:16] + checksum + head[18:] + payload
        sender.seq = (sender.seq + len(payload) + bool(flags & (SYN | FIN))) & 0xFFFFFFFF
        if sender.address.version == 6:
            return struct.pack(">IHBB", 6 << 28, size, 6, 64) + addresses + segment
        ip = struct.pack(">BBHIBBH", 0x45, 0, 20 + size, 0x4000, 64, 6, 0) + addresses
        return ip[:10] + _checksum(ip) + ip[12:] + segment


def _checksum(data: bytes) -> bytes:
    """Return the Internet checksum: the complement of the sum in ones' complement, whose modulus is 65535."""
    total = int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF
    # A sum of zero that is not all zeros is 0xFFFF in ones' complement, whose complement is 0.
    return ((0xFFFF - total) % 0xFFFF).to_bytes(2, "big")
