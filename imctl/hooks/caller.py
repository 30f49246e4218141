"""One method of one hook, called under a time limit, counted, and checked for what it returns."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from imctl.errors import ImctlError
from imctl.hooks.contract import HookError

__all__ = ["HookFailedError", "Point", "PointStats", "Threads"]

_T = TypeVar("_T")

_MAX_UNDER_WAY = 1000
"""Calls of one method at a time; those that were given up and go on all the same are among them."""


class HookFailedError(ImctlError):
    """A hook gave no answer that can be used.

    Args:
        point: `NAME.method`.
        reason: `timeout`, `busy`, `error`, `wrong_type`, or `refused` for a HookError of its own.
        detail: What happened.
    """

    def __init__(self, point: str, reason: str, detail: str) -> None:
        super().__init__(f"hook {point}: {detail}")
        self.point = point
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class PointStats:
    """What the calls of one method came to; times in ns, from the call to its answer or its limit."""

    calls: int = 0
    failed: int = 0
    timeouts: int = 0
    under_way: int = 0
    total_ns: int = 0
    longest_ns: int = 0


class Point(Generic[_T]):
    """One method of one hook.

    A coroutine function runs in the event loop and must not block it; a plain
    function runs in a thread. A call over its limit is cancelled and no longer
    waited for, even when it does not end.

    Args:
        name: `NAME.method`, for errors.
        function: The bound method.
        reply_type: What it has to return.
        threads: Where plain functions run.
    """

    def __init__(
        self, name: str, function: Callable[[Any], Any], reply_type: type[_T] | tuple[type, ...], threads: Threads
    ) -> None:
        self.name = name
        self.stats = PointStats()
        self._function = function
        self._reply_type = reply_type
        self._threads = threads
        self._is_async = inspect.iscoroutinefunction(function)
        self._left: set[asyncio.Future[Any]] = set()

    async def call(self, event: object, deadline_s: float) -> _T:
        """Return the hook's reply.

        Args:
            event: What it is asked.
            deadline_s: Until when to wait, in the loop's time.

        Raises:
            HookFailedError: it took too long, raised, or returned something else.
        """
        stats = self.stats
        if stats.under_way >= _MAX_UNDER_WAY:
            stats.failed += 1
            raise HookFailedError(self.name, "busy", f"{stats.under_way} calls are under way already")
        begin_ns = time.monotonic_ns()
        stats.calls += 1
        try:
            reply = await self._answer(event, deadline_s)
        except BaseException:
            stats.failed += 1
            raise
        finally:
            took_ns = time.monotonic_ns() - begin_ns
            stats.total_ns += took_ns
            stats.longest_ns = max(stats.longest_ns, took_ns)
        return reply

    async def _answer(self, event: object, deadline_s: float) -> _T:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        work: asyncio.Future[Any] = (
            loop.create_task(self._function(event), name=f"hook {self.name}")
            if self._is_async
            else asyncio.ensure_future(loop.run_in_executor(self._threads.executor, self._function, event))
        )
        self.stats.under_way += 1
        self._left.add(work)
        work.add_done_callback(self._ended)
        try:
            await asyncio.wait((work,), timeout=max(deadline_s - begin_s, 0.0))
        except asyncio.CancelledError:
            work.cancel()
            raise
        if not work.done():
            work.cancel()
            self.stats.timeouts += 1
            raise HookFailedError(self.name, "timeout", f"no answer within {deadline_s - begin_s:.3g} s")
        if work.cancelled():
            raise HookFailedError(self.name, "error", "it cancelled itself")
        error = work.exception()
        if isinstance(error, HookError):
            raise HookFailedError(self.name, "refused", error.message) from error
        if error is not None:
            raise HookFailedError(self.name, "error", f"{type(error).__name__}: {error}") from error
        reply = work.result()
        if not isinstance(reply, self._reply_type):
            raise HookFailedError(
                self.name, "wrong_type", f"returned {type(reply).__name__}; expected {self._wanted()}"
            )
        return reply  # type: ignore[return-value]  # a tuple of types stands for their union

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self.stats.under_way -= 1
        self._left.discard(work)
        if not work.cancelled():
            work.exception()  # seen: one that fails after its limit has been told as a timeout

    def _wanted(self) -> str:
        types = self._reply_type if isinstance(self._reply_type, tuple) else (self._reply_type,)
        return " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)


class Threads:
    """The threads of one hook's plain functions, made when the first is called; a hung one holds up its hook alone."""

    def __init__(self, name: str, count: int = 8) -> None:
        self._name = name
        self._count = count
        self._executor: ThreadPoolExecutor | None = None

    @property
    def executor(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._count, thread_name_prefix=f"hook {self._name}")
        return self._executor

    def close(self) -> None:
        """Let them end; what is under way is not waited for."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
