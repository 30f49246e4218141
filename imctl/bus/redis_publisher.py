"""Publishing to Redis Streams: what is published in one turn of the loop leaves as one write.

One batch is under way at a time, on one connection, so records keep the order
of publish(). What was certainly not sent is tried again until its time is up;
a batch whose replies did not come is not sent again, since it might be there
twice then: its callers get BusError.

A stream that holds `maxlen` records that a group has not acknowledged is
full. With `full=wait` its publishers wait, then get BusError; with
`full=trim` Redis drops the oldest, and how many records were published to
such a stream is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import hiredis

from imctl.bus.contract import BusError
from imctl.bus.ending import kept_up
from imctl.bus.redis_link import NotTakenError, RedisLink
from imctl.bus.redis_scripts import TRIM
from imctl.bus.resp import Command

__all__ = ["RedisPublisher"]

logger = logging.getLogger(__name__)

_BATCH_RECORDS = 500
_BATCH_BYTES = 1024 * 1024
_FULL_CHECK_S = 0.05
# The bound may be passed by so much, as a part of it, before it is noticed.
_LOOK_EVERY = 0.01


class _Waiting:
    """One publish() under way."""

    __slots__ = ("done", "key", "until_s", "value")

    def __init__(self, key: bytes, value: bytes, until_s: float, done: asyncio.Future[None]) -> None:
        self.key = key
        self.value = value
        self.until_s = until_s
        self.done = done


class _Stream:
    """What waits for one stream, and how full that is as far as is known."""

    __slots__ = ("at_bound", "full", "name", "since_look", "trouble", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[_Waiting] = deque()
        # Seen to be that long; what part of it is acknowledged or unheard is not known yet.
        self.at_bound = False
        self.full = False
        self.trouble = ""
        self.since_look = 0


class RedisPublisher:
    """Sends records of many callers.

    Args:
        link: Its own connection.
        streams: Names of the streams, by partition.
        maxlen: Bound of records a stream.
        trim: At the bound, drop the oldest rather than wait.
        timeout_s: Longest wait of a publish().
        max_waiting: Records that may wait to be sent; more are refused.
        max_waiting_bytes: The same in bytes.
        counts: The bus's.
    """

    def __init__(
        self,
        link: RedisLink,
        streams: list[str],
        *,
        maxlen: int,
        trim: bool,
        timeout_s: float,
        counts: dict[str, int],
        max_waiting: int = 50_000,
        max_waiting_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._link = link
        self._streams = [_Stream(name) for name in streams]
        self._maxlen = maxlen
        self._trim = trim
        self._timeout_s = timeout_s
        self._counts = counts
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting = 0
        self._waiting_bytes = 0
        self._look_every = max(1, min(1000, int(maxlen * _LOOK_EVERY)))
        self._next_look_s = 0.0
        # Why Redis has last refused records that may be taken later.
        self._why = ""
        self._sender: asyncio.Task[None] | None = None

    async def publish(self, partition: int, key: bytes, value: bytes) -> None:
        """Return when Redis has it; raises BusError otherwise."""
        if self._waiting >= self._max_waiting or self._waiting_bytes + len(value) > self._max_waiting_bytes:
            self._counts["refused"] += 1
            raise BusError(f"{self._waiting} records ({self._waiting_bytes} bytes) wait for {self._link.what} already")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._streams[partition].waiting.append(_Waiting(key, value, loop.time() + self._timeout_s, done))
        self._waiting += 1
        self._waiting_bytes += len(value)
        if self._sender is None:
            self._sender = kept_up(self._send_all(), "bus publisher")
        await done

    async def close(self) -> None:
        """Fail what waits."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait((self._sender,))
        for stream in self._streams:
            while stream.waiting:
                self._fail(self._pop(stream), BusError("the bus is closed"))
        await self._link.close()

    async def _send_all(self) -> None:
        try:
            while True:
                # Callers of the same turn go together.
                await asyncio.sleep(0)
                self._expire()
                if not self._waiting:
                    return
                if not await self._link.try_connect():
                    await asyncio.sleep(self._link.backoff_s())
                    continue
                await self._look_again()
                if not await self._send():
                    await asyncio.sleep(_FULL_CHECK_S)
        finally:
            self._sender = None

    async def _send(self) -> bool:
        """Send one batch; False when all that waits is for full streams."""
        taken: list[tuple[_Stream, list[_Waiting]]] = []
        room, size = _BATCH_RECORDS, 0
        for stream in self._streams:
            if stream.waiting and not stream.full:
                items = []
                while stream.waiting and room and size < _BATCH_BYTES:
                    item = self._pop(stream)
                    if not item.done.done():  # else its caller was cancelled
                        items.append(item)
                        room -= 1
                        size += len(item.value)
                taken.append((stream, items))
        if not taken:
            return False
        commands: list[Command] = []
        for stream, items in taken:
            add: Command = ("XADD", stream.name)
            if self._trim:
                add += ("MAXLEN", "~", self._maxlen)
            commands += [(*add, "*", "k", item.key, "v", item.value) for item in items]
            stream.since_look += len(items)
            if stream.since_look >= self._look_every:
                commands.append(("XLEN", stream.name))
        if commands:
            try:
                replies = iter(await self._link.call(commands))
            except NotTakenError as exc:
                self._take_back(exc, taken)
                return False
            except BusError as exc:
                for _, items in taken:
                    for item in items:
                        self._fail(item, BusError(f"{exc}; it is not known whether the record was taken"))
                return True
            except asyncio.CancelledError:
                for _, items in taken:
                    for item in items:
                        self._fail(item, BusError("the bus is closed; it is not known whether the record was taken"))
                raise
            self._why = ""
            for stream, items in taken:
                for item in items:
                    self._finish(item, next(replies))
                if stream.since_look >= self._look_every:
                    self._note_length(stream, next(replies))
        return True

    def _take_back(self, refusal: NotTakenError, taken: list[tuple[_Stream, list[_Waiting]]]) -> None:
        """Have what was refused, as opposed to what was taken or failed, wait for its time again."""
        replies = iter(refusal.replies)
        self._why = refusal.message
        for stream, items in taken:
            refused = []
            for item in items:
                reply = next(replies)
                if self._link.is_not_taken(reply):
                    refused.append(item)
                else:
                    self._finish(item, reply)
            for item in reversed(refused):
                stream.waiting.appendleft(item)
                self._waiting += 1
                self._waiting_bytes += len(item.value)
            if stream.since_look >= self._look_every:
                next(replies)  # its length, or why that is not to be had

    def _finish(self, item: _Waiting, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._fail(item, BusError(f"{self._link.what} refused the record: {reply}"))
            return
        self._counts["published"] += 1
        if not item.done.done():
            item.done.set_result(None)

    def _note_length(self, stream: _Stream, length: Any) -> None:
        if isinstance(length, int) and length >= self._maxlen:
            stream.at_bound = True
            stream.full = not self._trim
        else:
            stream.since_look = 0

    async def _look_again(self) -> None:
        """Remove from streams at their bound what no group needs, and see whether there is room."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._next_look_s:
            return
        streams = [stream for stream in self._streams if stream.at_bound and stream.waiting]
        if not streams:
            return
        self._next_look_s = now_s + _FULL_CHECK_S
        try:
            replies = await self._link.call([("EVAL", TRIM, 1, stream.name) for stream in streams])
        except BusError:
            return
        for stream, reply in zip(streams, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                stream.trouble = f"; it cannot be trimmed: {reply}"
                continue
            length, removed, has_group = reply
            if not has_group:
                self._counts["unheard"] += removed
            stream.trouble = ""
            stream.at_bound = length >= self._maxlen
            stream.full = stream.at_bound and not self._trim
            if stream.at_bound and self._trim:
                self._counts["trim_risk"] += stream.since_look
                stream.at_bound = False
            # Full until a moment ago: the next records may fill it again.
            stream.since_look = 0 if self._trim else self._look_every - 1

    def _expire(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for stream in self._streams:
            while stream.waiting and stream.waiting[0].until_s <= now_s:
                if stream.full:
                    why = f"the bus is full: stream {stream.name} holds {self._maxlen} records not acknowledged"
                    why += stream.trouble
                    hint = "is a job running, and do its comets answer? see `imctl stats`"
                else:
                    why, hint = self._link.why_not() or self._why or "the bus is too slow", ""
                error = BusError(f"{why}; not taken within {self._timeout_s:g} s", hint=hint)
                self._fail(self._pop(stream), error)

    def _pop(self, stream: _Stream) -> _Waiting:
        item = stream.waiting.popleft()
        self._waiting -= 1
        self._waiting_bytes -= len(item.value)
        return item

    def _fail(self, item: _Waiting, error: BusError) -> None:
        if not item.done.done():
            self._counts["refused"] += 1
            item.done.set_exception(error)
