"""A goim client for people and tests: one connection, its heartbeats, and the frames it gets.

    async with await Client.connect_tcp("127.0.0.1", 3101, AuthToken(mid=1, accepts=(1000,))) as client:
        async for frame in client:
            ...

Received frames wait in a queue of limited length. When it is full the client
stops reading (what one read brought is still queued), so that the server's
queue fills up instead: nothing is lost on this side, and a reply behind it
waits too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

from protocol.aio.direction import Direction
from protocol.aio.errors import AuthRefusedError, ConnectError, ConnectionClosedError, ReplyTimeoutError
from protocol.aio.heartbeats import Heartbeats
from protocol.aio.tcp import FrameProtocol
from protocol.aio.websocket import WebSocketProtocol
from protocol.bodies import AuthToken, parse_online, serialize_operations
from protocol.errors import BodyError, LocalError, RemoteError, UpgradeError
from protocol.frame import Frame, pack_frame
from protocol.operation import Operation, operation_name, reply_operation

__all__ = ["Client"]

_HEARTBEAT_S = 30.0  # as goim's browser client
_QUEUE_FRAMES = 1000

_Answer = asyncio.Future[Frame]
_Made = Callable[["Client"], FrameProtocol]
_Observe = Callable[[Direction, Frame], None]


class Client:
    """An authenticated connection to a comet; made by connect_tcp() and connect_ws()."""

    def __init__(
        self, *, timeout_s: float, heartbeat_s: float | None, queue_frames: int, observe: _Observe | None = None
    ) -> None:
        self.online: int | None = None
        """Members of the client's room, as the last heartbeat was told; None before the first."""
        self.address = ""
        self._timeout_s = timeout_s
        self._queue_frames = queue_frames
        self._observe = observe
        self._frames: deque[Frame] = deque()
        self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self._answers: dict[tuple[int, int], _Answer] = {}
        self._seq = 0
        self._closed: RemoteError | None = None
        self._is_closed = False
        self._protocol: FrameProtocol
        self._heartbeats = Heartbeats(
            heartbeat_s,
            send=self._send_heartbeat,
            is_reading=lambda: not self._paused,
            give_up=lambda error: self._protocol.fail(error),
        )

    @classmethod
    async def connect_tcp(
        cls,
        host: str,
        port: int,
        token: AuthToken | bytes,
        *,
        ssl: ssl_module.SSLContext | None = None,
        timeout_s: float = 5.0,
        heartbeat_s: float | None = _HEARTBEAT_S,
        queue_frames: int = _QUEUE_FRAMES,
        observe: _Observe | None = None,
    ) -> Client:
        """Connect over TCP and authenticate.

        Args:
            host: Of a comet.
            port: Its TCP port, 3101 by default in goim.
            token: What logic is told, or the bytes of an op 7 body as they are.
            ssl: For TLS over TCP.
            timeout_s: Limit for connecting, and later for each reply.
            heartbeat_s: Time between heartbeats; None sends none by itself.
            queue_frames: Received frames that may wait before the client stops reading.
            observe: Called with every frame, from op 7 on, as it is sent or received: answers and heartbeats too,
                and those inside op 9 one by one. It must not raise.

        Raises:
            ConnectError: nobody listens there, or no connection within the time limit.
            AuthRefusedError: the server closed before its auth reply.
            ReplyTimeoutError: no auth reply within the time limit.
        """
        client = cls(timeout_s=timeout_s, heartbeat_s=heartbeat_s, queue_frames=queue_frames, observe=observe)
        await client._connect(host, port, token, ssl, lambda c: FrameProtocol(c._received, c._lost))
        return client

    @classmethod
    async def connect_ws(
        cls,
        host: str,
        port: int,
        token: AuthToken | bytes,
        *,
        ssl: ssl_module.SSLContext | None = None,
        cookie: str = "",
        timeout_s: float = 5.0,
        heartbeat_s: float | None = _HEARTBEAT_S,
        queue_frames: int = _QUEUE_FRAMES,
        observe: _Observe | None = None,
    ) -> Client:
        """Connect over WebSocket (path /sub) and authenticate; with `ssl` over WSS.

        `cookie` is handed to logic. Other arguments and errors as connect_tcp.

        Raises:
            UpgradeError: the server's answer to the upgrade is not acceptable, or it closed without one.
        """
        client = cls(timeout_s=timeout_s, heartbeat_s=heartbeat_s, queue_frames=queue_frames, observe=observe)
        header = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        await client._connect(
            host, port, token, ssl, lambda c: WebSocketProtocol(c._received, c._lost, host=header, cookie=cookie)
        )
        return client

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Client:
        return self

    async def __anext__(self) -> Frame:
        """Return the next frame; the end comes when this side has closed.

        Raises:
            ConnectionClosedError: the server has closed, and every frame before that was taken.
        """
        try:
            return await self.receive()
        except ConnectionClosedError:
            if self._closed is None:
                raise StopAsyncIteration from None
            raise

    @property
    def queued(self) -> int:
        """Frames received and not yet taken."""
        return len(self._frames)

    async def receive(self, timeout_s: float | None = None) -> Frame:
        """Return the next frame that is no answer to a request.

        Args:
            timeout_s: Limit for the wait; None for none.

        Raises:
            TimeoutError: no frame within the time limit.
            ConnectionClosedError: closed, and every frame before that was taken.
            LocalError: somebody else is waiting for a frame already.
        """
        while not self._frames:
            if self._is_closed:
                raise self._closed_error()
            if self._reader is not None:
                raise LocalError("another task is waiting for a frame of this client")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._reader
            finally:
                self._reader = None
        frame = self._frames.popleft()
        # Half, so that a full queue does not stop and start the transport for each frame.
        if self._paused and len(self._frames) <= self._queue_frames // 2:
            self._paused = False
            self._heartbeats.heard = True
            self._protocol.resume_reading()
        return frame

    async def send(self, op: int, body: bytes = b"", *, ver: int = 1, seq: int | None = None) -> int:
        """Send a frame and return its sequence; what comes back is received like any frame.

        Raises:
            ConnectionClosedError: the connection is closed.
            ReplyTimeoutError: the server does not read; the frame is sent once it does.
            LocalError: op, ver or seq does not fit the header.
        """
        if self._is_closed:
            raise self._closed_error()
        if seq is None:
            seq = self._next_seq()
        self._write(op, body, ver=ver, seq=seq)
        await self._drain(operation_name(op))
        return seq

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, over WebSocket as the payload of one message; `observe` is not told.

        Raises:
            ConnectionClosedError, ReplyTimeoutError: as send.
        """
        if self._is_closed:
            raise self._closed_error()
        self._protocol.write(data)
        await self._drain("bytes")

    async def request(self, op: int, body: bytes = b"") -> Frame:
        """Send a frame and return the server's answer to it, known by operation and sequence.

        Raises:
            ConnectionClosedError: the connection is closed before the answer.
            ReplyTimeoutError: no answer within the client's time limit.
        """
        seq = self._next_seq()
        which = (reply_operation(op), seq)
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._answers[which] = answer
        try:
            await self.send(op, body, seq=seq)
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except ReplyTimeoutError:
            raise
        except TimeoutError as exc:
            note = f"{len(self._frames)} received frames wait to be taken" if self._paused else ""
            raise ReplyTimeoutError(operation_name(op), self._timeout_s, note) from exc
        finally:
            self._answers.pop(which, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen, also when it is send() that failed

    async def heartbeat(self) -> int:
        """Send a heartbeat and return the room's online count.

        Raises:
            BodyError: the answer has no count.
        """
        self.online = parse_online((await self.request(Operation.HEARTBEAT)).body)
        return self.online

    async def change_room(self, room: str) -> None:
        """Leave the room and join another, such as `live://1`; "" only leaves. A comet does not say if it failed."""
        await self.request(Operation.CHANGE_ROOM, room.encode())

    async def subscribe(self, operations: Sequence[int]) -> None:
        """Accept further operations."""
        await self.request(Operation.SUB, serialize_operations(tuple(operations)))

    async def unsubscribe(self, operations: Sequence[int]) -> None:
        """Accept some operations no more."""
        await self.request(Operation.UNSUB, serialize_operations(tuple(operations)))

    async def close(self) -> None:
        """Close; frames received before can still be taken. Safe to call twice."""
        self._heartbeats.stop()
        await self._protocol.close(self._timeout_s)

    # --- sending ---

    def _write(self, op: int, body: bytes = b"", *, ver: int = 1, seq: int) -> None:
        self._protocol.write(pack_frame(op, body, ver=ver, seq=seq))
        if self._observe is not None:
            self._observe(Direction.SENT, Frame(ver, op, seq, body))

    def _send_heartbeat(self) -> int:
        seq = self._next_seq()
        self._write(Operation.HEARTBEAT, seq=seq)
        return seq

    async def _drain(self, what: str) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._protocol.drain()
        except TimeoutError as exc:
            raise ReplyTimeoutError(what, self._timeout_s, "the server does not read") from exc

    # --- connecting ---

    async def _connect(
        self, host: str, port: int, token: AuthToken | bytes, ssl: ssl_module.SSLContext | None, make: _Made
    ) -> None:
        self.address = f"{host}:{port}"
        loop = asyncio.get_running_loop()
        stage = "connect"
        try:
            async with asyncio.timeout(self._timeout_s):
                _, self._protocol = await loop.create_connection(lambda: make(self), host, port, ssl=ssl)
                stage = "upgrade"
                await self._upgrade()
                stage = "auth"
                await self._authenticate(token)
        except TimeoutError as exc:
            if stage == "connect":
                raise ConnectError(self.address, f"no connection within {self._timeout_s:g} s") from exc
            await self._abandon()
            raise ReplyTimeoutError(stage, self._timeout_s) from exc
        except OSError as exc:
            await self._abandon()
            raise ConnectError(self.address, exc.strerror or str(exc)) from exc
        except BaseException:
            await self._abandon()
            raise
        if not self._is_closed:
            self._heartbeats.start()

    async def _upgrade(self) -> None:
        try:
            await asyncio.shield(self._protocol.ready)
        except ConnectionClosedError as exc:
            raise UpgradeError(f"no answer to the upgrade: {exc}") from exc

    async def _authenticate(self, token: AuthToken | bytes) -> None:
        seq = self._next_seq()
        answer: _Answer = asyncio.get_running_loop().create_future()
        which = (int(Operation.AUTH_REPLY), seq)
        self._answers[which] = answer
        body = token.serialize() if isinstance(token, AuthToken) else token
        try:
            self._write(Operation.AUTH, body, seq=seq)
            await answer
        except ConnectionClosedError as exc:
            if self._closed is not None and not isinstance(self._closed, ConnectionClosedError):
                raise self._closed from None  # what came is not goim's wire
            raise AuthRefusedError(exc.why) from exc
        finally:
            self._answers.pop(which, None)

    async def _abandon(self) -> None:
        if hasattr(self, "_protocol"):
            self._protocol.fail(ConnectionClosedError("by this side"))
            await self._protocol.closed

    # --- what the protocol calls ---

    def _received(self, frame: Frame) -> None:
        self._heartbeats.heard = True
        if self._observe is not None:
            self._observe(Direction.RECEIVED, frame)
        which = (frame.op, frame.seq)
        answer = self._answers.get(which)
        if answer is not None:
            if not answer.done():
                answer.set_result(frame)
            return
        if self._heartbeats.take(frame):
            with contextlib.suppress(BodyError):
                self.online = parse_online(frame.body)
            return
        self._frames.append(frame)
        if not self._paused and len(self._frames) >= self._queue_frames:
            self._paused = True
            self._protocol.pause_reading()
        self._wake()

    def _lost(self, error: RemoteError | None) -> None:
        self._is_closed = True
        self._closed = error
        self._heartbeats.stop()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._closed_error())
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _closed_error(self) -> ConnectionClosedError:
        if isinstance(self._closed, ConnectionClosedError):
            return ConnectionClosedError(self._closed.why)
        return ConnectionClosedError(str(self._closed) if self._closed is not None else "by this side")

    def _next_seq(self) -> int:
        # From 1: pushes have 0, so no push is taken for an answer.
        self._seq = self._seq % (2**31 - 1) + 1
        return self._seq
