"""One connection of logic's HTTP API: bytes in, replies out, in order and within limits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from email.utils import formatdate
from typing import cast
from urllib.parse import quote

from imctl.logic.http1 import CONTINUE, BodyTooLargeError, HttpError, HttpRequest, RequestDecoder, serialize_head
from imctl.logic.http_api import PUSHED, HttpApi, HttpReply
from imctl.node import Counters

__all__ = ["Connection", "HttpLimits", "Shared"]

logger = logging.getLogger(__name__)

# Requests of one connection that wait for their turn; then reading stops.
_MAX_WAITING = 64


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a client may ask of the HTTP API.

    Args:
        max_body_bytes: A larger body is refused without being read.
        request_timeout_s: For the arrival of a request, once it has begun.
        reply_timeout_s: For a client to take its replies.
        idle_timeout_s: A connection without a request for so long is closed.
        linger_s: How long what a refused client still sends is thrown away,
            once it has its last reply, so that it can read it.
        max_connections: One more is closed at once.
    """

    max_body_bytes: int = 1_000_000
    request_timeout_s: float = 10.0
    reply_timeout_s: float = 10.0
    idle_timeout_s: float = 600.0
    linger_s: float = 2.0
    max_connections: int = 10_000


class Shared:
    """What all connections of a server have in common.

    Args:
        api: Who answers.
        limits: What is allowed.
        drops: Counts connections and requests that ended before their time.
    """

    def __init__(self, api: HttpApi, limits: HttpLimits, drops: Counters) -> None:
        self.api = api
        self.limits = limits
        self.drops = drops
        self.open: set[Connection] = set()
        self._gone: asyncio.Event | None = None
        self._date_s = 0
        self._date = ""
        self._pushed = b""

    def closed(self, connection: Connection) -> None:
        """Say that a connection is gone."""
        self.open.discard(connection)
        if not self.open and self._gone is not None:
            self._gone.set()

    async def all_gone(self) -> None:
        """Wait until no connection is open."""
        if self.open:
            self._gone = asyncio.Event()
            await self._gone.wait()

    def pushed(self) -> bytes:
        """Return the reply to a push that went well, made once a second."""
        self._set_date()
        return self._pushed

    def head(self, reply: HttpReply, *, close: bool) -> bytes:
        """Return status line and headers of a reply."""
        self._set_date()
        headers = [("Content-Type", reply.content_type)] if reply.content_type else []
        if reply.location:
            headers.append(("Location", _header_text(reply.location)))
        headers += [("Date", self._date), ("Content-Length", str(len(reply.body)))]
        if close:
            headers.append(("Connection", "close"))
        return serialize_head(reply.status, headers)

    def _set_date(self) -> None:
        now_s = int(time.time())
        if now_s != self._date_s:
            self._date_s, self._date = now_s, formatdate(now_s, usegmt=True)
            self._pushed = self.head(PUSHED, close=False) + PUSHED.body


