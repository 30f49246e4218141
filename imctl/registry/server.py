"""The registry's HTTP side: /discovery/* as bilibili discovery answers it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from imctl.node import Counters
from imctl.open_files import files_for_callers
from imctl.registry.config import RegistryConfig
from imctl.registry.memory import MemoryRegistry
from imctl.registry.polls import Cursor, HeldPoll, PollAnswer, ask
from protocol.discovery_api import (
    ROUTES,
    Code,
    Reply,
    app_info_to_json,
    bad_request,
    empty_reply,
    instance_to_json,
    polls_reply,
    reply,
    text_reply,
    unknown_app_reply,
)
from protocol.discovery_forms import (
    Params,
    Poll,
    RequestError,
    form_of_json,
    parse_cancel,
    parse_fetch,
    parse_params,
    parse_poll,
    parse_register,
    parse_renew,
    parse_set,
)

__all__ = ["DiscoveryHttp"]

_log = logging.getLogger(__name__)

_MAX_CURSORS = 8  # pollers on one connection; goim has one

# A first line that is no HTTP at all; a body that nobody wanted and that is not in its coding.
_OF_THE_PEER = (HttpProcessingError, web.RequestPayloadError)

_READS = frozenset(path for path, method in ROUTES.items() if method == "GET")


class DiscoveryHttp:
    """Turns HTTP requests into calls of the registry.

    Args:
        address: Returns the `host:port` of this registry for the list of nodes.
        now_ns: Nanoseconds since the epoch, never backwards.
        protected: Returns whether reads are still refused after the start.
    """

    def __init__(
        self,
        config: RegistryConfig,
        memory: MemoryRegistry,
        *,
        address: Callable[[], str],
        now_ns: Callable[[], int],
        protected: Callable[[], bool],
    ) -> None:
        self._config = config
        self._memory = memory
        self._address = address
        self._now_ns = now_ns
        self._protected = protected
        self._closing = False
        self._held: set[asyncio.Future[PollAnswer | None]] = set()
        # What each connection has been told, by the host name of its polls; gone with the connection.
        self._cursors: WeakKeyDictionary[asyncio.BaseTransport, dict[str, Cursor]] = WeakKeyDictionary()
        self.counters = Counters("requests", "bad_requests", "polls_answered", "polls_without_news")
        self.drops = Counters()
        self._calls: Mapping[str, Callable[[Params], Reply]] = {
            "/discovery/register": self._register,
            "/discovery/renew": self._renew,
            "/discovery/cancel": self._cancel,
            "/discovery/set": self._set,
            "/discovery/fetch": self._fetch,
            "/discovery/fetchs": self._fetchs,
            "/discovery/fetch/all": self._fetch_all,
            "/discovery/nodes": self._nodes,
        }
        self._polls: Mapping[str, bool] = {"/discovery/poll": False, "/discovery/polls": True}

    @property
    def polls_held(self) -> int:
        """How many polls wait for news."""
        return len(self._held)

    def runner(self, shutdown_timeout_s: float) -> web.AppRunner:
        """Return the server, not yet listening; it ends a poll when its client goes."""
        app = web.Application(client_max_size=self._config.max_body_bytes)
        app.router.add_route("*", "/{path:.*}", self.handle, expect_handler=self._expect)
        return web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            # From the accept on, so it also ends a head that does not come; nodes renew and poll every 30 s.
            keepalive_timeout=self._config.idle_timeout_s,
            shutdown_timeout=shutdown_timeout_s,
            lingering_time=0.5,  # for the rest of a body that nobody wants
            logger=_HttpLogger(self.counters),
        )

    def close(self) -> None:
        """End every held poll with -500, by which its client sees that we go, and hold no further ones."""
        self._closing = True
        for answer in self._held:
            _settle(answer, None)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        self.counters.add("requests")
        try:
            result = await self._answer(request)
        except RequestError as exc:
            self.counters.add("bad_requests")
            result = bad_request(str(exc))
        headers = {}
        if result.content_type:
            headers["Content-Type"] = result.content_type
        if result.code is not None:
            headers["Kratos-Status-Code"] = str(result.code)
        # aiohttp adds a Content-Type of its own to a body without one, not to no body.
        response = web.Response(body=result.body or None, status=result.status, headers=headers)
        if self._closing or result.status in (400, 413):
            response.force_close()
        return response

    def door(self, server: web.Server) -> Callable[[], asyncio.BaseProtocol]:
        """Return what makes the protocol of an accepted socket: the server's, while there is room."""
        most = min(self._config.max_connections, files_for_callers())

        def enter() -> asyncio.BaseProtocol:
            if len(server.connections) < most:
                return server()
            self.drops.add("registry.connections_over_limit")
            return _Refused()

        return enter

    async def _expect(self, request: web.Request) -> None:
        """Answer an Expect header, as nobody else counts one that is not known."""
        assert request.transport is not None
        if request.version != HttpVersion11:
            return
        if request.headers.get("Expect", "").lower() == "100-continue":
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self.counters.add("requests")
        self.counters.add("bad_requests")
        raise web.HTTPExpectationFailed(text="only 100-continue is known")

    async def _answer(self, request: web.Request) -> Reply:
        path = request.path
        method = ROUTES.get(path)
        if method is None or request.method != method:
            self.counters.add("bad_requests")
            return text_reply(404 if method is None else 405)
        try:
            params = await self._params(request)
        except web.RequestPayloadError:
            # Counted by _HttpLogger, as what is left of the body is thrown away.
            return text_reply(400)
        if params is None:
            self.counters.add("bad_requests")
            return text_reply(413)
        if path in _READS and self._protected():
            return reply(Code.SERVER_ERROR)
        call = self._calls.get(path)
        if call is not None:
            return call(params)
        return await self._poll(request, params, many=self._polls[path])

    async def _params(self, request: web.Request) -> Params | None:
        """Return the parameters, or None when the body is over the limit or too slow."""
        query = request.rel_url.raw_query_string
        if request.method != "POST":
            return parse_params(query)
        try:
            async with asyncio.timeout(self._config.body_timeout_s):
                body = (await request.read()).decode("utf-8", "replace")
        except (web.HTTPRequestEntityTooLarge, TimeoutError):
            return None
        content_type = request.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if content_type == "application/json":
            return form_of_json(body)
        return parse_params(query, body if content_type == "application/x-www-form-urlencoded" else "")

    # --- calls that answer at once ---

    def _register(self, params: Params) -> Reply:
        request = parse_register(params)
        if request.instance.status > 2:
            self.counters.add("bad_requests")
            return empty_reply()
        if not request.metadata_ok:
            return self._refused(Code.BAD_REQUEST)
        return self._done(self._memory.register(request, self._now_ns()))

    def _renew(self, params: Params) -> Reply:
        renewed = self._memory.renew(parse_renew(params), self._now_ns())
        data = instance_to_json(renewed.instance) if renewed.zone_known else None
        return reply(renewed.code, data)

    def _cancel(self, params: Params) -> Reply:
        return self._done(self._memory.cancel(parse_cancel(params)))

    def _set(self, params: Params) -> Reply:
        return self._done(self._memory.set(parse_set(params), self._now_ns()))

    def _fetch(self, params: Params) -> Reply:
        request = parse_fetch(params, many=False)
        info = self._memory.info(request.env, request.appids[0], request.zone, request.status)
        if info is None:
            return reply(Code.NOT_FOUND, None)
        return reply(Code.OK if info.instances else Code.NOT_FOUND, app_info_to_json(info))

    def _fetchs(self, params: Params) -> Reply:
        request = parse_fetch(params, many=True)
        found = {}
        for appid in sorted(set(request.appids)):
            info = self._memory.info(request.env, appid, request.zone, request.status)
            if info is not None and info.instances:
                found[appid] = app_info_to_json(info)
        return reply(Code.OK, found)

    def _fetch_all(self, params: Params) -> Reply:
        every = sorted(self._memory.every().items())
        return reply(
            Code.OK,
            {appid: [instance_to_json(each, null_metadata=True) for each in instances] for appid, instances in every},
        )

    def _nodes(self, params: Params) -> Reply:
        return reply(Code.OK, [{"addr": self._address(), "status": 0, "zone": self._config.zone}])

    def _done(self, code: Code) -> Reply:
        return reply(code) if code in (Code.OK, Code.NOT_FOUND) else self._refused(code)

    def _refused(self, code: Code) -> Reply:
        self.counters.add("bad_requests")
        return reply(code)

    # --- polls ---

    async def _poll(self, request: web.Request, params: Params, *, many: bool) -> Reply:
        poll = parse_poll(params, many=many)
        if len(poll.appids) != len(poll.timestamps):
            return self._refused(Code.BAD_REQUEST)
        cursor = self._cursor(request, poll)
        answer: PollAnswer | None = ask(self._memory, poll, cursor)
        assert answer is not None
        if not answer.infos:
            if not many and answer.missing:
                return unknown_app_reply(poll.appids[0])
            if len(self._held) >= self._config.max_polls:
                self.drops.add("registry.polls_over_limit")
                return reply(Code.SERVER_ERROR)
            answer = None if self._closing else await self._hold(poll, cursor, answer.missing)
        if answer is None and self._closing:
            return reply(Code.SERVER_ERROR)
        if answer is None:
            self.counters.add("polls_without_news")
            return reply(Code.NOT_MODIFIED)
        self.counters.add("polls_answered")
        if many:
            return polls_reply(answer.infos, answer.missing)
        return reply(Code.OK, app_info_to_json(answer.infos[poll.appids[0]]))

    async def _hold(self, poll: Poll, cursor: Cursor, missing: tuple[str, ...]) -> PollAnswer | None:
        """Wait for news; the task is cancelled when the client goes."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[PollAnswer | None] = loop.create_future()
        held = HeldPoll(self._memory, poll, cursor, missing, lambda answer: _settle(answered, answer))
        timer = loop.call_later(self._config.hold_s, _expire, answered, held)
        self._held.add(answered)
        try:
            return await answered
        finally:
            timer.cancel()
            held.close()
            self._held.discard(answered)

    def _cursor(self, request: web.Request, poll: Poll) -> Cursor:
        if request.transport is None:  # it has gone already
            return Cursor()
        cursors = self._cursors.setdefault(request.transport, {})
        cursor = cursors.get(poll.hostname)
        if cursor is None:
            cursor = cursors[poll.hostname] = Cursor()
            if len(cursors) > _MAX_CURSORS:
                del cursors[next(iter(cursors))]
        return cursor


def _expire(answered: asyncio.Future[PollAnswer | None], held: HeldPoll) -> None:
    held.close()  # first: news that comes now is for the next poll
    _settle(answered, None)


def _settle(answered: asyncio.Future[PollAnswer | None], answer: PollAnswer | None) -> None:
    if not answered.done():  # done: its client has gone in this very turn of the loop
        answered.set_result(answer)


class _Refused(asyncio.Protocol):
    """A connection over the limit: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _HttpLogger(logging.Logger):
    """Counts what is not HTTP and keeps it out of the log; a fault of ours is logged as ever."""

    def __init__(self, counters: Counters) -> None:
        super().__init__(__name__)
        self.parent = _log
        self._counters = counters

    def debug(self, msg: object, *args: Any, exc_info: Any = None, **more: Any) -> None:
        if isinstance(exc_info, _OF_THE_PEER):
            self._counters.add("bad_requests")
        super().debug(msg, *args, **more)

    def exception(self, msg: object, *args: Any, exc_info: Any = True, **more: Any) -> None:
        if isinstance(exc_info, _OF_THE_PEER):
            self.debug(msg, *args, exc_info=exc_info)
        else:
            super().exception(msg, *args, exc_info=exc_info, **more)
