"""The gRPC server of a node: goim's unary services and the batched link on one port."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from imctl.errors import PortInUseError, StartError
from imctl.link.contract import Handlers, PeerError
from imctl.link.limits import MAX_IN_FLIGHT, SERVER_OPTIONS
from imctl.link.local import publish_local, withdraw_local
from imctl.link.methods import OPEN_PATH, Method
from imctl.link.served import LinkCounts, ServedStream, text_of
from imctl.link.waiting import UNKNOWN
from imctl.ratelog import LimitedLogger
from protocol.pb import link

__all__ = ["LinkServer"]

logger = logging.getLogger(__name__)

_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_Behaviour = Callable[[bytes, Any], Awaitable[bytes]]
_Refuse = Callable[[Any, grpc.StatusCode, str], Coroutine[Any, Any, NoReturn]]


class LinkServer:
    """Serve handlers to nodes of this project and of any other make.

    Args:
        handlers: What to serve; the others of goim's methods are UNIMPLEMENTED.
        host: Address to bind.
        port: Port to bind, 0 for any.
        what: What it is for, in error texts, such as "comet grpc".
    """

    def __init__(self, handlers: Handlers, *, host: str, port: int, what: str) -> None:
        self._handlers = handlers
        self._host = host
        self._port = port
        self._what = what
        self._server: Any = None
        self._address = ""
        self._streams: set[ServedStream] = set()
        self._counts = LinkCounts()
        self._log = LimitedLogger(logger)

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
        self._check_port()
        server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=2 * MAX_IN_FLIGHT)
        server.add_generic_rpc_handlers((_Methods(self._handlers, self._open, self._counts, self._refuse),))
        wanted = f"{self._host}:{self._port}"
        try:
            port = server.add_insecure_port(wanted)
        except RuntimeError as exc:
            await server.stop(None)
            raise PortInUseError(wanted, self._what) from exc
        await server.start()
        self._server = server
        self._address = f"{self._host}:{port}"
        publish_local(self._address, self._handlers)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no more calls, answer those at work for at most `grace_s`, and close. Safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        withdraw_local(self._address, self._handlers)
        # The listener closes at once; streams live until they are told to end.
        stopping = asyncio.ensure_future(server.stop(grace_s))
        if self._streams:
            await asyncio.gather(*(stream.finish(grace_s) for stream in self._streams))
        await stopping

    def stats(self) -> dict[str, int]:
        """Return {"streams", "calls", "batches", "reply_batches", "in_flight", "errors", "refused"} of batched streams.

        calls / batches is how many calls share one read. "unary_calls" and
        "unary_errors" are goim's own calls, and "bad_calls" those of either
        kind that cannot be read or name an unknown method.
        """
        counts = self._counts
        return {
            "streams": len(self._streams),
            "calls": counts.calls,
            "batches": counts.batches,
            "reply_batches": counts.reply_batches,
            "in_flight": counts.in_flight,
            "errors": counts.errors,
            "refused": counts.refused,
            "unary_calls": counts.unary_calls,
            "unary_errors": counts.unary_errors,
            "bad_calls": counts.bad_calls,
        }

    async def _refuse(self, context: Any, status: grpc.StatusCode, text: str) -> NoReturn:
        """Answer a call that is none, and say in the log who made it."""
        self._counts.bad_calls += 1
        self._counts.unary_errors += 1
        self._log.info("%s: bad call from %s: %s", self._what, context.peer(), text)
        await context.abort(status, text)
        raise AssertionError("abort() raises")

    async def _open(self, request_iterator: Any, context: Any) -> None:
        """Serve one stream; grpc.aio wants a plain coroutine for its read/write style."""
        stream = ServedStream(self._handlers, self._counts)
        self._streams.add(stream)
        try:
            await stream.serve(context)
        finally:
            self._streams.discard(stream)

    def _check_port(self) -> None:
        """Try the address with a socket of our own: grpc tells the reason only in its log."""
        if not self._port:
            return
        address = f"{self._host}:{self._port}"
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host.strip("[]"), self._port))
            except OSError as exc:
                if exc.errno == errno.EADDRINUSE:
                    raise PortInUseError(address, self._what) from exc
                raise StartError(f"{self._what}: cannot listen on {address}: {exc.strerror}") from exc


class _Methods(grpc.GenericRpcHandler):
    """Finds the behaviour of a path; the texts for unknown ones are grpc-go's."""

    def __init__(
        self,
        handlers: Handlers,
        open_stream: Callable[[Any, Any], Awaitable[None]],
        counts: LinkCounts,
        refuse: _Refuse,
    ) -> None:
        self._counts = counts
        self._refuse = refuse
        self._known: dict[str, Any] = {
            method.path: grpc.unary_unary_rpc_method_handler(_unary(method, handler, counts, refuse))
            for method, handler in handlers.items()
        }
        self._known[OPEN_PATH] = grpc.stream_stream_rpc_method_handler(
            open_stream,
            request_deserializer=link.Batch.FromString,
            response_serializer=link.Batch.SerializeToString,
        )
        self._services = {path.split("/")[1] for path in self._known}

    def service(self, handler_call_details: Any) -> Any:
        path: str = handler_call_details.method
        known = self._known.get(path)
        if known is not None:
            return known
        service, _, method = path.lstrip("/").partition("/")
        text = f"unknown method {method} for service {service}" if service in self._services else ""
        return grpc.unary_unary_rpc_method_handler(self._unimplemented(text or f"unknown service {service}"))

    def _unimplemented(self, text: str) -> _Behaviour:
        async def behaviour(data: bytes, context: Any) -> bytes:
            self._counts.unary_calls += 1
            await self._refuse(context, grpc.StatusCode.UNIMPLEMENTED, text)

        return behaviour


def _unary(method: Method, handler: Callable[[Any], Any], counts: LinkCounts, refuse: _Refuse) -> _Behaviour:
    parse, reply_class = method.request.FromString, method.reply

    async def behaviour(data: bytes, context: Any) -> bytes:
        counts.unary_calls += 1
        try:
            request = parse(data)
        except DecodeError as exc:
            await refuse(context, grpc.StatusCode.INTERNAL, f"grpc: error unmarshalling request: {exc}")
        try:
            reply = handler(request)
            if type(reply) is not reply_class:
                reply = await reply
            serialized: bytes = reply.SerializeToString()
            return serialized
        except PeerError as exc:
            code, details = _STATUS.get(exc.code, grpc.StatusCode.UNKNOWN), exc.details
        except Exception as exc:
            code, details = _STATUS[UNKNOWN], text_of(exc, method)
        counts.unary_errors += 1
        await context.abort(code, details)
        raise AssertionError("abort() raises")

    return behaviour
