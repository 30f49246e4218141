"""An event loop in a thread, for tests that have none of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["BackgroundLoop"]

_T = TypeVar("_T")
_START_S = 10.0
_END_S = 30.0


class BackgroundLoop:
    """Runs coroutines for whoever waits in another thread.

    The thread lives as long as the loop, which matters for child processes: on
    Linux their parent-death signal is for the thread that started them.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._started = threading.Event()
        # A daemon: an interpreter that is ended in the middle of a test must not wait for it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        if not self._started.wait(_START_S):
            raise RuntimeError(f"the event loop of {name} did not start within {_START_S:.0f} s")

    def run(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float | None = None) -> _T:
        """Run a coroutine to its end; on Ctrl-C, or when the time is up, it is cancelled.

        Raises:
            TimeoutError: it did not end in time.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, wait for it, and end the thread. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(_END_S)

    def _run(self) -> None:
        # Named, and not left to the policy: one that a test has installed may know nothing of child processes.
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._started.set()
        await self._end.wait()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.SelectorEventLoop()
    return uvloop.new_event_loop()
