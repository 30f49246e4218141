"""A stdout for an event loop that must not wait when nobody reads: it writes only what is taken at once."""

from __future__ import annotations

import io
import select
from typing import TextIO

__all__ = ["PatientOutput"]

_PIECE_BYTES = 4096
"""PIPE_BUF: a pipe that poll() calls writable takes as much without a wait."""


class PatientOutput(io.TextIOBase):
    """Keeps what is written until send().

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._parts: list[str] = []
        self._rest = ""
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, AttributeError):  # a stream in memory, which never waits
            self._descriptor = None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property where typeshed has an attribute
        """Of the stream."""
        return self._stream.encoding

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Keep text for send()."""
        self._parts.append(text)
        return len(text)

    def send(self) -> bool:
        """Write what was kept, as far as its reader takes it now; return whether that is all of it.

        Raises:
            OutputError: the stream cannot be written.
        """
        self._rest += "".join(self._parts)
        self._parts.clear()
        at, step = 0, _PIECE_BYTES // 4  # characters, of at most four bytes each
        while at < len(self._rest) and self._is_taken():
            self._stream.write(self._rest[at : at + step])
            self._stream.flush()
            at += step
        self._rest = self._rest[at:]
        return not self._rest

    def _is_taken(self) -> bool:
        if self._descriptor is None:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))
