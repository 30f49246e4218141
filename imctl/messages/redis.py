"""The message log in Redis or Valkey, shared by any number of logics; its keys stand in redis_script.py.

A call is one run of a script, and the calls that are made in one turn of the
event loop leave in one write. A message survives what the server's own files
survive: with `appendfsync everysec` at most the last second is lost when the
server's machine fails, without an append-only file all since its last snapshot.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError

from imctl.messages.contract import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    Batch,
    Cursor,
    Entry,
    KeptMessage,
    Limits,
    Offer,
    Placed,
    Sweep,
    Waiting,
)
from imctl.messages.redis_script import PREFIX, SCRIPT
from imctl.store.batcher import Batcher
from imctl.store.contract import StoreError

__all__ = ["RedisLog"]

_Call = tuple[str | bytes | int, ...]
"""What the script gets: what to do, the mid or scope, and what that needs."""

_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_MAX_EXPIRED = 1000


class RedisLog:
    """Follows imctl.messages.contract.MessageLog.

    Args:
        client: Replies as bytes, and no retries: a call that was carried out must not be carried out again.
        url: Shown to people, without secrets.
        limits: How much is kept.
        timeout_s: Limit for one answer, with connecting.
    """

    def __init__(self, client: Redis, *, url: str, limits: Limits, timeout_s: float = 2.5) -> None:
        self.url = url
        self.closed = False
        self._client = client
        self._limits = limits
        self._what = f"message store {url}"
        self._calls: Batcher[Sequence[_Call], list[Any]] = Batcher(
            self._carry_out, what=self._what, timeout_s=timeout_s
        )
        self._taken = int(limits.delete_taken)
        self._swept = 0

    async def check(self) -> None:
        """See MessageLog.check."""
        await self.queue(0)

    async def offer(self, offers: Sequence[Offer]) -> Sequence[Placed]:
        """See MessageLog.offer."""
        limits = self._limits
        bounds = (limits.max_messages, limits.max_bytes, limits.history, max(round(limits.history_age_s), 1))
        calls: list[_Call] = []
        for offer in offers:
            live = [word for session in offer.live.items() for word in session]
            calls.append(("offer", offer.mid, offer.operation, offer.body, offer.time_ms, *bounds, *live))
        replies = await self._calls.call(calls)
        return [
            Placed(number, _cursors(offer.mid, cursors), over_count, over_bytes)
            for offer, (number, over_count, over_bytes, cursors) in zip(offers, replies, strict=True)
        ]

    async def record(self, entry: Entry) -> None:
        """See MessageLog.record."""
        limits = self._limits
        age_s = max(round(limits.history_age_s), 1)
        push = (entry.scope, entry.operation, entry.body, entry.time_ms)
        await self._call("record", *push, limits.history, limits.max_bytes, age_s)

    async def open_cursor(self, mid: int, key: str, server: str, *, again: bool) -> Cursor | None:
        """See MessageLog.open_cursor."""
        epoch, handed, behind = await self._call("open", mid, key, server, random.getrandbits(62), int(again))
        return Cursor(mid, key, server, int(epoch), int(handed)) if behind else None

    async def close_cursor(self, mid: int, key: str, server: str) -> None:
        """See MessageLog.close_cursor."""
        await self._call("close", mid, key, server, "", self._taken)

    async def drop_cursor(self, cursor: Cursor) -> None:
        """See MessageLog.drop_cursor."""
        await self._call("close", cursor.mid, cursor.key, "", cursor.epoch, self._taken)

    async def waiting(self, mid: int, key: str, oldest_ms: int) -> Batch | None:
        """See MessageLog.waiting."""
        found = await self._call("waiting", mid, key, oldest_ms, MAX_BATCH_MESSAGES, MAX_BATCH_BYTES)
        if found is None:
            return None
        server, epoch, handed, messages = found
        return Batch(
            Cursor(mid, key, server.decode(), int(epoch), int(handed)),
            tuple([KeptMessage(int(i), int(op), body, int(time_ms)) for i, op, body, time_ms in messages]),
        )

    async def advance(self, cursor: Cursor, handed: int, ignore: Collection[str] = ()) -> bool:
        """See MessageLog.advance."""
        place = (cursor.mid, cursor.key, cursor.epoch, cursor.handed)
        return bool(await self._call("advance", *place, handed, self._taken, *ignore))

    async def acknowledge(self, mid: int, sequence: int) -> int:
        """See MessageLog.acknowledge."""
        return int(await self._call("acknowledge", mid, sequence, self._taken))

    async def history(self, scope: str, limit: int, before: int, oldest_ms: int) -> Sequence[KeptMessage]:
        """See MessageLog.history."""
        elements = await self._call("history", scope)
        found = [message for message in map(_entry, elements) if message.time_ms >= oldest_ms]
        return [message for message in found if not before or message.id < before][-limit:]

    async def queue(self, mid: int) -> Waiting:
        """See MessageLog.queue."""
        last, count, size, oldest_ms, cursors = await self._call("queue", mid)
        return Waiting(mid, count, int(size), int(oldest_ms) if oldest_ms else None, int(last), _cursors(mid, cursors))

    async def delete(self, mid: int) -> int:
        """See MessageLog.delete."""
        return int(await self._call("delete", mid))

    async def sweep(self, now_ms: int, limit: int) -> Sweep:
        """See MessageLog.sweep; histories expire by themselves."""
        try:
            self._swept, mids = await self._client.sscan(f"{PREFIX}waiting", self._swept, count=limit)
        except (RedisError, OSError) as exc:
            raise self._error(exc) from exc
        oldest_ms = now_ms - round(self._limits.max_age_s * 1000)
        users = [int(mid) for mid in mids]
        replies = await self._calls.call([("expire", mid, oldest_ms, _MAX_EXPIRED) for mid in users])
        behind = [cursor for mid, (_, found) in zip(users, replies, strict=True) for cursor in _cursors(mid, found)]
        return Sweep(sum(expired for expired, _ in replies), tuple(behind))

    async def close(self) -> None:
        """See MessageLog.close."""
        self.closed = True
        await self._calls.close()
        await self._client.aclose()

    async def _call(self, *call: str | bytes | int) -> Any:
        """Any: what the script returns."""
        [reply] = await self._calls.call((call,))
        return reply

    async def _carry_out(self, items: Sequence[Sequence[_Call]]) -> list[list[Any] | StoreError]:
        calls = [call for item in items for call in item]
        try:
            replies = await self._run(calls)
            unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                # The server is new to us, or has been restarted.
                await self._client.script_load(SCRIPT)
                again = await self._run([calls[at] for at in unknown])
                for at, reply in zip(unknown, again, strict=True):
                    replies[at] = reply
        except (RedisError, OSError) as exc:
            raise self._error(exc) from exc
        results: list[list[Any] | StoreError] = []
        at = 0
        for item in items:
            part = replies[at : at + len(item)]
            at += len(item)
            error = next((reply for reply in part if isinstance(reply, Exception)), None)
            results.append(part if error is None else self._error(error))
        return results

    async def _run(self, calls: Sequence[_Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command("EVALSHA", _SHA, 0, *call)
        return await pipeline.execute(raise_on_error=False)

    def _error(self, exc: Exception) -> StoreError:
        if isinstance(exc, OutOfMemoryError):
            return StoreError(
                f"{self._what} is full: {exc}", hint="give the server more maxmemory, or a smaller max_age_s"
            )
        hint = (
            "is the server running, and the address right?" if isinstance(exc, OSError | RedisConnectionError) else ""
        )
        return StoreError(f"{self._what}: {exc}", hint=hint)


def _cursors(mid: int, found: Sequence[Sequence[bytes]]) -> tuple[Cursor, ...]:
    return tuple([Cursor(mid, key.decode(), server.decode(), int(e), int(handed)) for key, server, e, handed in found])


def _entry(element: bytes) -> KeptMessage:
    words, _, body = element.partition(b"\n")
    time_ms, operation, number, _ = map(int, words.split())
    return KeptMessage(number, operation, body, time_ms)
