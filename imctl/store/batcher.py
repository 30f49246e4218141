"""Calls of many callers, carried out as few batches, one batch at a time.

Whatever is asked for while a batch is on its way leaves together as the next
one, so a burst of a thousand connects costs a handful of round trips and one
connection, and calls are carried out in the order they were made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from imctl.store.contract import StoreError

__all__ = ["Batcher"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """One sender for many callers.

    Args:
        process: Carries out a batch; returns for each call its result or its
            StoreError, in order. What it raises is the end of all of them.
        what: How the store is called in errors.
        timeout_s: Limit for one batch.
        max_batch: Calls in one batch.
        max_waiting: Calls that may wait; more get StoreError at once.
    """

    def __init__(
        self,
        process: Callable[[Sequence[T]], Awaitable[Sequence[R | StoreError]]],
        *,
        what: str,
        timeout_s: float,
        max_batch: int = 500,
        max_waiting: int = 50_000,
    ) -> None:
        self._process = process
        self._what = what
        self._timeout_s = timeout_s
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    async def call(self, item: T) -> R:
        """Carry out one call as part of the next batch.

        Raises:
            StoreError: it failed, no answer came in time, or too many wait.
        """
        if self._closed:
            raise self._is_closed()
        if len(self._waiting) >= self._max_waiting:
            raise StoreError(f"{self._what}: {len(self._waiting)} calls are waiting already")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, done))
        if self._sender is None:
            self._sender = loop.create_task(self._send_all(), name="store sender")
        return await done

    async def close(self) -> None:
        """Fail what waits and end the sender."""
        self._closed = True
        sender = self._sender
        if sender is not None:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender
        self._fail(self._waiting, self._is_closed())
        self._waiting.clear()

    async def _send_all(self) -> None:
        try:
            # One turn of the loop first: callers of the same turn go together.
            await asyncio.sleep(0)
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
                await self._send(batch)
        finally:
            self._sender = None

    async def _send(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                results = await self._process([item for item, _ in batch])
        except asyncio.CancelledError:
            self._fail(batch, self._is_closed())
            raise
        except StoreError as exc:
            self._fail(batch, exc)
        except TimeoutError:
            self._fail(batch, StoreError(f"{self._what}: no answer within {self._timeout_s:g} s"))
        except Exception as exc:
            # A bug, but it must not leave callers waiting.
            logger.exception("a batch for %s failed", self._what)
            self._fail(batch, StoreError(f"{self._what}: {exc!r}"))
        else:
            for (_, done), result in zip(batch, results, strict=True):
                if done.done():
                    continue  # its caller was cancelled
                if isinstance(result, StoreError):
                    done.set_exception(result)
                else:
                    done.set_result(result)

    def _is_closed(self) -> StoreError:
        return StoreError(f"{self._what}: is closed")

    @staticmethod
    def _fail(
        batch: Sequence[tuple[T, asyncio.Future[R]]] | deque[tuple[T, asyncio.Future[R]]], error: StoreError
    ) -> None:
        for _, done in batch:
            if not done.done():
                # One exception each: a traceback belongs to one caller.
                done.set_exception(StoreError(error.message, hint=error.hint))
