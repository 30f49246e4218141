"""The 16-byte header and the frame it begins.

    offset  0  4  pack length, header and body      int32 big-endian
            4  2  header length, always 16          int16
            6  2  version, opaque                   int16
            8  4  operation                         int32
           12  4  sequence, opaque                  int32
           16     body

Source: goim api/protocol/protocol.go.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from protocol.errors import FrameLengthError, HeaderLengthError, LocalError
from protocol.operation import operation_name

__all__ = ["HEADER", "HEADER_LEN", "MAX_BODY", "Frame", "pack_frame", "parse_frames"]

HEADER = struct.Struct(">ihhii")
HEADER_LEN = 16
MAX_BODY = 4096  # goim's maxBodySize, for frames from a client

_INT32_MIN = -(2**31)
_unpack_header = HEADER.unpack_from
_pack_header = HEADER.pack


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: version, operation, sequence (all signed) and body."""

    ver: int
    op: int
    seq: int
    body: bytes = b""

    def pack(self) -> bytes:
        """Return the frame as bytes; see pack_frame."""
        return pack_frame(self.op, self.body, ver=self.ver, seq=self.seq)

    def __str__(self) -> str:
        """Short and safe for a log line, whatever the body holds."""
        shown = ascii(self.body[:32])[1:] + ("..." if len(self.body) > 32 else "")
        return f"{operation_name(self.op)} ver {self.ver} seq {self.seq} body {len(self.body)} bytes {shown}"


def pack_frame(op: int, body: bytes = b"", *, ver: int = 1, seq: int = 0) -> bytes:
    """Return one frame as bytes.

    The version is cut to 16 bits as goim does, since a version that came in
    through protobuf has 32.

    Raises:
        LocalError: op or seq does not fit in 32 bits.
    """
    try:
        return _pack_header(HEADER_LEN + len(body), HEADER_LEN, ((ver + 0x8000) & 0xFFFF) - 0x8000, op, seq) + body
    except struct.error as exc:
        raise LocalError(f"op {op}, seq {seq}, body of {len(body)} bytes do not fit a frame header") from exc


def parse_frames(data: bytes, position: int = 0, max_body: int | None = None) -> tuple[list[Frame], int]:
    """Return the complete frames at a position, and where the first incomplete one begins.

    A pack length below 16, negative ones included, is an empty body: the next
    frame begins after the header, as goim reads it. Frames before a bad one are
    returned first; the error is raised when the bad one is the first.

    Args:
        data: Bytes of a TCP stream.
        position: Where to begin.
        max_body: Largest body accepted, in bytes; None for no limit. goim
            takes 4096 from a client and sends clients any length.

    Raises:
        FrameLengthError: the pack length is over the limit.
        HeaderLengthError: the header length is not 16.
    """
    frames: list[Frame] = []
    end = len(data)
    while end - position >= HEADER_LEN:
        pack_len, header_len, ver, op, seq = _unpack_header(data, position)
        if max_body is not None and pack_len > max_body + HEADER_LEN:
            if frames:
                break
            raise FrameLengthError(pack_len, max_body + HEADER_LEN)
        if header_len != HEADER_LEN:
            if frames:
                break
            raise HeaderLengthError(header_len)
        if pack_len <= HEADER_LEN:
            # goim subtracts 16 in 32 bits: the lowest lengths wrap to a huge body.
            if pack_len < _INT32_MIN + HEADER_LEN:
                if frames:
                    break
                raise FrameLengthError(pack_len, None)
            frames.append(Frame(ver, op, seq))
            position += HEADER_LEN
            continue
        if end - position < pack_len:
            break
        frames.append(Frame(ver, op, seq, data[position + HEADER_LEN : position + pack_len]))
        position += pack_len
    return frames, position
