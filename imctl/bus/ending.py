"""Ending what belongs to somebody else's library, which may hang or fail while it does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["ended"]


async def ended(ending: Coroutine[Any, Any, object], *, within_s: float) -> bool:
    """Carry out an ending; True when it came to its end without an error in time. Raises nothing of its own.

    It runs as a task: an ending that cancels tasks and awaits them can raise
    CancelledError, which must not be taken for the cancellation of the caller.
    """
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.wait((task,), timeout=within_s)
    finally:
        if not task.done():
            task.cancel()
    if not task.done():
        await asyncio.wait((task,), timeout=within_s)
    return task.done() and not task.cancelled() and task.exception() is None
