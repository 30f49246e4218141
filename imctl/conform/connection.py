"""A client of comet that sends any bytes, and tells as text what comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from imctl.conform.case import SilentError
from imctl.conform.target import split_address
from imctl.conform.text import body_text, frame_texts
from protocol.decoder import FrameDecoder
from protocol.errors import WireError
from protocol.frame import HEADER_LEN, Frame, pack_frame, parse_frames
from protocol.operation import Operation
from protocol.websocket import MessageDecoder, serialize_message

__all__ = ["MASK", "UPGRADE", "Connection", "masked"]

MASK = bytes.fromhex("37fa213d")
UPGRADE = (
    b"GET /sub HTTP/1.1\r\nHost: 127.0.0.1:3102\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""What the clients of the recordings sent."""

_SENTINEL_SEQ = 2_000_000_011
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10
_NAMES = {1: "text", _CLOSE: "close", _PING: "ping", _PONG: "pong"}


def masked(data: bytes, *, opcode: int = _BINARY) -> bytes:
    """Return a WebSocket frame as a client sends it."""
    return serialize_message(data, opcode=opcode, mask=MASK)


class Connection:
    """One connection to a comet, TCP or WebSocket.

    Args:
        part: `tcp` or `ws`.
        wait_s: Longest wait for an answer.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, part: str, wait_s: float) -> None:
        self.part = part
        self.is_ws = part == "ws"
        self.closed = False
        self._reader = reader
        self._writer = writer
        self._wait_s = wait_s
        self._frames = FrameDecoder()
        self._messages = MessageDecoder()
        self._texts: deque[str] = deque()
        self._sentinels = 0
        self._replied = 0

    @classmethod
    async def open(cls, address: str, *, part: str, wait_s: float, limit: int = 1 << 16) -> Connection:
        """Connect; nothing is sent.

        Raises:
            SilentError: no connection in time.
            OSError: nobody listens there.
        """
        host, port = split_address(address)
        try:
            async with asyncio.timeout(wait_s):
                reader, writer = await asyncio.open_connection(host, port, limit=limit)
        except TimeoutError as exc:
            raise SilentError(part, "", wait_s) from exc
        return cls(reader, writer, part=part, wait_s=wait_s)

    # --- sending ---

    def write(self, data: bytes) -> None:
        """Send bytes as they are; a connection that is gone already shows when it is read."""
        if not self._writer.is_closing():
            self._writer.write(data)

    def send(self, *frames: bytes) -> None:
        """Send goim frames in the transport's form, in one write."""
        self.write(b"".join(masked(frame) for frame in frames) if self.is_ws else b"".join(frames))

    def request(self, op: int, body: bytes = b"", *, ver: int = 1, seq: int = 5) -> None:
        """Send one frame."""
        self.send(pack_frame(op, body, ver=ver, seq=seq))

    async def drain(self) -> None:
        """Let what was written go out now, apart from what is written next."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
        await asyncio.sleep(0)

    def end_writing(self) -> None:
        """Shut down this side's half of the connection."""
        self._writer.write_eof()

    # --- receiving ---

    async def upgrade(self, request: bytes = UPGRADE) -> str:
        """Send an upgrade request and return the status line and headers of the answer in one line, or `closed`."""
        self.write(request)
        return await self.read_head()

    async def read_head(self) -> str:
        """Return the head of an HTTP answer in one line, or `closed`."""
        try:
            async with asyncio.timeout(self._wait_s):
                head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as exc:
            self.closed = True
            return f"{body_text(exc.partial)}; closed" if exc.partial else "closed"
        except ConnectionError:
            self.closed = True
            return "closed"
        except asyncio.LimitOverrunError:
            return "more than a head"
        except TimeoutError as exc:
            raise SilentError(self.part, "", self._wait_s) from exc
        return head.decode("latin-1").strip().replace("\r\n", " | ")

    async def raw(self, size: int) -> str:
        """Return the next bytes as hex."""
        try:
            async with asyncio.timeout(self._wait_s):
                return (await self._reader.readexactly(size)).hex()
        except asyncio.IncompleteReadError as exc:
            self.closed = True
            return f"{exc.partial.hex()}; closed"
        except TimeoutError as exc:
            raise SilentError(self.part, "", self._wait_s) from exc

    async def settle(self) -> list[str]:
        """Return what came up to the reply of a heartbeat sent now, which itself is left out; `closed` ends it."""
        self._sentinels += 1
        self.send(pack_frame(Operation.HEARTBEAT, seq=_SENTINEL_SEQ))
        return await self._until(lambda: self._replied >= self._sentinels)

    async def exchange(self, data: bytes) -> list[str]:
        """Send bytes as they are and return all that comes of them."""
        self.write(data)
        return await self.settle()

    async def ask(self, *frames: bytes) -> list[str]:
        """Send frames in one write and return all that comes of them."""
        self.send(*frames)
        return await self.settle()

    async def take(self, count: int = 1, *, wait_s: float | None = None) -> list[str]:
        """Return the next `count` texts, fewer when the connection ends; `closed` is one."""
        return await self._until(lambda: len(self._texts) >= count, count=count, wait_s=wait_s)

    async def to_end(self, *, wait_s: float | None = None) -> list[str]:
        """Return everything until the other side closes, `closed` last."""
        return await self._until(lambda: False, wait_s=wait_s)

    async def _until(
        self, done: Callable[[], bool], *, count: int | None = None, wait_s: float | None = None
    ) -> list[str]:
        wait_s = self._wait_s if wait_s is None else wait_s
        try:
            async with asyncio.timeout(wait_s):
                while not done() and not self.closed:
                    await self._read()
        except TimeoutError as exc:
            raise SilentError(self.part, "; ".join(self._taken(None)), wait_s) from exc
        return self._taken(count)

    def _taken(self, count: int | None) -> list[str]:
        number = len(self._texts) if count is None else min(count, len(self._texts))
        return [self._texts.popleft() for _ in range(number)]

    async def _read(self) -> None:
        try:
            data = await self._reader.read(1 << 16)
        except ConnectionError:  # a reset is a close too: bytes of ours were left unread
            data = b""
        if not data:
            self.closed = True
            if self._frames.buffered or self._messages.buffered:
                self._texts.append(f"{self._frames.buffered + self._messages.buffered} bytes of a frame")
            self._texts.append("closed")
            return
        try:
            if self.is_ws:
                self._feed_ws(data)
            else:
                self._frames.feed(data)
                while (frame := self._frames.next_frame()) is not None:
                    self._add(frame)
        except WireError as exc:
            self._texts.append(f"not goim's wire: {exc}")
            self.closed = True

    def _feed_ws(self, data: bytes) -> None:
        self._messages.feed(data)
        while (message := self._messages.next_message()) is not None:
            if message.opcode != _BINARY:
                self._texts.append(f"{_NAMES[message.opcode]} {body_text(message.payload)}")
                continue
            frames, end = parse_frames(message.payload)
            if len(frames) != 1 or end != len(message.payload):
                what = f"{len(frames)} frames and {len(message.payload) - end} bytes"
                self._texts.append(f"message of {what}" if len(message.payload) >= HEADER_LEN else "short message")
            for frame in frames:
                self._add(frame)

    def _add(self, frame: Frame) -> None:
        if frame.op == Operation.HEARTBEAT_REPLY and frame.seq == _SENTINEL_SEQ and self._replied < self._sentinels:
            self._replied += 1
            return
        self._texts += frame_texts(frame, is_ws=self.is_ws)

    async def close(self) -> None:
        """Close, whatever the other side does."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
