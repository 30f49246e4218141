"""Tasks of a bus: those that must not end by an error, and ends that may hang or fail in somebody else's library."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["ended", "kept_up"]

logger = logging.getLogger(__name__)


def kept_up(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task that goes on until it is cancelled; an error that ends it is a bug, and is logged at once."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("task %s has failed", task.get_name(), exc_info=error)


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
