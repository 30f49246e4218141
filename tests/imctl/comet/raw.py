"""Byte-exact clients, and a comet alone with a logic that does what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl as ssl_module
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from imctl.comet.config import CometConfig
from imctl.comet.node import Comet
from imctl.link.contract import Handlers, PeerError
from imctl.link.local import withdraw_local
from imctl.link.methods import CONNECT, DISCONNECT, HEARTBEAT, RECEIVE, RENEW_ONLINE
from imctl.link.server import LinkServer
from imctl.registry.config import RegistryConfig
from imctl.registry.contract import Registry
from imctl.registry.node import RegistryServer
from protocol.bodies import AuthToken
from protocol.decoder import FrameDecoder
from protocol.discovery_api import Instance
from protocol.frame import Frame, pack_frame
from protocol.operation import Operation
from protocol.pb import logic as pb
from protocol.websocket import MessageDecoder, serialize_message

__all__ = ["MASK", "UPGRADE", "FakeLogic", "Raw", "Rig", "auth", "eventually", "http_post"]

MASK = bytes.fromhex("37fa213d")
UPGRADE = (
    b"GET /sub HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TIMEOUT_S = 10.0


def auth(**token: Any) -> bytes:
    """Return the op 7 frame of a token; Any: fields of AuthToken."""
    return pack_frame(Operation.AUTH, AuthToken(**token).serialize(), seq=1)


async def eventually(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Return once the condition holds; for what no event tells of, such as a counter."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - counters and remote processes have no event
            await asyncio.sleep(0.005)


async def http_post(address: str, url: str, body: bytes = b"", method: str = "POST") -> tuple[int, bytes]:
    """Send one HTTP request; return status and body."""
    host, port = address.rsplit(":", 1)
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"{method} {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    head_bytes, _, rest = answer.partition(b"\r\n\r\n")
    return int(head_bytes.split(b" ")[1]), rest


class Raw:
    """A client that sends and gets bytes, TCP or WebSocket, plain or TLS; it reads only when it is told to.

    Attributes:
        data: Every byte received.
        frames: goim frames received and not taken yet.
        containers: As received: op 9 of WebSocket is not unwrapped.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_ws: bool) -> None:
        self.reader = reader
        self.writer = writer
        self.is_ws = is_ws
        self.data = b""
        self.frames: deque[Frame] = deque()
        self.closed = ""
        self._tcp = FrameDecoder()
        self._ws = MessageDecoder()

    @classmethod
    async def connect(
        cls,
        address: str,
        *,
        is_ws: bool = False,
        upgrade: bool = True,
        tls: ssl_module.SSLContext | None = None,
        rcvbuf: int = 0,
        limit: int = 1 << 20,
    ) -> Raw:
        """Connect; over WebSocket also upgrade, unless told not to."""
        host, port = address.rsplit(":", 1)
        sock = socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=tls, server_hostname="localhost" if tls else None, limit=limit
            )
        except BaseException:
            sock.close()
            raise
        client = cls(reader, writer, is_ws=is_ws)
        if is_ws and upgrade:
            client.write(UPGRADE)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)
            assert head.startswith(b"HTTP/1.1 101 "), head
        return client

    @classmethod
    async def login(cls, address: str, *, is_ws: bool = False, **options: Any) -> Raw:
        """Connect and authenticate; options of connect() or fields of the token."""
        ours = {name: options.pop(name) for name in ("tls", "rcvbuf", "limit") if name in options}
        client = await cls.connect(address, is_ws=is_ws, **ours)
        client.send(auth(**options))
        reply = await client.frame()
        assert (reply.op, reply.body) == (Operation.AUTH_REPLY, b""), reply
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def send(self, frame: bytes) -> None:
        """Send a goim frame in the transport's form."""
        self.write(serialize_message(frame, mask=MASK) if self.is_ws else frame)

    def request(self, op: int, body: bytes = b"", *, seq: int = 5) -> None:
        self.send(pack_frame(op, body, seq=seq))

    async def read(self, count: int = 65536) -> bytes:
        """Read what is there, b"" at the end; `closed` then says eof or rst."""
        try:
            data = await asyncio.wait_for(self.reader.read(count), TIMEOUT_S)
            if not data:
                self.closed = "eof"
        except ConnectionError:
            data, self.closed = b"", "rst"
        self.data += data
        return data

    async def read_total(self, total: int) -> bytes:
        """Read until `total` bytes have come since the start, or the end; return them all."""
        while len(self.data) < total and not self.closed:
            await self.read(total - len(self.data))
        return self.data

    async def read_to_end(self) -> bytes:
        """Read until the server closes; return everything since the start."""
        while not self.closed:
            await self.read()
        return self.data

    def feed(self, data: bytes) -> None:
        """Decode bytes into `frames`; a torn or broken frame raises here or leaves `left` bytes."""
        if not self.is_ws:
            self._tcp.feed(data)
            self.frames += iter(self._tcp.next_frame, None)
            return
        self._ws.feed(data)
        for message in iter(self._ws.next_message, None):
            if message.opcode == 2:
                decoder = FrameDecoder()
                decoder.feed(message.payload)
                self.frames += iter(decoder.next_frame, None)
                assert decoder.buffered == 0

    @property
    def left(self) -> int:
        """Bytes of an incomplete frame."""
        return self._ws.buffered if self.is_ws else self._tcp.buffered

    async def frame(self) -> Frame:
        """Return the next frame.

        Raises:
            EOFError: the server has closed.
        """
        while not self.frames:
            data = await self.read()
            if not data:
                raise EOFError(self.closed)
            self.feed(data)
        return self.frames.popleft()

    async def no_frame(self) -> None:
        """Check that nothing is on its way: the answer to a heartbeat is the next frame."""
        self.request(Operation.HEARTBEAT, seq=987654)
        assert (await self.frame()).seq == 987654

    async def heartbeat(self) -> int:
        """Return the online count of an op 3."""
        self.request(Operation.HEARTBEAT, seq=7)
        reply = await self.frame()
        assert (reply.op, reply.seq) == (Operation.HEARTBEAT_REPLY, 7), reply
        return int.from_bytes(reply.body, "big")

    async def change_room(self, room: str) -> None:
        self.request(Operation.CHANGE_ROOM, room.encode())
        assert (await self.frame()).op == Operation.CHANGE_ROOM_REPLY

    async def close(self) -> None:
        if self.writer.get_extra_info("sslcontext") is None:
            self.writer.close()
        else:
            # A TLS stream that was not read to its end waits long for the other side's goodbye.
            self.writer.transport.abort()
        with contextlib.suppress(ConnectionError, ssl_module.SSLError):
            await asyncio.wait_for(self.writer.wait_closed(), TIMEOUT_S)

    def abort(self) -> None:
        """Vanish with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


class FakeLogic:
    """A logic whose answers are a test's; what it was asked is in `calls` as (method name, request).

    A token is JSON: {"key", "mid", "room_id", "accepts", "hb": ns, "x": "err:INTERNAL" | "delay", "s": seconds}.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.hold: asyncio.Event | None = None
        """Connect waits for it."""
        self.receive: Callable[[Any], Any] | None = None
        self.rooms: dict[str, int] = {}
        self.codes = {"UNKNOWN": 2, "DEADLINE_EXCEEDED": 4, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8}
        self.codes |= {"INTERNAL": 13, "UNAVAILABLE": 14, "UNAUTHENTICATED": 16}
        self.scale = 1.0
        """Of the times in a token."""
        self.handlers: Handlers = {
            CONNECT: self._connect,
            DISCONNECT: self._noted("Disconnect", pb.DisconnectReply(has=True)),
            HEARTBEAT: self._noted("Heartbeat", pb.HeartbeatReply()),
            RECEIVE: self._receive,
            RENEW_ONLINE: self._renew,
        }

    def named(self, name: str) -> list[Any]:
        """Return the requests of one method. Any: protobuf messages."""
        return [request for called, request in self.calls if called == name]

    def _noted(self, name: str, reply: Any) -> Callable[[Any], Any]:
        def handler(request: Any) -> Any:
            self.calls.append((name, request))
            return reply

        return handler

    def _connect(self, request: Any) -> Any | Awaitable[Any]:
        self.calls.append(("Connect", request))
        token = json.loads(request.token)
        what = token.get("x", "")
        if what.startswith("err:"):
            raise PeerError("refused by the test", self.codes[what.removeprefix("err:")])
        reply = pb.ConnectReply(
            mid=token.get("mid", 0),
            key=token.get("key", ""),
            roomID=token.get("room_id", ""),
            accepts=token.get("accepts", []),
            heartbeat=round(token.get("hb", 480_000_000_000) * self.scale),
        )
        if what == "delay":
            return self._later(token["s"] * self.scale, reply)
        if self.hold is not None:
            return self._held(self.hold, reply)
        return reply

    async def _later(self, delay_s: float, reply: Any) -> Any:
        await asyncio.sleep(delay_s)
        return reply

    async def _held(self, event: asyncio.Event, reply: Any) -> Any:
        await event.wait()
        return reply

    def _receive(self, request: Any) -> Any:
        self.calls.append(("Receive", request))
        return pb.ReceiveReply() if self.receive is None else self.receive(request)

    def _renew(self, request: Any) -> Any:
        self.calls.append(("RenewOnline", request))
        return pb.OnlineReply(allRoomCount=self.rooms if request.roomCount else {})


