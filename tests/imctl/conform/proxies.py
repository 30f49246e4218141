"""Wrong nodes for cases that must notice: a proxy that changes what a right node says, and servers that say nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self

from protocol.decoder import FrameDecoder
from protocol.frame import Frame
from protocol.websocket import MessageDecoder, serialize_message

__all__ = ["Alter", "Dumb", "binary", "Proxy", "change_frames", "change_messages", "replace_bytes"]

Alter = Callable[[bytes], bytes]
"""Takes each read of the right node's bytes, b"" at its end, and returns what its client gets instead."""


class _Server:
    """A listener on a free port whose connections are ended with it."""

    def __init__(self) -> None:
        self.address = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Dumb(_Server):
    """A server that answers each connection with the same bytes, or with none, and closes at once or never."""

    def __init__(self, *, closes: bool, says: bytes = b"") -> None:
        super().__init__()
        self._closes = closes
        self._says = says

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._says:
            await reader.read(1)
            writer.write(self._says)
        while not self._closes and await reader.read(65536):
            pass


class Proxy(_Server):
    """Stands before a right node and alters what it says.

    Args:
        to: Address of the right node.
        make: Makes the alteration of one connection.
        hide_close: The client does not see that the right node has closed.
    """

    def __init__(self, to: str, make: Callable[[], Alter], *, hide_close: bool = False) -> None:
        super().__init__()
        self._to = to
        self._make = make
        self._hide_close = hide_close

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._to.rsplit(":", 1)
        from_node, to_node = await asyncio.open_connection(host, int(port))
        forward = asyncio.create_task(_pump(reader, to_node))
        alter = self._make()
        try:
            while data := await from_node.read(65536):
                writer.write(alter(data))
            writer.write(alter(b""))
            if self._hide_close:
                await asyncio.Event().wait()
        finally:
            forward.cancel()
            to_node.close()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await forward


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.write_eof()


def replace_bytes(old: bytes, new: bytes) -> Callable[[], Alter]:
    """Change some bytes wherever they stand in one read."""
    return lambda: lambda data: data.replace(old, new)


def change_frames(change: Callable[[Frame], bytes]) -> Callable[[], Alter]:
    """Change each frame of a TCP connection."""

    def make() -> Alter:
        decoder = FrameDecoder()

        def alter(data: bytes) -> bytes:
            decoder.feed(data)
            return b"".join(change(frame) for frame in iter(decoder.next_frame, None))

        return alter

    return make


def change_messages(change: Callable[[int, bytes], bytes]) -> Callable[[], Alter]:
    """Change each message of a WebSocket connection, given its opcode and payload; the upgrade stays."""

    def make() -> Alter:
        decoder, head = MessageDecoder(), b""
        upgraded = False

        def alter(data: bytes) -> bytes:
            nonlocal head, upgraded
            out = b""
            if not upgraded:
                head += data
                before, end, data = head.partition(b"\r\n\r\n")
                if not end:
                    return b""
                upgraded, out = True, before + end
            decoder.feed(data)
            return out + b"".join(change(one.opcode, one.payload) for one in iter(decoder.next_message, None))

        return alter

    return make


def binary(payload: bytes) -> bytes:
    """Return a message as comet sends it."""
    return serialize_message(payload)
