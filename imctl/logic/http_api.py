"""goim's HTTP API over logic's parts: from a request to a reply, no sockets.

Failures of a backend are told as goim tells them: status 200 and code -500
with a text in the envelope, except that push/keys has -400. There goim leaves
the text empty; here it says what failed, unless goim's own way is asked for.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from imctl.bus.contract import BusError
from imctl.hooks.caller import HookFailedError
from imctl.hooks.contract import HookError
from imctl.hooks.hooks import Hooks
from imctl.logic.nodes import Nodes
from imctl.logic.online import OnlineCounts
from imctl.logic.push import MessageTooLargeError, Pusher
from imctl.messages.contract import MessageReader
from imctl.messages.dump import dump_history, dump_waiting
from imctl.node import Counters, NodeStats
from imctl.store.contract import SessionStore, StoreError
from imctl.trace import TraceLog, clock_id
from protocol.push_api import (
    BAD_REQUEST,
    CONTENT_TYPE_JSON,
    CONTENT_TYPE_TEXT,
    NOT_FOUND_TEXT,
    OK,
    OK_BODY,
    SERVER_ERROR,
    DeleteOffline,
    History,
    HookList,
    NodesInstances,
    NodesWeighted,
    Offline,
    OnlineRoom,
    OnlineTop,
    OnlineTotal,
    ParamError,
    PushAll,
    PushKeys,
    PushMids,
    PushRoom,
    Redirect,
    Request,
    Sessions,
    Stats,
    Traces,
    dump_reply,
    parse_request,
)
from protocol.trace import Place, parse_trace_id

__all__ = ["PUSHED", "HttpApi", "HttpReply"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What goes back: status, content type ("" for none), body, and where a redirect leads."""

    status: int
    content_type: str
    body: bytes
    location: str = ""


PUSHED = HttpReply(200, CONTENT_TYPE_JSON, OK_BODY)
"""Every push that went well."""

_NOT_FOUND = HttpReply(404, "text/plain", NOT_FOUND_TEXT.encode())
# What goim's handler leaves behind when it panics.
_PANIC = HttpReply(500, "", b"")


