"""One connection to a comet that carries frames: over TCP, the base of the one over WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

from protocol.aio.errors import ConnectionClosedError
from protocol.decoder import FrameDecoder
from protocol.errors import RemoteError
from protocol.frame import Frame

__all__ = ["MAX_FRAME_BODY", "FrameProtocol"]

MAX_FRAME_BODY = 64 * 1024 * 1024
"""Largest body taken from a server. goim has no limit; 20 messages of Kafka's megabyte are a third of it."""


class FrameProtocol(asyncio.Protocol):
    """The client's end of a TCP connection; hands on each frame as it is read.

    `ready` is done when frames can be sent; it fails when the connection ends
    before. `closed` is done when the connection has ended, and has the error
    as its result, None when this side asked for it.

    Args:
        on_frame: Called for each frame received.
        on_closed: Called once, with the result of `closed`.
    """

    def __init__(self, on_frame: Callable[[Frame], None], on_closed: Callable[[RemoteError | None], None]) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[RemoteError | None] = loop.create_future()
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._decoder = FrameDecoder(MAX_FRAME_BODY)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._error: RemoteError | None = None
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # A cast, since uvloop's transports are not asyncio.Transport by class.
        self._transport = cast(asyncio.Transport, transport)
        self._writable.set()
        self._open(self._transport)

    def data_received(self, data: bytes) -> None:
        """Hand on the frames that are complete now; close when the server breaks a rule."""
        if self._error is not None:
            return
        try:
            self._read(data)
        except RemoteError as exc:
            self.fail(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        error: RemoteError | None = self._error
        if error is None and not self._leaving:
            error = ConnectionClosedError(str(exc) or type(exc).__name__) if exc else ConnectionClosedError()
        self._writable.set()
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionClosedError("by this side"))
            self.ready.exception()  # somebody may have stopped waiting
        if not self.closed.done():
            self.closed.set_result(error)
        self._on_closed(error)

    def pause_writing(self) -> None:
        """Let senders wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._writable.set()

    def pause_reading(self) -> None:
        """Leave further bytes with the kernel, and so with the server."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def write(self, frame: bytes) -> None:
        """Send one packed frame; nothing happens on a connection that has ended."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._wrap(frame))

    async def drain(self) -> None:
        """Wait until the server takes what was written."""
        await self._writable.wait()

    def fail(self, error: RemoteError) -> None:
        """Close at once because of an error."""
        if self._error is None:
            self._error = error
        if self._transport is not None:
            self._transport.abort()

    async def close(self, timeout_s: float) -> None:
        """Send what is written and close; after the time limit drop what the server does not take."""
        self._leaving = True
        if self._transport is None:
            return
        if not self._transport.is_closing():
            self._say_goodbye(self._transport)
            self._transport.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.closed), timeout_s)
            return
        self._transport.abort()
        await self.closed

    # What WebSocket does in another way.

    def _open(self, transport: asyncio.Transport) -> None:
        self.ready.set_result(None)

    def _read(self, data: bytes) -> None:
        self._decoder.feed(data)
        while (frame := self._decoder.next_frame()) is not None:
            self._on_frame(frame)

    def _wrap(self, frame: bytes) -> bytes:
        return frame

    def _say_goodbye(self, transport: asyncio.Transport) -> None:
        """Nothing to say over TCP."""
