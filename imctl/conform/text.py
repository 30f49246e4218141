"""What was seen, as text: short, the same each time, and safe to print."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.bodies import parse_online
from protocol.errors import BatchError, BodyError
from protocol.frame import Frame
from protocol.operation import Operation
from protocol.raw import unpack_batch

__all__ = ["body_text", "frame_text", "frame_texts", "joined"]

_LONGEST = 60


def body_text(body: bytes) -> str:
    """Return a body in quotes; of a long one the beginning and its size."""
    try:
        shown = repr(body.decode())
    except UnicodeDecodeError:
        shown = f"0x{body.hex()}"
    if len(body) <= _LONGEST:
        return shown
    try:
        return f"{body[:16].decode()!r}... {len(body)} bytes"
    except UnicodeDecodeError:
        return f"0x{body[:16].hex()}... {len(body)} bytes"


def frame_text(frame: Frame) -> str:
    """Return a frame such as `op 1000 seq 2 'hi'`; version 1 is left out, op 3 shows its count."""
    parts = [f"op {frame.op}"]
    if frame.ver != 1:
        parts.append(f"ver {frame.ver}")
    parts.append(f"seq {frame.seq}")
    if frame.op == Operation.HEARTBEAT_REPLY and len(frame.body) == 4:
        try:
            parts.append(f"online {parse_online(frame.body)}")
        except BodyError:  # pragma: no cover - four bytes always parse
            parts.append(body_text(frame.body))
    elif frame.body:
        parts.append(body_text(frame.body))
    return " ".join(parts)


def frame_texts(frame: Frame, *, is_ws: bool) -> list[str]:
    """Return the text of a received frame: of a container on WebSocket each frame in it, in brackets.

    A container that arrives over TCP, where comet unwraps it, shows as `wrapped (...)`.
    """
    if frame.op != Operation.RAW or frame.seq != 0:
        return [frame_text(frame)]
    try:
        inner = unpack_batch(frame.body)
    except BatchError:
        return [frame_text(frame)]
    if not inner:
        return [frame_text(frame)]
    texts = [frame_text(one) for one in inner]
    return [f"[{text}]" for text in texts] if is_ws else [f"wrapped ({'; '.join(texts)})"]


def joined(texts: Iterable[str]) -> str:
    """Return texts in a row, `nothing` when there are none."""
    return "; ".join(texts) or "nothing"
