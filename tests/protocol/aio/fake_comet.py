"""A comet of a few lines, for tests of clients: it answers as goim does and pushes what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from types import TracebackType

from protocol.bodies import AuthToken, parse_token
from protocol.decoder import FrameDecoder
from protocol.errors import RemoteError
from protocol.frame import MAX_BODY, Frame
from protocol.operation import Operation
from protocol.raw import pack_batch, wrap_batch
from protocol.state import Connection, State, reply_to
from protocol.websocket import ServerDecoder, serialize_message

__all__ = ["FakeComet"]


class FakeComet:
    """Listens on a free port.

    Args:
        ws: Speak WebSocket.
        ssl: Speak TLS.
        online: What heartbeats are told.
        refuse: Close on every op 7.
        silent: Answer nothing but the upgrade.
        greeting: Pushed to each client, as one batch, right after its auth reply.
        one_shot: Close each connection after the greeting.
    """

    def __init__(
        self,
        *,
        ws: bool = False,
        ssl: ssl_module.SSLContext | None = None,
        online: int = 3,
        refuse: bool = False,
        silent: bool = False,
        greeting: tuple[Frame, ...] = (),
        one_shot: bool = False,
    ) -> None:
        self.ws = ws
        self.online = online
        self.refuse = refuse
        self.silent = silent
        self.greeting = greeting
        self.one_shot = one_shot
        self.deaf = False
        """True: answer no more."""
        self.tokens: list[AuthToken] = []
        self.received: list[Frame] = []
        self.cookie = ""
        self.port = 0
        self._news = asyncio.Event()
        self._ssl = ssl
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FakeComet:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def wait_for(self, count: int, op: int) -> None:
        """Wait until so many frames of an operation were received."""
        async with asyncio.timeout(10):
            while sum(frame.op == op for frame in self.received) < count:
                self._news.clear()
                await self._news.wait()

    def push(self, *frames: Frame) -> None:
        """Push frames as one batch to every client: bare over TCP, in op 9 over WebSocket."""
        batch = pack_batch(frames)
        self.write(serialize_message(wrap_batch(batch)) if self.ws else batch)

    def write(self, data: bytes) -> None:
        """Send bytes as they are to every client."""
        for writer in self._writers:
            writer.write(data)

    def drop(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        decoder = ServerDecoder() if self.ws else FrameDecoder(MAX_BODY)
        connection = Connection(decoder)
        try:
            while data := await reader.read(65536):
                connection.receive(data)
                if isinstance(decoder, ServerDecoder):
                    writer.write(decoder.take_output())
                    self.cookie = decoder.cookie
                    if decoder.closing:
                        break
                while (request := connection.next_request()) is not None:
                    self._answer(connection, request, writer)
        except (RemoteError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            if writer in self._writers:
                self._writers.remove(writer)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def _answer(self, connection: Connection, request: Frame, writer: asyncio.StreamWriter) -> None:
        self.received.append(request)
        self._news.set()
        if self.silent or self.deaf:
            return
        if connection.state is not State.AUTHENTICATING:
            answer = reply_to(request, online=self.online, container=not self.ws)
        elif self.refuse or request.op != Operation.AUTH:
            writer.close()
            return
        else:
            self.tokens.append(parse_token(request.body))
            answer = connection.authenticated(request)
            self._writers.append(writer)
        writer.write(serialize_message(answer) if self.ws and answer else answer)
        if request.op == Operation.AUTH and self.greeting:
            self.push(*self.greeting)
        if self.one_shot:
            writer.close()
