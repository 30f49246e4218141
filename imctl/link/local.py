"""Peers in this process: a call is a function call, nothing is serialized."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from imctl.link.contract import Handlers, PeerError, PeerUnavailableError
from imctl.link.limits import MAX_IN_FLIGHT
from imctl.link.methods import Method
from imctl.link.waiting import RESOURCE_EXHAUSTED, UNAVAILABLE, UNKNOWN, Waiting, failed

__all__ = ["LocalPeer", "local_handlers", "publish_local", "withdraw_local"]

_CLOSE_S = 1.0

# A future belongs to one loop, so handlers are only offered within their own.
_published: dict[str, tuple[Handlers, asyncio.AbstractEventLoop]] = {}


def publish_local(address: str, handlers: Handlers) -> None:
    """Let clients in this event loop that dial `address` call `handlers` directly."""
    _published[address] = (handlers, asyncio.get_running_loop())


def withdraw_local(address: str, handlers: Handlers) -> None:
    """Take publish_local() back, unless the address has other handlers by now."""
    published = _published.get(address)
    if published is not None and published[0] is handlers:
        del _published[address]


def local_handlers(address: str) -> Handlers | None:
    """Return what was published under `address` in the running event loop."""
    published = _published.get(address)
    if published is None or published[1] is not asyncio.get_running_loop():
        return None
    return published[0]


class LocalPeer:
    """A peer whose handlers are called directly, with the caller's own message object.

    Args:
        name: Its hostname in the registry.
        handlers: What it serves.
        address: Where the handlers are published; when they no longer are, calls fail. "" = they are always there.
        timeout_s: Time limit of a call whose handler has to wait.
    """

    def __init__(self, name: str, handlers: Handlers, *, address: str = "", timeout_s: float = 5.0) -> None:
        self.name = name
        self.address = address
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._waiting = Waiting(name, timeout_s)
        self._tasks: set[asyncio.Future[Any]] = set()
        self._calls = 0
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether a call has a chance now."""
        return not self._closed and (not self.address or local_handlers(self.address) is self._handlers)

    def stats(self) -> dict[str, int]:
        """Return {"calls", "batches", "waiting", "reconnects"} as for a batched peer; there are no batches."""
        return {"calls": self._calls, "batches": 0, "waiting": len(self._tasks), "reconnects": 0}

    def call(self, method: Method, request: Any) -> asyncio.Future[Any]:
        """See Peer.call."""
        if not self.available:
            return failed(PeerUnavailableError(f"{self.name} has stopped", UNAVAILABLE))
        self._calls += 1
        handler = self._handlers.get(method)
        if handler is None:
            return failed(PeerError(f"{self.name} does not serve {method.path}", 12))  # UNIMPLEMENTED
        if len(self._tasks) >= MAX_IN_FLIGHT:
            return failed(PeerError(f"too many calls wait for {self.name}", RESOURCE_EXHAUSTED))
        try:
            result = handler(request)
        except PeerError as exc:
            return failed(exc)
        except Exception as exc:  # as over the network, where the handler's text is all that comes back
            return failed(PeerError(str(exc), UNKNOWN))
        if type(result) is method.reply:
            future = self._loop.create_future()
            future.set_result(result)
            return future
        return self._later(method, result)

    async def close(self) -> None:
        """See Peer.close; handlers that are still at work get a second to finish."""
        self._closed = True
        self._waiting.fail_all(UNAVAILABLE, f"the link to {self.name} is closed")
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _later(self, method: Method, result: Any) -> asyncio.Future[Any]:
        future = self._waiting.open(method.reply.FromString)
        task = asyncio.ensure_future(result, loop=self._loop)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, self._waiting.last_id))
        return future

    def _done(self, call_id: int, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        entry = self._waiting.entries.pop(call_id, None)
        if entry is None or entry[0].done():
            return
        if task.cancelled():
            entry[0].set_exception(PeerUnavailableError(f"{self.name} has stopped", UNAVAILABLE))
        elif error is None:
            entry[0].set_result(task.result())
        elif isinstance(error, PeerError):
            entry[0].set_exception(error)
        else:
            entry[0].set_exception(PeerError(str(error), UNKNOWN))
