"""One method of one hook, called under a time limit, counted, and checked for what it returns."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from imctl.errors import ImctlError
from imctl.hooks.contract import HookError
from imctl.hooks.threads import Outcome, Threads

__all__ = ["HookFailedError", "Point", "PointStats"]

_T = TypeVar("_T")

_MAX_UNDER_WAY = 1000
"""Calls of one method at a time: those that wait for a thread, and those that were given up and go on all the same,
are among them."""


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
    """What the calls of one method came to; times in ns, from the call to its answer or its limit.

    `under_way` counts calls until they have ended, whether or not anybody still waits for them.
    """

    calls: int = 0
    failed: int = 0
    timeouts: int = 0
    under_way: int = 0
    total_ns: int = 0
    longest_ns: int = 0


class Point(Generic[_T]):
    """One method of one hook.

    A coroutine function runs in the event loop and must not block it; a plain
    function runs in a thread. A call over its limit is no longer waited for,
    even when it does not end: a coroutine is cancelled, a function that waits
    for a thread is not begun, and one that runs goes on.

    Whatever a hook raises is a failure of that call and nothing else, SystemExit included.

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
        self._left: set[asyncio.Future[Outcome]] = set()

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
        if not self._is_async and self._threads.are_stuck:
            stats.failed += 1
            raise HookFailedError(self.name, "busy", "every thread of the hook is held by a call that hangs")
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
        work: asyncio.Future[Outcome] = (
            loop.create_task(self._contained(event), name=f"hook {self.name}")
            if self._is_async
            else self._threads.run(self._function, event, deadline_s)
        )
        self.stats.under_way += 1
        self._left.add(work)
        work.add_done_callback(self._ended)
        try:
            await asyncio.wait((work,), timeout=max(deadline_s - begin_s, 0.0))
        except asyncio.CancelledError:
            self._give_up(work)
            raise
        if not work.done() or work.cancelled():
            self._give_up(work)
            self.stats.timeouts += 1
            raise HookFailedError(self.name, "timeout", f"no answer within {deadline_s - begin_s:.3g} s")
        return self._checked(work.result())

    async def _contained(self, event: object) -> Outcome:
        try:
            return Outcome(await self._function(event))
        except BaseException as exc:  # also its cancellation: nobody waits for the answer then
            return Outcome(error=exc)

    def _give_up(self, work: asyncio.Future[Outcome]) -> None:
        if self._is_async:
            work.cancel()
        else:
            self._threads.give_up(work)

    def _checked(self, outcome: Outcome) -> _T:
        reply, error = outcome.value, outcome.error
        if isinstance(error, HookError):
            raise HookFailedError(self.name, "refused", error.message) from error
        if error is not None:
            text = f": {error}" if str(error) else ""
            raise HookFailedError(self.name, "error", f"{type(error).__name__}{text}") from error
        if not isinstance(reply, self._reply_type):
            raise HookFailedError(
                self.name, "wrong_type", f"returned {type(reply).__name__}; expected {self._wanted()}"
            )
        return reply  # type: ignore[return-value]  # a tuple of types stands for their union

    def _ended(self, work: asyncio.Future[Outcome]) -> None:
        self.stats.under_way -= 1
        self._left.discard(work)

    def _wanted(self) -> str:
        types = self._reply_type if isinstance(self._reply_type, tuple) else (self._reply_type,)
        return " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
