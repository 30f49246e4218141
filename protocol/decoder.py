"""A TCP byte stream, cut anywhere, into frames."""

from __future__ import annotations

from collections import deque

from protocol.errors import RemoteError
from protocol.frame import Frame, parse_frames

__all__ = ["FrameDecoder"]


class FrameDecoder:
    """Turn a TCP byte stream, cut anywhere, into frames.

    Args:
        max_body: Largest body accepted, in bytes; None for no limit. goim
            takes 4096 from a client and sends clients any length.

    Source: goim api/protocol/protocol.go ReadTCP. As there, a pack length
    under 16 is an empty body, and the next frame starts after the header.
    """

    __slots__ = ("_error", "_frames", "_max_body", "_rest")

    def __init__(self, max_body: int | None = None) -> None:
        self._max_body = max_body
        self._rest = b""
        # None while empty: a server holds one decoder a connection, and an empty deque is 600 bytes.
        self._frames: deque[Frame] | None = None
        self._error: RemoteError | None = None

    def feed(self, data: bytes) -> None:
        """Add the bytes of one read; bytes after an error are ignored."""
        if self._error is not None:
            return
        if self._rest:
            data = self._rest + data
        position = 0
        try:
            while True:
                frames, position = parse_frames(data, position, self._max_body)
                if not frames:
                    break
                if self._frames is None:
                    self._frames = deque()
                self._frames += frames
        except RemoteError as exc:
            # Without its frames, which hold whoever has fed this.
            self._error = exc.with_traceback(None)
        self._rest = data[position:]

    def next_frame(self) -> Frame | None:
        """Return the oldest complete frame, or None until feed() adds more.

        Frames before a bad one are always returned first, whatever the cut.

        Raises:
            FrameLengthError: the next pack length is over the limit.
            HeaderLengthError: the next header length is not 16. After either
                the decoder is of no further use.
        """
        if self._frames is not None:
            frame = self._frames.popleft()
            if not self._frames:
                self._frames = None
            return frame
        if self._error is not None:
            raise self._error
        return None

    @property
    def buffered(self) -> int:
        """Bytes of the incomplete frame at the end."""
        return len(self._rest)