class HttpApi:
    """Answers requests.

    Args:
        pusher: Publishes.
        online: Room counts.
        nodes: Comets.
        store: Sessions, for /imctl/sessions.
        stats: The node's counters, for /imctl/stats.
        hooks: What is loaded, for /imctl/hooks, and for /imctl/history and /imctl/offline one that keeps
            messages; None is nothing.
        traces: Remembers pushes that are followed, for /imctl/trace.
        compat_goim: Leave the text of a failed push/keys empty, and answer a
            negative limit with status 500, as goim does.
        counters: Counts http_requests and http_not_found.
        drops: Counts requests that were refused by reason.
    """

    def __init__(
        self,
        *,
        pusher: Pusher,
        online: OnlineCounts,
        nodes: Nodes,
        store: SessionStore,
        stats: Callable[[], NodeStats],
        traces: TraceLog,
        hooks: Hooks | None,
        compat_goim: bool,
        counters: Counters,
        drops: Counters,
    ) -> None:
        self._pusher = pusher
        self._online = online
        self._nodes = nodes
        self._store = store
        self._stats = stats
        self._hooks = hooks
        # A Protocol with methods only: mypy takes it for abstract.
        self._messages = hooks.provider(MessageReader) if hooks is not None else None  # type: ignore[type-abstract]
        self._traces = traces
        self._compat_goim = compat_goim
        self._counters = counters
        self._drops = drops

    async def answer(self, method: str, target: str, body: bytes, trace: str = "") -> HttpReply:
        """Return the reply to a request; `target` is its path and query, and `trace` its TRACE_HEADER, as sent."""
        self._counters.add("http_requests")
        try:
            request = parse_request(method, target)
            if request is None:
                self._counters.add("http_not_found")
                return _NOT_FOUND
            if isinstance(request, Redirect):
                return _redirect(method, request)
            return await self._carry_out(request, body, self._accept(trace) if trace else 0)
        except ParamError as exc:
            self._drops.add("logic.bad_params")
            return HttpReply(400, CONTENT_TYPE_TEXT, dump_reply(BAD_REQUEST, str(exc)))
        except (BusError, StoreError, MessageTooLargeError, HookFailedError, HookError) as exc:
            self._drops.add("logic.http_backend")
            return self._failed(target, exc.message)
        except Exception:
            # A bug of ours costs one request, as a panic does in goim.
            logger.exception("%s %s failed", method, target)
            self._drops.add("logic.http_bug")
            return _PANIC

    def too_large(self, method: str, target: str, size: int, limit: int) -> HttpReply:
        """Return the reply to a request whose body is not read because of its size."""
        self._counters.add("http_requests")
        self._drops.add("logic.too_large")
        return self._failed(target, MessageTooLargeError(size, limit).message)

    def _accept(self, text: str) -> int:
        """Return the id of a push that is followed, and remember that it has come."""
        try:
            trace = parse_trace_id(text)
        except ValueError as exc:
            raise ParamError(str(exc)) from None
        self._traces.add((trace,), Place.ACCEPTED)
        return trace

    async def _carry_out(self, request: Request, body: bytes, trace: int) -> HttpReply:
        match request:
            case PushRoom():
                await self._pusher.push_room(request, body, trace)
                return PUSHED
            case PushMids():
                await self._pusher.push_mids(request, body, trace)
                return PUSHED
            case PushKeys():
                if not request.keys:
                    # Redis refuses an MGET of nothing, and goim passes that on.
                    return self._failed(request.path, "no keys")
                await self._pusher.push_keys(request, body, trace)
                return PUSHED
            case PushAll():
                await self._pusher.push_all(request, body, trace)
                return PUSHED
            case OnlineTop():
                return self._top(request)
            case OnlineRoom():
                return _data(self._online.counts(request.type, request.rooms))
            case OnlineTotal():
                return _data(self._nodes.total())
            case NodesWeighted():
                return _data(self._nodes.weighted(request.platform))
            case NodesInstances():
                return _data(self._nodes.instances())
            case Sessions():
                return await self._sessions(request)
            case Stats():
                return _data(self._stats())
            case HookList():
                return _data(self._hooks.stats() if self._hooks is not None else [])
            case History() | Offline() | DeleteOffline():
                return await self._kept(request)
            case Traces():
                return _data(
                    {"node": self._traces.node, "clock": clock_id(), "points": self._traces.read(request.trace)}
                )
            case _:
                assert_never(request)

    def _top(self, request: OnlineTop) -> HttpReply:
        if request.limit < 0:
            if self._compat_goim:
                return _PANIC
            raise ParamError(f"limit is {request.limit}; expected a positive number")
        return _data(self._online.top(request.type, request.limit))

    async def _sessions(self, request: Sessions) -> HttpReply:
        by_mid = await self._store.sessions_by_mid(request.mids)
        by_key = await self._store.servers_by_key(request.keys)
        return _data({"mids": {str(mid): by_mid.get(mid, {}) for mid in request.mids}, "keys": by_key})

    async def _kept(self, request: History | Offline | DeleteOffline) -> HttpReply:
        messages = self._messages
        if messages is None:
            return self._failed(request.path, "no hook keeps messages here; start it with --messages sqlite://")
        match request:
            case History(mid=mid, room=room, limit=limit, before=before):
                found = await messages.history(mid=mid or None, room=room or None, limit=limit, before=before)
                return _data(dump_history(found))
            case Offline(mid=mid):
                return _data(dump_waiting(await messages.offline(mid)))
            case DeleteOffline(mid=mid):
                return _data({"deleted": await messages.delete_offline(mid)})

    def _failed(self, target: str, text: str) -> HttpReply:
        if target.partition("?")[0] == PushKeys.path:
            return HttpReply(200, CONTENT_TYPE_JSON, dump_reply(BAD_REQUEST, "" if self._compat_goim else text))
        return HttpReply(200, CONTENT_TYPE_JSON, dump_reply(SERVER_ERROR, text))


def _data(data: object) -> HttpReply:
    return HttpReply(200, CONTENT_TYPE_JSON, dump_reply(OK, "", data, has_data=True))


def _redirect(method: str, redirect: Redirect) -> HttpReply:
    if method != "GET":
        return HttpReply(redirect.status, "", b"", redirect.location)
    # Go's http.Redirect gives browsers a page.
    page = f'<a href="{html.escape(redirect.location)}">Moved Permanently</a>.\n\n'
    return HttpReply(redirect.status, "text/html; charset=utf-8", page.encode(), redirect.location)
