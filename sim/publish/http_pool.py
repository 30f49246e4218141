"""Keep-alive connections to one logic, for pushes: a client of HTTP/1.1 that costs as little as it can.

The time that a request takes before it is on the wire is part of every
latency the simulator reports, and its CPU is taken from the cluster that
runs beside it. aiohttp's client takes some hundred microseconds a request;
this is a write, and llhttp for the answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from httptools import HttpParserError, HttpResponseParser

__all__ = ["Answer", "HttpPool"]

_MAX_ANSWER_BYTES = 1 << 20
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: the status, and the whole body."""

    status: int
    body: bytes


class HttpPool:
    """Connections to one server, opened as they are needed and kept.

    A request is never sent twice: a push of which the answer was lost may have been done.

    Args:
        host: Of the server.
        port: Likewise.
        limit: Most connections; requests beyond wait for one that is free.
        timeout_s: Of each request, from post() to the end of the answer.
    """

    def __init__(self, host: str, port: int, *, limit: int, timeout_s: float) -> None:
        self._host = host
        self._port = port
        self._limit = limit
        self._timeout_s = timeout_s
        name = f"[{host}]" if ":" in host else host
        self._fixed = f"Host: {name}:{port}\r\nContent-Length: ".encode()
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._waiting: deque[_Request] = deque()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None] | None = None

    def post(self, target: str, body: bytes, headers: Mapping[str, str] | None = None) -> asyncio.Future[Answer]:
        """Begin a POST; the future has the answer.

        Its errors: TimeoutError; OSError where there is no connection or it
        broke; ValueError where the answer is not HTTP.

        Args:
            target: Path and query as they go on the wire.
            body: Whole.
            headers: Further ones.
        """
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) if headers else ""
        head = b"POST %b HTTP/1.1\r\n%b%d\r\n%b\r\n" % (target.encode(), self._fixed, len(body), more.encode())
        request = _Request(head + body, self._timeout_s)
        if self._idle:
            # The one used last: its caches are warm, and the others' idle time shows how many are needed.
            self._idle.pop().send(request)
        else:
            self._waiting.append(request)
            self._open_more()
        return request.answer

    async def close(self) -> None:
        """Close every connection; requests without an answer end with ConnectionError."""
        while self._waiting:
            self._waiting.popleft().fail(ConnectionAbortedError("closed before it was sent"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._open:
            self._closed = asyncio.get_running_loop().create_future()
            for connection in self._open:
                connection.close()
            await self._closed

    def is_made(self, connection: _Connection) -> None:
        """Take a new connection."""
        self._open.add(connection)
        self.is_free(connection)

    def is_free(self, connection: _Connection) -> None:
        """Take back a connection that can be used again."""
        while self._waiting:
            request = self._waiting.popleft()
            if not request.answer.done():
                connection.send(request)
                return
        self._idle.append(connection)

    def is_gone(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._open_more()
        if self._closed is not None and not self._open and not self._closed.done():
            self._closed.set_result(None)

    def _open_more(self) -> None:
        if self._opening < len(self._waiting) and len(self._open) + self._opening < self._limit:
            self._opening += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        connection = _Connection(self)
        try:
            async with asyncio.timeout(self._timeout_s):
                await loop.create_connection(lambda: connection, self._host, self._port)
        except (OSError, asyncio.CancelledError) as exc:
            if connection in self._open:
                # Given up right after it was made: uvloop closes it without a word to its protocol.
                connection.connection_lost(None)
            elif isinstance(exc, asyncio.CancelledError):
                raise
            elif self._waiting:
                # It was opened for the request that has waited longest, or for one behind that.
                self._waiting.popleft().fail(exc)
        finally:
            self._opening -= 1
        self._open_more()


class _Request:
    """Bytes on their way, and the answer to come."""

    def __init__(self, data: bytes, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.data = data
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self.connection: _Connection | None = None
        self._timer = loop.call_later(timeout_s, self.fail, TimeoutError())
        self.answer.add_done_callback(self._over)

    def fail(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def _over(self, answer: asyncio.Future[Answer]) -> None:
        self._timer.cancel()
        if self.connection is not None:
            # Timed out or given up: what its connection reads next is an answer that nobody waits for.
            self.connection.close()


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, pool: HttpPool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._request: _Request | None = None
        self._parser: HttpResponseParser
        self._body = b""
        self._has_head = self._is_framed = False
        self._status = 0
        self._is_kept = False

    def send(self, request: _Request) -> None:
        self._request = request
        request.connection = self
        self._parser = HttpResponseParser(self)
        self._body = b""
        self._has_head = self._is_framed = False
        self._status = 0
        self._transport.write(request.data)

    def close(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports have no common base
        self._pool.is_made(self)

    def data_received(self, data: bytes) -> None:
        if self._request is None:
            self.close()  # nothing was asked for
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as exc:
            self._fail(ValueError(f"the answer is not HTTP: {exc}"))
            return
        if len(self._body) > _MAX_ANSWER_BYTES:
            self._fail(ValueError(f"the answer is over {_MAX_ANSWER_BYTES} bytes"))
        elif self._status:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._request is not None:
            if exc is None and self._has_head and not self._is_framed:
                # An answer without a length, as of HTTP/1.0, is over when the connection is.
                self._status, self._is_kept = self._parser.get_status_code(), False
                self._answered()
            else:
                self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("closed without an answer"))
        self._pool.is_gone(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._is_framed = self._is_framed or name.lower() in _FRAMING

    def on_headers_complete(self) -> None:
        self._has_head = self._parser.get_status_code() >= HTTPStatus.OK

    def on_body(self, data: bytes) -> None:
        if not self._status:
            self._body += data

    def on_message_complete(self) -> None:
        # A further answer in the same bytes is none to a request of ours, and 100 is not the last word.
        if not self._status and self._parser.get_status_code() >= HTTPStatus.OK:
            self._status, self._is_kept = self._parser.get_status_code(), self._parser.should_keep_alive()

    def _answered(self) -> None:
        request, self._request = self._request, None
        assert request is not None, "only called with one under way"
        request.connection = None
        if not request.answer.done():
            request.answer.set_result(Answer(self._status, self._body))
        if self._is_kept:
            self._pool.is_free(self)
        else:
            self.close()

    def _fail(self, exc: Exception) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.connection = None
            request.fail(exc)
        self.close()