class Rig:
    """A registry, a fake logic and a comet: `async with Rig(handshake_timeout_s=0.2) as rig:`.

    Args:
        link: How the comet reaches the logic: local, batched or unary; "" registers no logic.
        registry: Of another rig, whose logic is then used by this comet too.
        settings: Fields of CometConfig.
    """

    def __init__(self, *, link: str = "local", registry: Registry | None = None, **settings: Any) -> None:
        self.logic = FakeLogic()
        self._own = None if registry is not None else RegistryServer(RegistryConfig())
        self.registry: Registry = registry if registry is not None else self._own.local
        self._kind = link if registry is None else ""
        self._link = LinkServer(self.logic.handlers, host="127.0.0.1", port=0, what="logic grpc")
        ports = {"tcp_port": 0, "ws_port": 0, "grpc_port": 0}
        self.comet = Comet(CometConfig(**{**ports, **settings}), registry=self.registry)

    async def __aenter__(self) -> Self:
        if self._kind:
            await self._link.start()
            if self._kind != "local":
                withdraw_local(self._link.address, self.logic.handlers)
            metadata = {"weight": "10", "imctl.link": "0" if self._kind == "unary" else "1"}
            await self.registry.register(
                Instance(
                    appid="goim.logic", hostname="logic", addrs=(f"grpc://{self._link.address}",), metadata=metadata
                )
            )
        await self.comet.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.comet.stop(1.0)
        await self._link.stop(0.1)
        if self._own is not None:
            await self._own.stop(0.1)

    async def stop_logic(self) -> None:
        """End logic as a killed process does: it stays in the registry for now."""
        await self._link.stop(0.0)

    def address(self, what: str) -> str:
        found = self.comet.addresses[what]
        assert found is not None
        return found

    @property
    def tcp(self) -> str:
        return self.address("tcp")

    @property
    def ws(self) -> str:
        return self.address("ws")

    @property
    def counters(self) -> dict[str, int]:
        return self.comet.stats()["counters"]

    @property
    def drops(self) -> dict[str, int]:
        return self.comet.stats()["drops"]

    @property
    def gauges(self) -> dict[str, int]:
        return self.comet.stats()["gauges"]

    def call(self, method: Any, request: Any) -> Any:
        """Call the comet's service as job does. Any: protobuf messages."""
        return self.comet.handlers[method](request)
