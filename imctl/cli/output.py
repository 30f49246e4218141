"""The stdout of a command: every byte of it arrives, or the command ends with an error that says why not.

What goes wrong with stdout comes out as an OutputError, and so is never taken
for a fault of the network, whose errors are OSErrors too. The descriptor then
leads nowhere, since Python would otherwise try once more at its end to get
rid of what is buffered, and complain in words of its own.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from imctl.errors import ImctlError

__all__ = ["OutputClosedError", "OutputError", "output_stream", "write_bytes"]


class OutputError(ImctlError):
    """A result cannot be written: the disk is full, the terminal is gone."""


class OutputClosedError(OutputError):
    """Who read stdout has closed it, as `| head` does when it has enough."""


def output_stream(stream: TextIO | None) -> TextIO:
    """Return what a command writes its results to.

    With PYTHONUNBUFFERED or -u a text stream sits right on the descriptor and
    takes no notice of how much of a write was accepted: a document longer than
    a pipe holds then loses its end without an error when the kernel cuts the
    write short. A buffer between them goes on until all is written.

    Args:
        stream: sys.stdout, which is None where the descriptor was closed before the start.
            It has to outlive what is returned, or its end closes the buffer that they share.
    """
    if stream is None:
        # To write there is an error, as to a closed descriptor; and no socket gets its number.
        raw = io.FileIO(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)
        return _Output(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)
    buffer = getattr(stream, "buffer", None)
    if isinstance(buffer, io.RawIOBase):
        return _Output(io.BufferedWriter(buffer), stream.encoding, stream.errors, line_buffering=True)
    if isinstance(buffer, io.BufferedWriter):
        return _Output(buffer, stream.encoding, stream.errors, line_buffering=stream.isatty())
    return stream


def write_bytes(stream: TextIO, data: bytes) -> None:
    """Put bytes on a stream as output_stream() makes it, behind the text that is on its way there."""
    if isinstance(stream, _Output):
        stream.write_bytes(data)
    else:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()


class _Output(io.TextIOWrapper):
    def write(self, text: str) -> int:
        with self._translated():
            return super().write(text)

    def write_bytes(self, data: bytes) -> None:
        self.flush()
        with self._translated():
            self.buffer.write(data)
            self.buffer.flush()

    def flush(self) -> None:
        with self._translated():
            super().flush()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            self._lead_nowhere()
            if isinstance(exc, ConnectionError):
                raise OutputClosedError("stdout was closed by its reader") from exc
            raise OutputError(f"stdout cannot be written: {exc.strerror or exc}") from exc

    def _lead_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
