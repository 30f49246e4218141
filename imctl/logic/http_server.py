"""aiohttp's low-level server around logic's HTTP API.

Routing, parameters and replies are `HttpApi`'s; here is only what concerns
bytes on a connection: reading a body within size and time, and writing.
"""

from __future__ import annotations

import asyncio
import errno
import logging

from aiohttp import web
from multidict import CIMultiDict

from imctl.errors import PortInUseError, StartError
from imctl.logic.http_api import HttpApi, HttpReply
from imctl.node import Counters

__all__ = ["HttpServer"]

logger = logging.getLogger(__name__)

# Go's default: a push to ten thousand users has all of them in its target.
_MAX_TARGET_BYTES = 1 << 20
_BACKLOG = 4096


class HttpServer:
    """Serves the HTTP API on one port.

    Args:
        api: Who answers.
        host: Address to bind.
        port: Port to bind, 0 for any.
        max_body_bytes: A larger body is refused without being read.
        body_timeout_s: A body that is not complete by then costs its connection.
        drops: Counts requests that ended there.
    """

    def __init__(
        self, api: HttpApi, *, host: str, port: int, max_body_bytes: int, body_timeout_s: float, drops: Counters
    ) -> None:
        self._api = api
        self._host = host
        self._port = port
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._drops = drops
        self._requests: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """`host:port` it listens on; complete after start()."""
        return self._address

    async def start(self) -> None:
        """Listen.

        Raises:
            PortInUseError: somebody listens there already.
            StartError: the address cannot be bound for another reason.
        """
        requests = web.Server(
            self._handle,
            access_log=None,
            # The body is the message: goim does not unpack it either.
            auto_decompress=False,
            max_line_size=_MAX_TARGET_BYTES,
            lingering_time=2.0,
        )
        wanted = f"{self._host}:{self._port}"
        try:
            listener = await asyncio.get_running_loop().create_server(
                requests, self._host, self._port, backlog=_BACKLOG
            )
        except OSError as exc:
            await requests.shutdown(0)
            if exc.errno == errno.EADDRINUSE:
                raise PortInUseError(wanted, "logic http") from exc
            raise StartError(f"logic http: cannot listen on {wanted}: {exc}") from exc
        self._requests, self._listener = requests, listener
        self._address = f"{self._host}:{listener.sockets[0].getsockname()[1]}"

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no more connections, let requests at work end within `grace_s`, and close. Safe to call twice."""
        listener, self._listener = self._listener, None
        requests, self._requests = self._requests, None
        if listener is None or requests is None:
            return
        listener.close()
        # Idle connections go at once, the others after their request.
        requests.pre_shutdown()
        await requests.shutdown(grace_s)
        await listener.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        size = request.content_length or 0
        if size > self._max_body_bytes:
            return self._refused(request, size)
        body = b""
        if request.can_read_body:
            try:
                body = await self._read(request)
            except OverflowError:
                return self._refused(request, self._max_body_bytes + 1)
            except TimeoutError:
                self._drops.add("logic.http_slow_body")
                return self._response(request, HttpReply(408, "", b""), close=True)
        reply = await self._api.answer(request.method, target, body)
        return self._response(request, reply)

    async def _read(self, request: web.BaseRequest) -> bytes:
        content = request.content
        if content.is_eof() or content.total_bytes == request.content_length:
            # Came together with its head, as nearly every push does.
            return content.read_nowait(-1)
        parts = []
        left = self._max_body_bytes
        async with asyncio.timeout(self._body_timeout_s):
            while part := await content.readany():
                parts.append(part)
                left -= len(part)
                if left < 0:
                    raise OverflowError
        return b"".join(parts)

    def _refused(self, request: web.BaseRequest, size: int) -> web.StreamResponse:
        reply = self._api.too_large(request.method, request.raw_path, size, self._max_body_bytes)
        return self._response(request, reply, close=True)

    def _response(self, request: web.BaseRequest, reply: HttpReply, *, close: bool = False) -> web.StreamResponse:
        headers: CIMultiDict[str] = CIMultiDict()
        if reply.content_type:
            headers["Content-Type"] = reply.content_type
        headers["Server"] = "imctl"
        if reply.location:
            headers["Location"] = reply.location
        response = web.Response(status=reply.status, body=reply.body, headers=headers)
        if close:
            response.force_close()
        return response
