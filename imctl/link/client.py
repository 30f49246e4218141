"""Peers over the network: one batched stream, or a unary call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from imctl.link.contract import Peer, PeerError, PeerGoneError, PeerUnavailableError
from imctl.link.limits import CLIENT_OPTIONS, MAX_MESSAGE_BYTES, MAX_WAITING, OUTBOX_BYTES
from imctl.link.local import LocalPeer, local_handlers
from imctl.link.methods import OPEN_PATH, Method
from imctl.link.outbox import Outbox
from imctl.link.unary import UnaryPeer
from imctl.link.waiting import INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE, Waiting, error_of, failed
from protocol.pb import link

__all__ = ["StreamPeer", "open_peer"]

logger = logging.getLogger(__name__)

_FIRST_BACKOFF_S = 0.02
_MAX_BACKOFF_S = 3.0
_CONNECT_TIMEOUT_S = 3.0
# A caller is made to wait for the next attempt when it is no farther away than this;
# when it is, a call brings it forward, but so long after the last one.
_WORTH_WAITING_S = 0.1
# A batch of so many says that many callers are at work: the next one follows after a
# pause, since under load the batches, not the calls in them, are what costs.
_BUSY_CALLS = 4
_PAUSE_S = 0.002
# Longest wait of calls for the answer to the batch before theirs.
_GATHER_S = 0.002
# Whether anybody listens at an address is known at once, or not at all.
_LOOK_S = 0.2


async def _is_refused(address: str) -> bool:
    """Whether nobody listens at an address; False when its machine does not say so."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_LOOK_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):  # TimeoutError too
        return False
    writer.close()
    return False


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class StreamPeer:
    """A peer behind one batched stream, which is opened again whenever it ends.

    Calls fail with PeerGoneError where nobody listens at the address any more.
    A call made while an attempt to connect is under way waits for its outcome;
    right after one that failed it fails at once, and later it brings the next
    attempt forward: a peer that is back is found when it is needed, not when
    the back-off ends. When the stream ends, all calls without a reply fail.
    Needs a running event loop.

    Args:
        name: Its hostname in the registry.
        address: `host:port`.
        timeout_s: Time limit of each call.
    """

    def __init__(self, name: str, address: str, *, timeout_s: float = 5.0) -> None:
        self.name = name
        self.address = address
        self._timeout_s = timeout_s
        self._outbox = Outbox()
        self._waiting = Waiting(f"{name} ({address})", timeout_s, self._forget_late)
        # Why calls fail at once, "" while they are taken; and how.
        self._refusal = ""
        self._kind: type[PeerUnavailableError] = PeerUnavailableError
        self._connected = False
        self._fresh = True
        self._silent = False
        self.reconnects = 0
        self.opened = 0
        """Times that the stream has come up."""
        self._answered: asyncio.Future[None] | None = None
        self._tried_s = 0.0
        self._needed = asyncio.Event()
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"link to {name}")

    @property
    def available(self) -> bool:
        """Whether a call has a chance now: connected or connecting for the first time, and not silent.

        A peer is silent from a call that ran into its time limit to the next reply, late ones included.
        """
        return (self._connected or self._fresh) and not self._silent

    @property
    def connected(self) -> bool:
        """Whether the stream is open."""
        return self._connected

    def stats(self) -> dict[str, int]:
        """Return {"calls", "batches", "waiting", "reconnects"}; calls / batches is what shares a write."""
        return {
            "calls": self._waiting.last_id,
            "batches": self._outbox.batches,
            "waiting": len(self._waiting.entries),
            "reconnects": self.reconnects,
        }

    def call(self, method: Method, request: Any) -> asyncio.Future[Any]:
        """See Peer.call; a full outbox fails with PeerError and code RESOURCE_EXHAUSTED."""
        if self._refusal and not self._bring_forward():
            return failed(self._kind(self._refusal, UNAVAILABLE))
        data: bytes = request.SerializeToString()
        outbox, waiting = self._outbox, self._waiting
        if len(waiting.entries) >= MAX_WAITING or outbox.waiting_bytes >= OUTBOX_BYTES:
            return failed(PeerError(f"too many calls wait for {self.name}", RESOURCE_EXHAUSTED))
        if len(data) > MAX_MESSAGE_BYTES:
            text = f"request of {len(data)} bytes is over the limit of {MAX_MESSAGE_BYTES} bytes"
            return failed(PeerError(text, RESOURCE_EXHAUSTED))
        future = waiting.open(method.reply.FromString)
        outbox.add_call(waiting.last_id, method.number, data)
        return future

    async def close(self) -> None:
        """See Peer.close."""
        self._closed = True
        self._refusal = f"the link to {self.name} is closed"
        self._kind = PeerUnavailableError
        self._connected = self._fresh = False
        self._fail_waiting(self._refusal)
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            self._refusal = ""
            reason = await self._session()
            self._fresh = False
            was_connected, self._connected = self._connected, False
            self._kind = PeerGoneError if await _is_refused(self.address) else PeerUnavailableError
            if was_connected:
                backoff_s = _FIRST_BACKOFF_S
                logger.info("link to %s (%s) ended: %s", self.name, self.address, reason)
            self._fail_waiting(reason)
            self._tried_s = asyncio.get_running_loop().time()
            self._needed.clear()
            if backoff_s > _WORTH_WAITING_S:
                self._refusal = reason
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._needed.wait()
            self.reconnects += 1
            backoff_s = min(backoff_s * 2, _MAX_BACKOFF_S)

    def _bring_forward(self) -> bool:
        """Try to connect now, for a call that wants to; False when the last attempt is too fresh."""
        if self._closed or asyncio.get_running_loop().time() - self._tried_s < _WORTH_WAITING_S:
            return False
        self._refusal = ""
        self._needed.set()
        return True

    async def _session(self) -> str:
        """Open the stream and carry calls and replies until it ends; return why it did."""
        channel = grpc.aio.insecure_channel(self.address, options=CLIENT_OPTIONS)
        writer: asyncio.Task[None] | None = None
        try:
            opener = channel.stream_stream(
                OPEN_PATH,
                request_serializer=link.Batch.SerializeToString,
                response_deserializer=link.Batch.FromString,
            )
            stream: Any = opener()
            async with asyncio.timeout(min(self._timeout_s, _CONNECT_TIMEOUT_S)):
                await stream.wait_for_connection()
            self._connected = True
            self.opened += 1
            self._silent = False
            writer = asyncio.get_running_loop().create_task(self._write(stream), name=f"link writer to {self.name}")
            while (batch := await stream.read()) is not grpc.aio.EOF:
                self._take_replies(batch)
            return f"{self.name} ({self.address}) has ended the stream"
        except grpc.aio.AioRpcError as exc:
            return f"{self.name} ({self.address}): {exc.code().name.lower()}: {exc.details()}"
        except TimeoutError:
            return f"{self.name} ({self.address}) did not answer the attempt to connect"
        except Exception as exc:  # the link must come back whatever grpc raises
            logger.warning("link to %s (%s) failed", self.name, self.address, exc_info=True)
            return f"{self.name} ({self.address}): {exc}"
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.wait((writer,))
            await channel.close()

    async def _write(self, stream: Any) -> None:
        """Write batches until the stream ends; its reader then tells why."""
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            while True:
                batch = await self._outbox.take()
                await stream.write(batch)
                if len(batch.calls) >= _BUSY_CALLS:
                    await asyncio.sleep(_PAUSE_S)
                elif self._waiting.entries:
                    await self._gather()

    async def _gather(self) -> None:
        """Let calls gather until the batch under way is answered, but not for long.

        Writing a batch costs gRPC about 300 us on both sides together, however
        little is in it. A caller that is alone never waits here: its next call
        comes after the answer.
        """
        loop = asyncio.get_running_loop()
        self._answered = answered = loop.create_future()
        timer = loop.call_later(_GATHER_S, _set, answered)
        try:
            await answered
        finally:
            timer.cancel()
            self._answered = None

    def _take_replies(self, batch: Any) -> None:
        entries = self._waiting.entries
        self._silent = False
        if self._answered is not None:
            _set(self._answered)
        for reply in batch.replies:
            entry = entries.pop(reply.id, None)
            if entry is None:
                continue  # it came too late
            future, parse = entry
            if future.done():
                continue  # the caller gave up
            if reply.code:
                future.set_exception(error_of(reply.code, reply.details))
                continue
            try:
                message = parse(reply.reply)
            except DecodeError as exc:
                future.set_exception(PeerError(f"bad reply of {self.name}: {exc}", INTERNAL))
            else:
                future.set_result(message)

    def _forget_late(self) -> None:
        self._silent = True
        self._outbox.keep_calls(self._waiting.entries)

    def _fail_waiting(self, reason: str) -> None:
        self._outbox.clear()
        self._waiting.fail_all(UNAVAILABLE, reason, self._kind)


def open_peer(name: str, address: str, *, batched: bool, timeout_s: float = 5.0) -> Peer:
    """Return a peer for a node; connecting goes on in the background.

    Args:
        name: Its hostname in the registry.
        address: `host:port` of its gRPC server. When a LinkServer of this process and
            event loop has it, calls go to its handlers directly.
        batched: Whether it serves the batched link; else every call is a unary one.
        timeout_s: Time limit of each call.
    """
    handlers = local_handlers(address)
    if handlers is not None:
        return LocalPeer(name, handlers, address=address, timeout_s=timeout_s)
    if batched:
        return StreamPeer(name, address, timeout_s=timeout_s)
    return UnaryPeer(name, address, timeout_s=timeout_s)
