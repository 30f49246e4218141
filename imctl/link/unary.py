"""A peer of another make, such as a Go node: each call is one unary gRPC call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError

from imctl.link.contract import PeerError, PeerUnavailableError
from imctl.link.limits import GO_CLIENT_OPTIONS, MAX_IN_FLIGHT, MAX_MESSAGE_BYTES
from imctl.link.methods import Method
from imctl.link.waiting import INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE, error_of, failed

__all__ = ["UnaryPeer"]

_Stub = Callable[..., Awaitable[bytes]]


class UnaryPeer:
    """A peer behind goim's own gRPC services. Calls have no order among each other.

    Args:
        name: Its hostname in the registry.
        address: `host:port`.
        timeout_s: Time limit of each call.
    """

    def __init__(self, name: str, address: str, *, timeout_s: float = 5.0) -> None:
        self.name = name
        self.address = address
        self._timeout_s = timeout_s
        self._channel = grpc.aio.insecure_channel(address, options=GO_CLIENT_OPTIONS)
        # Connect now, so that `available` says something before the first call.
        self._channel.get_state(try_to_connect=True)
        self._stubs: dict[Method, _Stub] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calls = 0
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether a call has a chance now."""
        if self._closed:
            return False
        return self._channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def stats(self) -> dict[str, int]:
        """Return {"calls", "batches", "waiting", "reconnects"} as for a batched peer; every call is its own batch."""
        return {"calls": self._calls, "batches": self._calls, "waiting": len(self._tasks), "reconnects": 0}

    def call(self, method: Method, request: Any) -> asyncio.Future[Any]:
        """See Peer.call."""
        if self._closed:
            return failed(PeerUnavailableError(f"the link to {self.name} is closed", UNAVAILABLE))
        if len(self._tasks) >= MAX_IN_FLIGHT:
            return failed(PeerError(f"too many calls wait for {self.name}", RESOURCE_EXHAUSTED))
        data: bytes = request.SerializeToString()
        if len(data) > MAX_MESSAGE_BYTES:
            text = f"request of {len(data)} bytes is over the limit of {MAX_MESSAGE_BYTES} bytes"
            return failed(PeerError(text, RESOURCE_EXHAUSTED))
        self._calls += 1
        task = asyncio.get_running_loop().create_task(self._invoke(method, data), name=f"call to {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """See Peer.close."""
        self._closed = True
        await self._channel.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _invoke(self, method: Method, data: bytes) -> Any:
        stub = self._stubs.get(method)
        if stub is None:
            stub = self._stubs[method] = cast(_Stub, self._channel.unary_unary(method.path))
        try:
            reply = await stub(data, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            raise error_of(exc.code().value[0], exc.details() or "") from exc
        except (asyncio.CancelledError, grpc.aio.UsageError) as exc:
            if not self._closed:
                raise
            raise PeerUnavailableError(f"the link to {self.name} is closed", UNAVAILABLE) from exc
        try:
            return method.reply.FromString(reply)
        except DecodeError as exc:
            raise PeerError(f"bad reply of {self.name}: {exc}", INTERNAL) from exc
