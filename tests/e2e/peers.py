"""Peers of another make: gRPC with goim's unary methods and nothing else, no batched link, and raw HTTP/2 bytes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from imctl.link.methods import BY_PATH
from protocol.discovery_api import Instance
from protocol.pb import logic

__all__ = [
    "GoPeer",
    "H2Frame",
    "Recorded",
    "call_as_go",
    "frames_of",
    "grpc_message",
    "scripted",
    "stock_reply",
]

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded call: its request, and the reply or the status. Any: protobuf messages."""

    path: str
    request: Any
    reply: Any
    status: int
    details: str

    @classmethod
    def of(cls, line: dict[str, Any]) -> Recorded:
        """Return what a line of kind `call` or `direct` holds."""
        path = line["method"]
        kinds = BY_PATH.get(path)
        found = dict(line.get("response_headers") or []) | dict(line.get("trailers", []))
        status = int(line["code_number"] if "code_number" in line else found.get("grpc-status", 0))
        data = bytes.fromhex(line.get("request_hex", ""))
        return cls(
            path,
            kinds.request.FromString(data) if kinds and "not protobuf" not in line["what"] else None,
            kinds.reply.FromString(bytes.fromhex(line["reply_hex"])) if kinds and "reply_hex" in line else None,
            status,
            line.get("details", found.get("grpc-message", "")),
        )


class GoPeer:
    """A gRPC server that notes every call; `answer` gets path and request, and gives the reply or raises Refused.

    Attributes:
        calls: (path, request message, headers) of each call of a method of goim.
        unknown: Paths that were asked for and are none of goim's, such as our batched link.
    """

    class Refused(Exception):
        """Ends a call with a status."""

        def __init__(self, status: int, details: str = "") -> None:
            super().__init__(details)
            self.status, self.details = status, details

    def __init__(self, answer: Callable[[str, Any], Any | Awaitable[Any]]) -> None:
        self.answer = answer
        self.calls: list[tuple[str, Any, dict[str, str]]] = []
        self.unknown: list[str] = []
        self.address = ""
        self._server: Any = None
        self._more = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server(options=[*UNLIMITED, ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Paths(self),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()

    async def stop(self) -> None:
        """Vanish as a killed process does."""
        if self._server is not None:
            await self._server.stop(None)

    def instance(self, appid: str, hostname: str, **metadata: str) -> Instance:
        """Return it as it stands in the registry."""
        return Instance(
            appid=appid,
            hostname=hostname,
            addrs=(f"grpc://{self.address}",),
            metadata={"weight": "10", **metadata},
            region="sh",
            zone="sh001",
            env="dev",
        )

    def named(self, name: str) -> list[Any]:
        """Return the requests of one method, such as Connect."""
        return [request for path, request, _ in self.calls if path.endswith(f"/{name}")]

    async def wait_for(self, name: str, count: int = 1) -> list[Any]:
        """Return the requests of a method once there are so many."""
        async with asyncio.timeout(10):
            while len(self.named(name)) < count:
                self._more.clear()
                await self._more.wait()
        return self.named(name)

    async def take(self, path: str, data: bytes, context: Any) -> bytes:
        request = BY_PATH[path].request.FromString(data)
        self.calls.append((path, request, dict(context.invocation_metadata())))
        self._more.set()
        try:
            reply = self.answer(path, request)
            if not isinstance(reply, Message):
                reply = await reply
        except self.Refused as exc:
            await context.abort(_STATUS[exc.status], exc.details)
        serialized: bytes = reply.SerializeToString()
        return serialized


class _Paths(grpc.GenericRpcHandler):
    def __init__(self, peer: GoPeer) -> None:
        self._peer = peer

    def service(self, details: Any) -> Any:
        path = details.method
        if path not in BY_PATH:
            self._peer.unknown.append(path)
            return None

        async def behaviour(data: bytes, context: Any) -> bytes:
            return await self._peer.take(path, data, context)

        return grpc.unary_unary_rpc_method_handler(behaviour)


async def call_as_go(address: str, path: str, data: bytes, *, compressed: bool = False) -> tuple[int, str, bytes]:
    """Make one unary call; return status, details and the reply's bytes."""
    async with grpc.aio.insecure_channel(address, options=[*UNLIMITED, ("grpc.enable_http_proxy", 0)]) as channel:
        try:
            reply = await channel.unary_unary(path)(
                data, timeout=10, compression=grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
            )
        except grpc.aio.AioRpcError as exc:
            return exc.code().value[0], exc.details() or "", b""
    return 0, "", reply


def stock_reply(path: str, request: Any) -> Any:
    """Return what a stock logic or comet answers. Any: protobuf messages."""
    if path.endswith("/Connect"):
        return logic.ConnectReply(mid=1, key="k", heartbeat=480_000_000_000)
    return BY_PATH[path].reply()


# --- HTTP/2 bytes -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class H2Frame:
    """A frame of HTTP/2 (RFC 9113 4.1)."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
    ACK = END_STREAM = 1

    def pack(self) -> bytes:
        head = len(self.payload).to_bytes(3, "big") + bytes((self.kind, self.flags))
        return head + self.stream.to_bytes(4, "big") + self.payload


def frames_of(data: bytes) -> Iterator[H2Frame]:
    """Return the complete frames at the beginning of some bytes."""
    while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
        yield H2Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end])
        data = data[end:]


def grpc_message(data: bytes) -> bytes:
    """Return the one message in the DATA of a stream, unpacked if it is compressed."""
    assert int.from_bytes(data[1:5], "big") == len(data) - 5
    return gzip.decompress(data[5:]) if data[0] else data[5:]


@asynccontextmanager
async def scripted(
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], then: str
) -> AsyncIterator[str]:
    """Listen; the first connection is played by a script, further ones go to the address `then`."""
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if connections == 1:
                await script(reader, writer)
                return
            host, port = then.rsplit(":", 1)
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(far_writer):
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    with contextlib.suppress(OSError):
        writer.write_eof()
