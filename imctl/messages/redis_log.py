"""The message log in Redis or Valkey, shared by any number of logics; its keys stand in redis_script.py.

A call is one run of a script, and the calls that are made in one turn of the
event loop leave in one write. A message survives what the server's own files
survive: with `appendfsync everysec` at most the last second is lost when the
server's machine fails, without an append-only file all since its last snapshot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

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
from imctl.messages.ids import FIRST_UNBOUND, epoch_of
from imctl.redis_url import failure_hint
from imctl.store.batcher import Batcher
from imctl.store.contract import StoreError

__all__ = ["Call", "ScriptLog"]

Call = tuple[str | bytes | int, ...]
"""What the script gets: what to do, the mid or scope, and what that needs."""

_MAX_EXPIRED = 1000


class ScriptLog(ABC):
    """Follows imctl.messages.contract.MessageLog: all but how calls get to one Redis, or to a cluster of them.

    Args:
        url: Shown to people, without secrets.
        limits: How much is kept.
        timeout_s: Limit for one answer, with connecting.
    """

    def __init__(self, *, url: str, limits: Limits, timeout_s: float) -> None:
        self.url = url
        self.closed = False
        self._limits = limits
        self._what = f"message store {url}"
        self._calls: Batcher[Sequence[Call], list[Any]] = Batcher(self._carry_out, what=self._what, timeout_s=timeout_s)
        self._taken = int(limits.delete_taken)

    async def check(self) -> None:
        """See MessageLog.check."""
        await self.queue(0)

    async def offer(self, offers: Sequence[Offer]) -> Sequence[Placed]:
        """See MessageLog.offer."""
        limits = self._limits
        bounds = (limits.max_messages, limits.max_bytes, limits.history, max(round(limits.history_age_s), 1))
        calls: list[Call] = []
        for offer in offers:
            live = [word for session in offer.live.items() for word in session]
            calls.append(("offer", offer.mid, offer.operation, offer.body, offer.time_ms, *bounds, *live))
        replies = await self._calls.call(calls)
        return [
            Placed(number, _cursors(offer.mid, cursors), over_count, over_bytes, bool(recorded))
            for offer, (number, over_count, over_bytes, cursors, recorded) in zip(offers, replies, strict=True)
        ]

    async def record(self, entry: Entry) -> None:
        """See MessageLog.record."""
        limits = self._limits
        age_s = max(round(limits.history_age_s), 1)
        push = (entry.scope, entry.operation, entry.body, entry.time_ms)
        await self._call("record", *push, limits.history, limits.max_bytes, age_s)

    async def open_cursor(self, mid: int, key: str, server: str, *, again: bool, session: int = 0) -> Cursor | None:
        """See MessageLog.open_cursor."""
        goes_on = int(again and not session)
        epoch, handed, behind = await self._call("open", mid, key, server, epoch_of(session), goes_on)
        await self._claim(mid, key, int(epoch))
        return Cursor(mid, key, server, int(epoch), int(handed)) if behind else None

    async def close_cursor(self, mid: int, key: str, server: str, *, session: int = 0) -> None:
        """See MessageLog.close_cursor."""
        await self._close_cursor(mid, key, server, session, FIRST_UNBOUND)

    async def drop_cursor(self, cursor: Cursor) -> None:
        """See MessageLog.drop_cursor."""
        await self._close_cursor(cursor.mid, cursor.key, cursor.server, cursor.epoch, 0)

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

    async def sweep(self, now_ms: int, limit: int, ignore: Collection[str] = ()) -> Sweep:
        """See MessageLog.sweep; histories expire by themselves."""
        oldest_ms = now_ms - round(self._limits.max_age_s * 1000)
        users = await self._waiting_users(limit)
        rest: Call = (oldest_ms, _MAX_EXPIRED, self._taken, *ignore)
        replies = await self._calls.call([("expire", mid, *rest) for mid in users])
        cursors: dict[int, tuple[Cursor, ...]] = {}
        behind: list[Cursor] = []
        for mid, (_, last, found) in zip(users, replies, strict=True):
            if found is not None:
                cursors[mid] = _cursors(mid, found)
                behind += [cursor for cursor in cursors[mid] if cursor.handed < int(last)]
        return Sweep(sum(reply[0] for reply in replies), cursors, tuple(behind))

    async def close(self) -> None:
        """See MessageLog.close."""
        self.closed = True
        await self._calls.close()
        await self._close()

    async def _call(self, *call: str | bytes | int) -> Any:
        """Any: what the script returns."""
        [reply] = await self._calls.call((call,))
        return reply

    async def _close_cursor(self, mid: int, key: str, server: str, epoch: int, unbound: int) -> None:
        """Forget a connection on a server: with this epoch, or one from `unbound` on."""
        closed = int(await self._call("close", mid, key, server, epoch, unbound, self._taken))
        if closed:
            await self._release(mid, key, closed)

    async def _carry_out(self, items: Sequence[Sequence[Call]]) -> list[list[Any] | StoreError]:
        replies = iter(await self._run([call for item in items for call in item]))
        results: list[list[Any] | StoreError] = []
        for item in items:
            part = [next(replies) for _ in item]
            error = next((reply for reply in part if isinstance(reply, StoreError)), None)
            results.append(part if error is None else error)
        return results

    @abstractmethod
    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        """Have the script carry out calls; return what it gave for each, or a StoreError in its place."""

    @abstractmethod
    async def _waiting_users(self, limit: int) -> Sequence[int]:
        """Return the next users with something in their queue, about `limit`; after the last comes the first."""

    @abstractmethod
    async def _claim(self, mid: int, key: str, epoch: int) -> None:
        """Note whose an open cursor's key is, and forget that of another user, unless the script has."""

    @abstractmethod
    async def _release(self, mid: int, key: str, epoch: int) -> None:
        """Forget whose the key of a closed cursor was, unless the script has."""

    @abstractmethod
    async def _close(self) -> None:
        """Close connections."""

    def _error(self, text: str, *, full: bool = False, away: bool = False, hint: str = "") -> StoreError:
        """Return the error for what Redis said, or what went wrong with it."""
        if full:
            return StoreError(
                f"{self._what} is full: {text}", hint="give the server more maxmemory, or a smaller max_age_s"
            )
        return StoreError(f"{self._what}: {text}", hint=failure_hint(text, away=away) or hint)


def _cursors(mid: int, found: Sequence[Sequence[bytes]]) -> tuple[Cursor, ...]:
    return tuple([Cursor(mid, key.decode(), server.decode(), int(e), int(handed)) for key, server, e, handed in found])


def _entry(element: bytes) -> KeptMessage:
    words, _, body = element.partition(b"\n")
    time_ms, operation, number, _ = map(int, words.split())
    return KeptMessage(number, operation, body, time_ms)
