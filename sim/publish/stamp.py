"""What the simulator writes into the body of each message, to know it again.

In a body of filler it comes first:

offset  0  4  magic, "imc1"
        4  4  run, so that two runs against one cluster do not mix
        8  4  stream: one for each room, mid, key or "all" that is published to
       12  4  sequence within the stream, from 0
       16  8  intended send time, ns of the machine's monotonic clock
       24     filler up to the wanted size

A body with content of its own has the same 20 bytes behind the magic at its
end, as white space: four characters a byte, two bits each. So a receiver that
parses JSON, XML or lines of text still can, and what comes before is exactly
what the scenario says. A random run takes the place of the magic.
"""

from __future__ import annotations

import struct
from itertools import product

__all__ = ["STAMP_BYTES", "TAIL_BYTES", "make_body", "read_stamp", "sign_body"]

_STAMP = struct.Struct(">4sIIIQ")
_FACTS = struct.Struct(">IIIQ")
_MAGIC = b"imc1"
_DIGITS = b" \t\n\r"
_UINT32, _UINT64 = 2**32 - 1, 2**64 - 1

STAMP_BYTES = _STAMP.size
TAIL_BYTES = _FACTS.size * 4

_pack = _STAMP.pack
_unpack = _STAMP.unpack_from
_pack_facts = _FACTS.pack

_WORDS = tuple(bytes(word) for word in product(_DIGITS, repeat=4))
# Every other byte becomes one that is no digit.
_VALUES = bytes(b"0123"[_DIGITS.index(byte)] if byte in _DIGITS else ord("x") for byte in range(256))


def make_body(run: int, stream: int, sequence: int, intended_ns: int, size: int) -> bytes:
    """Return a body of `size` bytes of filler, at least STAMP_BYTES."""
    return _pack(_MAGIC, run, stream, sequence, intended_ns).ljust(size, b".")


def sign_body(content: bytes, run: int, stream: int, sequence: int, intended_ns: int) -> bytes:
    """Return a body with content of its own: the content, and TAIL_BYTES of white space."""
    return content + b"".join([_WORDS[byte] for byte in _pack_facts(run, stream, sequence, intended_ns)])


def read_stamp(body: bytes, run: int) -> tuple[int, int, int] | None:
    """Return (stream, sequence, intended ns), or None when the body is not of this run."""
    if len(body) < STAMP_BYTES:
        return None
    magic, its_run, stream, sequence, intended_ns = _unpack(body)
    if magic == _MAGIC and its_run == run:
        return stream, sequence, intended_ns
    return _read_tail(body, run) if body[-1] in _DIGITS else None


def _read_tail(body: bytes, run: int) -> tuple[int, int, int] | None:
    try:
        facts = int(body[-TAIL_BYTES:].translate(_VALUES), 4)
    except ValueError:  # not white space throughout
        return None
    if len(body) < TAIL_BYTES or facts >> 128 != run:
        return None
    return facts >> 96 & _UINT32, facts >> 64 & _UINT32, facts & _UINT64
