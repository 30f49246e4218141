"""Op 9: whole frames inside one frame.

job sends every push to comet this way. To a TCP client comet writes only the
body, so the client sees ordinary frames; to a WebSocket client it writes the
container itself as one message, and the client unwraps it.

Source: goim internal/job/push.go, api/protocol/protocol.go WriteTCP/WriteWebsocket.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.errors import BatchError, RemoteError
from protocol.frame import HEADER_LEN, Frame, pack_frame, parse_frames
from protocol.operation import Operation

__all__ = ["flatten", "pack_batch", "unpack_batch", "wrap_batch"]


def pack_batch(frames: Iterable[Frame]) -> bytes:
    """Return frames back to back, the body of an op 9 frame."""
    return b"".join(frame.pack() for frame in frames)


def wrap_batch(batch: bytes, *, ver: int = 1) -> bytes:
    """Return the op 9 frame around a batch, sequence 0, as job sends it."""
    return pack_frame(Operation.RAW, batch, ver=ver)


def unpack_batch(body: bytes) -> list[Frame]:
    """Return the frames of an op 9 body.

    Raises:
        BatchError: a frame in it is broken or cut short.
    """
    position = 0
    frames: list[Frame] = []
    try:
        while position < len(body):
            more, position = parse_frames(body, position)
            if not more:
                break
            frames += more
    except RemoteError as exc:
        raise BatchError(position, str(exc)) from exc
    if position != len(body):
        left = len(body) - position
        what = "a header" if left < HEADER_LEN else "its body"
        raise BatchError(position, f"{left} bytes left, too few for {what}")
    return frames


def flatten(frame: Frame) -> list[Frame]:
    """Return the frames an application sees in one received frame: the inner ones of op 9, else itself.

    Raises:
        BatchError: as unpack_batch.
    """
    return unpack_batch(frame.body) if frame.op == Operation.RAW else [frame]
