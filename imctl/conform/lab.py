"""What a case works with: names nobody else has, clients, calls; all of it is cleaned up behind the case."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from imctl.conform.case import SilentError, UnexpectedError
from imctl.conform.connection import Connection
from imctl.conform.target import PARTS, Target
from imctl.conform.text import joined
from protocol.bodies import AuthToken
from protocol.operation import Operation

if TYPE_CHECKING:
    import aiohttp

    from imctl.link.methods import Method

__all__ = ["Answer", "Lab", "Wires"]

_QUIET_S = 0.15
"""How long goim's job may be late with a push that was sent before one that has arrived: it keeps no order."""


class Answer:
    """An HTTP answer: status, headers with lower-case names, body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        """Return the body as JSON, None when it is none. Any: JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Wires:
    """The HTTP session and gRPC channels that all cases of a run share: `async with Wires(target) as wires:`.

    Args:
        target: Where they lead.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.http: aiohttp.ClientSession
        self._channels: dict[str, Any] = {}  # Any: grpc.aio channels have no type of their own

    async def __aenter__(self) -> Self:
        import aiohttp

        # Without trust_env: a proxy of the environment is not for a cluster.
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
        )
        if self.target.grpc or self.target.comet_grpc:
            import grpc

            from imctl.link.limits import GO_CLIENT_OPTIONS

            for part in ("grpc", "comet_grpc"):
                address = self.target.address(part)
                if address is not None:
                    self._channels[part] = grpc.aio.insecure_channel(address, options=GO_CLIENT_OPTIONS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.close()
        for channel in self._channels.values():
            await channel.close()

    def channel(self, part: str) -> Any:
        """Return the gRPC channel of a part. Any: see grpc.aio."""
        return self._channels[part]


class Lab:
    """One case's workplace: `async with Lab(wires, number=3) as lab:`.

    Args:
        wires: Shared connections.
        seed: Makes the names; two runs at the same time must have different ones.
        wait_s: Longest wait for one answer.
    """

    def __init__(self, wires: Wires, *, seed: int, wait_s: float) -> None:
        chance = random.Random(seed)
        self.target = wires.target
        self.wait_s = wait_s
        self.tag = f"{chance.getrandbits(32):08x}"
        self.first_mid = (1 << 52) + chance.getrandbits(44) * 16
        self.first_op = (1 << 30) + chance.getrandbits(24) * 16
        self._wires = wires
        self._undo: list[Callable[[], Awaitable[object]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for undo in reversed(self._undo):
            # What is left behind expires; a clean-up that fails is no finding.
            with contextlib.suppress(Exception):
                await undo()

    # --- names ---

    def key(self, name: str) -> str:
        """Return a connection key of this case alone."""
        return f"conform-{name}-{self.tag}"

    def room(self, name: str) -> str:
        """Return a room key of this case alone."""
        return f"conform{self.tag}://{name}"

    def mid(self, number: int) -> int:
        """Return one of 16 user ids of this case alone."""
        return self.first_mid + number

    def op(self, number: int) -> int:
        """Return one of 16 operations of this case alone, so that nobody else accepts a broadcast of it."""
        return self.first_op + number

    def plain(self, text: str) -> str:
        """Return a text without what is different in each run."""
        for number in range(16):
            text = text.replace(str(self.first_op + number), f"OP{number}")
            text = text.replace(str(self.first_mid + number), f"MID{number}")
        return text.replace(f"-{self.tag}", "").replace(self.tag, "")

    def seen(self, texts: Sequence[str]) -> str:
        """Return what came, as the text to compare."""
        return self.plain(joined(texts))

    def later(self, undo: Callable[[], Awaitable[object]]) -> None:
        """Have something done when the case is over, the latest first."""
        self._undo.append(undo)

    async def pause(self, seconds: float) -> None:
        """Wait where only time tells."""
        await asyncio.sleep(seconds)

    # --- comet ---

    async def connect(self, part: str, *, limit: int = 1 << 16) -> Connection:
        """Connect to comet by `tcp` or `ws`; nothing is sent."""
        address = self.target.address(part)
        assert address is not None, f"the case does not say that it needs {part}"
        connection = await Connection.open(address, part=part, wait_s=self.wait_s, limit=limit)
        self.later(connection.close)
        return connection

    async def login(self, part: str, name: str = "a", **token: Any) -> Connection:
        """Connect and authenticate with a key of this case; Any: fields of AuthToken.

        Raises:
            UnexpectedError: it was refused; cases about that use connect().
        """
        fields: dict[str, Any] = {"mid": self.mid(0), "key": self.key(name), **token}
        connection = await self.connect(part)
        if connection.is_ws:
            head = await connection.upgrade()
            if not head.startswith("HTTP/1.1 101 "):
                raise UnexpectedError(f"upgrade was answered with: {head}")
        connection.request(Operation.AUTH, AuthToken(**fields).serialize(), seq=1)
        reply = await connection.take()
        if reply != ["op 8 seq 1"]:
            raise UnexpectedError(f"auth was answered with: {joined(reply)}")
        return connection

    async def rest(self, connection: Connection) -> list[str]:
        """Return what else comes, once nothing can be on its way any more."""
        await asyncio.sleep(_QUIET_S)
        return await connection.settle()

    # --- logic over HTTP, discovery ---

    async def http(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        part: str = "http",
        wait_s: float | None = None,
    ) -> Answer:
        """Send one request, its target as it is, and return the answer; redirects are not followed."""
        import aiohttp
        from yarl import URL

        wait_s = self.wait_s if wait_s is None else wait_s
        url = URL(f"http://{self.target.address(part)}{target}", encoded=True)
        try:
            async with asyncio.timeout(wait_s):
                async with self._wires.http.request(
                    method, url, data=body or None, headers=headers, allow_redirects=False
                ) as response:
                    data = await response.read()
                    return Answer(response.status, {name.lower(): v for name, v in response.headers.items()}, data)
        except TimeoutError as exc:
            raise SilentError(part, "", wait_s) from exc
        except aiohttp.ClientError as exc:
            raise ConnectionError(f"{PARTS[part]}: {str(exc) or type(exc).__name__}") from exc

    async def push(self, path: str, body: bytes, **params: Any) -> None:
        """Push over logic; Any: what stands in a query, lists repeat their name.

        Raises:
            UnexpectedError: logic did not take it.
        """
        answer = await self.http("POST", f"/goim/push/{path}?{urlencode(params, doseq=True, quote_via=quote)}", body)
        if (answer.status, answer.json()) != (200, {"code": 0, "message": ""}):
            raise UnexpectedError(f"push/{path} was answered with {answer.status} {answer.body[:200]!r}")

    # --- gRPC ---

    async def call(self, method: Method, request: Any, *, part: str = "grpc", gzip: bool = False) -> tuple[str, Any]:
        """Call a method; return status and text such as `UNKNOWN rpc pushmsg arg error`, and the reply or None.

        Any: protobuf messages.
        """
        status, data = await self.call_raw(method.path, request.SerializeToString(), part=part, gzip=gzip)
        return status, None if data is None else method.reply.FromString(data)

    async def call_raw(
        self, path: str, request: bytes, *, part: str = "grpc", gzip: bool = False
    ) -> tuple[str, bytes | None]:
        """Call a path with any bytes; as call()."""
        import grpc

        stub = self._wires.channel(part).unary_unary(path)
        compression = grpc.Compression.Gzip if gzip else None
        try:
            data: bytes = await stub(request, timeout=self.wait_s, compression=compression, wait_for_ready=True)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise SilentError(part, "", self.wait_s) from exc
            return f"{exc.code().name} {exc.details() or ''}".strip(), None
        return "OK", data
