"""Capture files to packets: pcap and pcapng, either byte order, micro- and nanoseconds.

Read from front to back with bounded memory, so also from a pipe that
tcpdump writes to. Sources: the pcap and pcapng drafts of the IETF's opsawg
group, and libpcap's list of link types.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from imctl.errors import ImctlError

__all__ = ["CaptureError", "Packet", "read_packets"]

MAX_BLOCK_BYTES = 16 * 1024 * 1024
"""Wireshark's limit too; a longer one is a damaged file."""

_SECTION = b"\x0a\x0d\x0d\x0a"
_SECTION_TYPE = 0x0A0D0D0A
_PCAP_MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
"""Byte order, and nanoseconds in the unit of a packet's time."""
_OTHER_FILES = {
    b"\x1f\x8b": ("gzip", "gunzip -c FILE | imctl decode --pcap -"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstdcat FILE | imctl decode --pcap -"),
    b"snoop": ("snoop", "editcap -F pcapng FILE FILE.pcapng"),
    b"XCP\0": ("NetXRay", "editcap -F pcapng FILE FILE.pcapng"),
}
_OBSOLETE_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 2, 3, 6
_INTERFACE = 1
_TSRESOL, _TSOFFSET = 9, 14


class CaptureError(ImctlError):
    """A capture file is damaged or of another kind; the packets before the damage were given.

    Args:
        what: What is wrong.
        offset: Where in the file.
        hint: What may be behind it.
    """

    def __init__(self, what: str, offset: int, *, hint: str = "") -> None:
        super().__init__(f"at byte {offset} of the file: {what}", hint=hint)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it was captured.

    Args:
        time_ns: Unix time; 0 where the file has none.
        link_type: How it begins, LINKTYPE_ of libpcap.
        data: What was kept of it.
        size: Its bytes on the wire, which are more than were kept when a snapshot length cut it.
    """

    time_ns: int
    link_type: int
    data: bytes
    size: int


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_len: int
    unit_numerator_ns: int
    unit_denominator: int
    offset_s: int

    def time_ns(self, ticks: int) -> int:
        return ticks * self.unit_numerator_ns // self.unit_denominator + self.offset_s * 1_000_000_000


class _File:
    """Reads a file from front to back, which may be a pipe, and knows where it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offset = 0

    def take(self, size: int, what: str) -> bytes:
        """Return so many bytes.

        Raises:
            CaptureError: the file ends before.
        """
        data = self.up_to(size)
        if len(data) < size:
            hint = "the capture was cut here, or is still being written"
            found = f"the file ends after {len(data)} of {size} bytes of {what}"
            raise CaptureError(found, self.offset - len(data), hint=hint)
        return data

    def up_to(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end of the file."""
        parts: list[bytes] = []
        left = size
        while left:
            try:
                part = self._file.read(left)
            except OSError as exc:
                raise CaptureError(f"the file cannot be read: {exc.strerror or exc}", self.offset) from exc
            if not part:
                break
            parts.append(part)
            left -= len(part)
            self.offset += len(part)
        return b"".join(parts)


def read_packets(file: BinaryIO) -> Iterator[Packet]:
    """Yield the packets of a capture file in its order.

    Args:
        file: Open for reading bytes; need not be seekable.

    Raises:
        CaptureError: it is none, or damaged from there on.
    """
    source = _File(file)
    magic = source.up_to(4)
    if not magic:
        raise CaptureError("the file is empty", 0, hint="tcpdump -U writes each packet at once")
    if magic == _SECTION:
        return _read_pcapng(source)
    if magic in _PCAP_MAGICS:
        return _read_pcap(source, *_PCAP_MAGICS[magic])
    for start, (name, hint) in _OTHER_FILES.items():
        if magic.startswith(start) or start.startswith(magic):
            raise CaptureError(f"this is a {name} file; expected pcap or pcapng", 0, hint=hint)
    hint = "without --pcap `imctl decode` takes the bytes of a connection themselves"
    raise CaptureError(f"it begins with {magic.hex(' ')}; expected pcap or pcapng", 0, hint=hint)


def _read_pcap(source: _File, order: str, unit_ns: int) -> Iterator[Packet]:
    head = source.take(20, "the file's header")
    snap_len, network = struct.unpack(f"{order}12xII", head)
    link_type = network & 0xFFFF  # above are flags on frame check sequences
    record = struct.Struct(f"{order}IIII")
    longest = min(max(snap_len, 262144), MAX_BLOCK_BYTES)
    while True:
        start = source.offset
        first = source.up_to(1)
        if not first:
            return
        seconds, fraction, kept, size = record.unpack(first + source.take(15, "a packet's header"))
        if kept > longest:
            found = f"a packet of {kept} bytes; expected at most {longest}"
            raise CaptureError(found, start, hint="the file is damaged from here on")
        yield Packet(
            seconds * 1_000_000_000 + fraction * unit_ns, link_type, source.take(kept, "a packet"), max(size, kept)
        )


def _read_pcapng(source: _File) -> Iterator[Packet]:
    order = _section_order(source, 0)
    interfaces: list[_Interface] = []
    while True:
        start = source.offset
        head = source.up_to(4)
        if not head:
            return
        head += source.take(4 - len(head), "a block") if len(head) < 4 else b""
        if head == _SECTION:
            order, interfaces = _section_order(source, start), []
            continue
        (kind,) = struct.unpack(f"{order}I", head)
        body = _block_body(source, order, start)
        try:
            if kind == _INTERFACE:
                interfaces.append(_parse_interface(body, order))
            packet = _PACKETS[kind](body, order, interfaces) if kind in _PACKETS else None
        except (struct.error, IndexError) as exc:
            what = "its interface was not described" if isinstance(exc, IndexError) else "it is too short"
            raise CaptureError(f"bad block of type {kind}: {what}", start, hint="the file is damaged here") from exc
        if packet is not None:
            yield packet


def _section_order(source: _File, start: int) -> str:
    """Read the rest of a section header block, whose type was read; return the section's byte order."""
    head = source.take(8, "a section's header")
    order = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}.get(head[4:])
    if order is None:
        raise CaptureError(f"byte-order mark {head[4:].hex(' ')}; expected 1a 2b 3c 4d either way", start)
    (length,) = struct.unpack(f"{order}I", head[:4])
    rest = source.take(_checked(length, start, 28) - 12, "a section's header")
    (major,) = struct.unpack_from(f"{order}H", rest)
    if major != 1:
        raise CaptureError(f"pcapng of version {major}; expected 1", start)
    return order


def _block_body(source: _File, order: str, start: int) -> bytes:
    (length,) = struct.unpack(f"{order}I", source.take(4, "a block"))
    body = source.take(_checked(length, start, 12) - 8, "a block")
    (again,) = struct.unpack(f"{order}I", body[-4:])
    if again != length:
        found = f"a block of {length} bytes that says {again} at its end"
        raise CaptureError(found, start, hint="the file is damaged here")
    return body[:-4]


def _checked(length: int, start: int, least: int) -> int:
    if least <= length <= MAX_BLOCK_BYTES and length % 4 == 0:
        return length
    found = f"a block of {length} bytes; expected {least} to {MAX_BLOCK_BYTES} in steps of 4"
    raise CaptureError(found, start, hint="the file is damaged from here on")


def _parse_interface(body: bytes, order: str) -> _Interface:
    link_type, snap_len = struct.unpack_from(f"{order}HxxI", body)
    numerator, denominator, offset_s, at = 1000, 1, 0, 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(f"{order}HH", body, at)
        value = body[at + 4 : at + 4 + size]
        if code == 0:
            break
        if code == _TSRESOL and value:
            base = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
            numerator, denominator = 1_000_000_000, base
        elif code == _TSOFFSET and size == 8:
            (offset_s,) = struct.unpack(f"{order}q", value)
        at += 4 + (size + 3) // 4 * 4
    return _Interface(link_type, snap_len, numerator, denominator, offset_s)


def _enhanced(body: bytes, order: str, interfaces: list[_Interface]) -> Packet:
    number, high, low, kept, size = struct.unpack_from(f"{order}IIIII", body)
    return _packet(interfaces[number], high << 32 | low, body[20 : 20 + kept], kept, size)


def _obsolete(body: bytes, order: str, interfaces: list[_Interface]) -> Packet:
    number, high, low, kept, size = struct.unpack_from(f"{order}HxxIIII", body)
    return _packet(interfaces[number], high << 32 | low, body[20 : 20 + kept], kept, size)


def _simple(body: bytes, order: str, interfaces: list[_Interface]) -> Packet:
    (size,) = struct.unpack_from(f"{order}I", body)
    interface = interfaces[0]
    kept = min(size, interface.snap_len or size)
    return Packet(0, interface.link_type, body[4 : 4 + kept], size)


def _packet(interface: _Interface, ticks: int, data: bytes, kept: int, size: int) -> Packet:
    if len(data) < kept:
        raise struct.error
    return Packet(interface.time_ns(ticks), interface.link_type, data, max(size, kept))


_PACKETS: dict[int, Callable[[bytes, str, list[_Interface]], Packet]] = {
    _OBSOLETE_PACKET: _obsolete,
    _SIMPLE_PACKET: _simple,
    _ENHANCED_PACKET: _enhanced,
}
