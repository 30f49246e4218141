"""Ctrl-C, SIGTERM (`timeout`, job runners) and SIGHUP (a closed terminal), all the same.

The first one asks for an end in good order, the second one for an end at
once. Both leave time to end what was started, and nothing disturbs that: what
comes after the second one, until the process has ended, is passed over.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from sim.errors import RunInterruptedError

__all__ = ["Ending", "asked_to_end", "told_to_end"]

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
_SAME_S = 1.0
"""`timeout` signals the process and then its group, a shell its jobs after the kernel did: that is one request."""


class Ending:
    """What the user has asked for.

    Args:
        task: What is to be ended.
        on_first: Told how the end in good order was asked for.
    """

    def __init__(self, task: asyncio.Task[object], on_first: Callable[[str], None]) -> None:
        self.asked = asyncio.Event()
        """Set by the first request, once there is something to end in good order."""
        self.why = ""
        """Why the task was ended at once; empty while it was not."""
        self._task = task
        self._on_first = on_first
        self._in_order = False
        self._first_s = 0.0

    def in_good_order(self) -> None:
        """From here on the first request only sets `asked`; before, it ends the task at once."""
        self._in_order = True

    def signalled(self, number: signal.Signals) -> None:
        """Take a signal."""
        if self.why:
            return
        now_s = asyncio.get_running_loop().time()
        if self._in_order and not self.asked.is_set():
            self._first_s = now_s
            self.asked.set()
            self._on_first(_NAMES[number])
            return
        if self.asked.is_set() and number != signal.SIGINT and now_s - self._first_s < _SAME_S:
            return
        what = "at once, without a report" if self.asked.is_set() else "before there was anything to report"
        self.why = f"ended by {_NAMES[number]} {what}"
        self._task.cancel()


@contextmanager
def asked_to_end(on_first: Callable[[str], None]) -> Iterator[Ending]:
    """Take the signals for the current task during the block; after an end at once the process ignores them.

    Args:
        on_first: Called with the name of the first that asks for an end in good order, to tell the user.

    Raises:
        RunInterruptedError: the task was to end at once.
    """
    task = asyncio.current_task()
    assert task is not None
    ending = Ending(task, on_first)
    loop = asyncio.get_running_loop()
    # nohup: whoever had it ignored does not want to be ended with the terminal.
    taken = [number for number in _NAMES if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, partial(ending.signalled, number))
    try:
        yield ending
    except asyncio.CancelledError:
        if not ending.why:
            raise
        task.uncancel()
        raise RunInterruptedError(ending.why) from None
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
            if ending.why:  # all that is left to do is to say so and to exit
                signal.signal(number, signal.SIG_IGN)


@contextmanager
def told_to_end(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` at SIGTERM and SIGHUP during the block, so that what it has begun is ended before the process is."""
    loop = asyncio.get_running_loop()
    # nohup: whoever had it ignored does not want to be ended with the terminal.
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, tell)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
