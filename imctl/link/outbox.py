"""What waits to be written to a batched stream, gathered into batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container
from typing import Any

from imctl.link.limits import BATCH_BYTES
from protocol.pb import link

__all__ = ["Outbox"]

_BATCH_MESSAGES = 4096


class _Pending:
    """A batch that has not been taken out, with what is in it."""

    __slots__ = ("batch", "count", "size")

    def __init__(self) -> None:
        self.batch: Any = link.Batch()
        self.count = 0
        self.size = 0


class Outbox:
    """Calls or replies in the order they were added; one task takes them out in batches.

    All that is added before that task runs again leaves as one batch. The
    task is woken through the loop's ready queue, so whatever is done in the
    same turn of the loop rides along, and nothing waits for a timer.
    """

    __slots__ = ("_pending", "_roomy", "_wake", "batches", "waiting", "waiting_bytes")

    def __init__(self) -> None:
        self._pending: deque[_Pending] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._roomy: asyncio.Future[None] | None = None
        self.batches = 0
        """Batches taken out so far."""
        self.waiting = 0
        """Messages not taken out."""
        self.waiting_bytes = 0
        """Bytes of those messages, without the batch around them."""

    def add_call(self, call_id: int, method_number: int, request: bytes) -> None:
        """Add one call."""
        call = self._newest(len(request)).calls.add()
        call.id = call_id
        call.method = method_number
        call.request = request

    def add_reply(self, call_id: int, reply: bytes) -> None:
        """Add the reply of a call that went well."""
        message = self._newest(len(reply)).replies.add()
        message.id = call_id
        if reply:
            message.reply = reply

    def add_error(self, call_id: int, code: int, details: str) -> None:
        """Add the reply of a call that failed."""
        message = self._newest(len(details)).replies.add()
        message.id = call_id
        message.code = code
        message.details = details

    def _newest(self, size: int) -> Any:
        """Return the batch that the next message of this size goes to, and wake the task that takes it out."""
        all_pending = self._pending
        pending = all_pending[-1] if all_pending else None
        if pending is None or pending.count >= _BATCH_MESSAGES or pending.size + size > BATCH_BYTES:
            pending = _Pending()
            all_pending.append(pending)
        pending.count += 1
        pending.size += size
        self.waiting += 1
        self.waiting_bytes += size
        wake = self._wake
        if wake is not None:
            self._wake = None
            if not wake.done():
                wake.set_result(None)
        return pending.batch

    async def take(self) -> Any:
        """Wait until there is something and take the oldest batch out; for one task only."""
        while not self._pending:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        pending = self._pending.popleft()
        self.waiting -= pending.count
        self.waiting_bytes -= pending.size
        self.batches += 1
        if self._roomy is not None and not self._roomy.done():
            self._roomy.set_result(None)
        return pending.batch

    async def below(self, messages: int, size: int) -> None:
        """Wait until at most so many messages and bytes are waiting; for one task only."""
        while self.waiting > messages or self.waiting_bytes > size:
            self._roomy = asyncio.get_running_loop().create_future()
            await self._roomy

    def keep_calls(self, ids: Container[int]) -> None:
        """Take out the calls that nobody waits for any more."""
        for pending in self._pending:
            kept = [call for call in pending.batch.calls if call.id in ids]
            if len(kept) == pending.count:
                continue
            size = sum(len(call.request) for call in kept)
            self.waiting -= pending.count - len(kept)
            self.waiting_bytes -= pending.size - size
            pending.batch = link.Batch(calls=kept)
            pending.count = len(kept)
            pending.size = size
        # An empty batch would be a message for nothing.
        self._pending = deque(pending for pending in self._pending if pending.count)

    def clear(self) -> None:
        """Forget everything that is waiting."""
        self._pending.clear()
        self.waiting = 0
        self.waiting_bytes = 0