class Connection(asyncio.Protocol):
    """One client; its task lives only while there are requests to answer."""

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self._shared = shared
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._decoder = RequestDecoder(max_body=shared.limits.max_body_bytes)
        self._waiting: deque[HttpRequest] = deque()
        self._refusal: HttpReply | None = None
        # No more requests are taken; what comes is thrown away.
        self._is_ending = False
        self._has_eof = False
        self._is_paused = False
        # When it began to wait for a request, or for the rest of one.
        self._since_s = loop.time()
        self._writable: asyncio.Event | None = None
        self._linger: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._shared.open) >= self._shared.limits.max_connections:
            self._shared.drops.add("logic.http_connections")
            self._transport.abort()
        else:
            self._shared.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._is_ending = True
        self._shared.closed(self)
        self._waiting.clear()
        if self._linger is not None:
            self._linger.cancel()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        was_within = self._decoder.is_within_request
        self._decoder.feed(data)
        # Empty lines before a request are none, and do not keep a connection open.
        if not was_within and self._decoder.is_within_request:
            self._since_s = self._loop.time()
        self._take_requests()

    def eof_received(self) -> bool:
        self._is_ending = self._has_eof = True
        # True leaves our half open, for what is still to be answered.
        return self.task is not None

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set()

    def finish(self) -> None:
        """Take no more requests, and close when those taken are answered."""
        self._is_ending = self._has_eof = True
        if self.task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def check_age(self, now_s: float) -> None:
        """Close what has been silent for too long."""
        if self.task is not None or self._is_ending:
            return
        limits = self._shared.limits
        age_s = now_s - self._since_s
        if self._decoder.is_within_request:
            if age_s > limits.request_timeout_s:
                self._refuse(HttpError(408, "the request did not arrive in time"), "logic.http_slow_request")
        elif age_s > limits.idle_timeout_s:
            self.abort()

    def _take_requests(self) -> None:
        """Read requests from what has arrived, up to the bound."""
        try:
            while len(self._waiting) < _MAX_WAITING:
                request = self._decoder.next_request()
                if request is None:
                    break
                self._waiting.append(request)
        except HttpError as exc:
            self._refuse(exc, "logic.http_bad_request")
            # The decoder keeps the error: with its frames it would hold this connection until the next collection.
            exc.__traceback__ = None
            return
        if self._transport is None:
            return
        if self._waiting:
            if len(self._waiting) >= _MAX_WAITING and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
            self._serve_soon()
        elif self._decoder.wants_continue:
            self._decoder.wants_continue = False
            self._transport.write(CONTINUE)

    def _refuse(self, error: HttpError, reason: str) -> None:
        """Answer what is no request, after the requests before it, and close."""
        if isinstance(error, BodyTooLargeError):
            self._refusal = self._shared.api.too_large(error.method, error.target, error.size, error.limit)
        else:
            self._shared.drops.add(reason)
            self._refusal = HttpReply(error.status, "text/plain; charset=utf-8", str(error).encode())
        self._is_ending = True
        self._serve_soon()

    def _serve_soon(self) -> None:
        if self.task is None:
            self.task = self._loop.create_task(self._serve(), name="logic http")

    async def _serve(self) -> None:
        # No done-callback for what happens at every request: this tidies up itself.
        try:
            await self._answer_all()
        except Exception:
            logger.exception("an http connection failed")
            self.abort()
        finally:
            self.task = None
            self._since_s = self._loop.time()

    async def _answer_all(self) -> None:
        while self._waiting:
            request = self._waiting.popleft()
            reply = await self._shared.api.answer(request.method, request.target, request.body, request.trace)
            if self._writable is not None:
                await self._drain(self._writable)
            is_last = not request.keep_alive or (self._is_ending and not self._waiting and self._refusal is None)
            self._write(reply, is_head=request.method == "HEAD", close=is_last)
            if is_last:
                self._end()
                return
            if not self._waiting and not self._is_ending:
                self._read_on()
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            self._write(refusal, is_head=False, close=True)
            self._end()

    async def _drain(self, writable: asyncio.Event) -> None:
        """Wait until the client has taken earlier replies; one that does not is dropped."""
        try:
            async with asyncio.timeout(self._shared.limits.reply_timeout_s):
                await writable.wait()
        except TimeoutError:
            self._shared.drops.add("logic.http_slow_reader")
            self.abort()

    def _read_on(self) -> None:
        """Take what arrived while requests were being answered."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        if self._decoder.is_within_request:
            self._take_requests()

    def _write(self, reply: HttpReply, *, is_head: bool, close: bool) -> None:
        if self._transport is not None:
            if reply is PUSHED and not close:
                self._transport.write(self._shared.pushed())
            else:
                head = self._shared.head(reply, close=close)
                self._transport.write(head if is_head else head + reply.body)

    def _end(self) -> None:
        """Send FIN and leave the client time to read; closing over unread bytes would be a reset."""
        self._is_ending = True
        self._waiting.clear()
        self._refusal = None
        transport = self._transport
        if transport is None:
            return
        if self._has_eof:
            transport.close()
            return
        if self._is_paused:
            self._is_paused = False
            transport.resume_reading()
        transport.write_eof()
        self._linger_on(self._loop.time() + self._shared.limits.reply_timeout_s)

    def _linger_on(self, until_s: float) -> None:
        """Look again after a while; a client that is still taking its reply has until then."""
        if self._transport is not None:
            has_all = not self._transport.get_write_buffer_size()
            self._linger = self._loop.call_later(self._shared.limits.linger_s, self._hang_up, until_s, has_all)

    def _hang_up(self, until_s: float, had_all: bool) -> None:
        if self._transport is None:
            return
        is_late = self._loop.time() >= until_s
        if not had_all and not is_late:
            self._linger_on(until_s)
            return
        if is_late and self._transport.get_write_buffer_size():
            self._shared.drops.add("logic.http_slow_reader")
        self._transport.abort()


def _header_text(location: str) -> str:
    """Return a target with bytes over 127 escaped, as Go does."""
    return quote(location.encode("utf-8", "surrogateescape"), safe="!#$%&'()*+,/:;=?@[]~\"<>\\^`{|}")
