"""Ctrl-C, twice: the first asks for an end in good order, the second for one at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["asked_to_end"]


@contextmanager
def asked_to_end(on_first: Callable[[], None]) -> Iterator[asyncio.Event]:
    """Yield an event that the first Ctrl-C sets; the second one leaves the block with KeyboardInterrupt.

    Args:
        on_first: Called with the first, to tell the user.
    """
    asked = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None
    twice = False

    def interrupted() -> None:
        nonlocal twice
        if asked.is_set():
            twice = True
            task.cancel()
        else:
            asked.set()
            on_first()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield asked
    except asyncio.CancelledError:
        if twice:
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
