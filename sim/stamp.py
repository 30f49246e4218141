"""What the simulator writes into the body of each message, to know it again.

offset  0  4  magic, "imc1"
        4  4  run, so that two runs against one cluster do not mix
        8  4  stream: one for each room, mid, key or "all" that is published to
       12  4  sequence within the stream, from 0
       16  8  intended send time, ns of the machine's monotonic clock
       24     filler up to the wanted size
"""

from __future__ import annotations

import struct

__all__ = ["STAMP_BYTES", "make_body", "read_stamp"]

_STAMP = struct.Struct(">4sIIIQ")
_MAGIC = b"imc1"
STAMP_BYTES = _STAMP.size

_pack = _STAMP.pack
_unpack = _STAMP.unpack_from


def make_body(run: int, stream: int, sequence: int, intended_ns: int, size: int) -> bytes:
    """Return a body of `size` bytes, at least STAMP_BYTES."""
    return _pack(_MAGIC, run, stream, sequence, intended_ns).ljust(size, b".")


def read_stamp(body: bytes, run: int) -> tuple[int, int, int] | None:
    """Return (stream, sequence, intended ns), or None when the body is not of this run."""
    if len(body) < STAMP_BYTES:
        return None
    magic, its_run, stream, sequence, intended_ns = _unpack(body)
    if magic != _MAGIC or its_run != run:
        return None
    return stream, sequence, intended_ns
