"""Sessions in Redis, in goim's own layout, so Go nodes can share the store.

Keys: `mid_<mid>` is a hash {key: server id}, `key_<key>` a server id, and
`ol_<server id>` a hash of 64 fields, each the JSON of the rooms whose
CityHash32 modulo 64 is the field's number. All live for the same time.
Reading and adding send goim's commands, byte for byte. Where goim's own way
loses something, this store does better with the same keys:

- remove() takes a mapping away only while it names the server that asks, so a
  client that has already moved to another comet keeps its new mapping;
- set_online() also deletes the fields that have no rooms any more.

Source: goim internal/logic/dao/redis.go and the recorded commands.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterCrossSlotError, ClusterError, RedisError, WatchError
from redis.exceptions import ConnectionError as RedisConnectionError

from imctl.store.batcher import Batcher
from imctl.store.contract import OnlineReport, StoreError
from imctl.store.redis_holds import RedisHolds
from protocol.cityhash import ONLINE_SLOTS, online_slot
from protocol.golang import dump_json

__all__ = ["RedisStore"]

logger = logging.getLogger(__name__)

_REMOVE_TRIES = 5

_Command = tuple[str | int, ...]
"""Such as ("HSET", "mid_1", "k", "comet-1")."""


@dataclass(slots=True, eq=False)
class _Removal:
    mid: int
    key: str
    server: str
    superseded: bool = False
    """The key was added again while this waited, so there is nothing left to remove."""


class RedisStore:
    """Sessions and room counts over any client of redis.asyncio.

    Args:
        client: Replies decoded to str; the store closes it.
        url: Shown to people, without secrets.
        expire_s: Time to live of every key, whole seconds.
        persistent: Whether what is behind the client outlives this process.
        timeout_s: Limit for one answer, with connecting and retries.
        on_close: Awaited when the client is closed, for what it was made of.
    """

    def __init__(
        self,
        client: Redis,
        *,
        url: str,
        expire_s: float = 1800,
        persistent: bool = True,
        timeout_s: float = 5.0,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.url = url
        self.persistent = persistent
        self.closed = False
        self._client = client
        self._on_close = on_close
        self._expire_s = max(1, round(expire_s))
        self._what = f"session store {url}"
        self._commands: Batcher[Sequence[_Command], list[Any]] = Batcher(
            self._send, what=self._what, timeout_s=timeout_s
        )
        self._removals: Batcher[_Removal, bool] = Batcher(self._remove_all, what=self._what, timeout_s=timeout_s)
        self._removing: dict[str, _Removal] = {}
        self._holds = RedisHolds(client, self._what)

    async def add(self, mid: int, key: str, server: str) -> None:
        """Map key (and mid, when above 0) to server, for the expiry time."""
        # A removal of this key that is still on its way belongs to an older
        # connection and would take the new mapping for the one it is after.
        removal = self._removing.get(key)
        if removal is not None:
            removal.superseded = True
        await self._commands.call(self._add_commands(mid, key, server))

    async def refresh(self, mid: int, key: str, server: str) -> None:
        """Extend both mappings; make them again when one had expired."""
        commands: list[_Command] = [("EXPIRE", _key(key), self._expire_s)]
        if mid > 0:
            commands.insert(0, ("EXPIRE", _mid(mid), self._expire_s))
        replies = await self._commands.call(commands)
        if not all(replies):
            await self.add(mid, key, server)

    async def remove(self, mid: int, key: str, server: str) -> bool:
        """Remove the mapping if it still names this server; return whether it did.

        Redis before 8.4 has no command that compares before it deletes, so
        this watches the keys, reads them, and deletes in a transaction that
        Redis refuses when somebody wrote in between; then it looks again.
        """
        removal = self._removing[key] = _Removal(mid, key, server)
        try:
            return await self._removals.call(removal)
        finally:
            if self._removing.get(key) is removal:
                del self._removing[key]

    async def servers_by_key(self, keys: Sequence[str]) -> dict[str, str]:
        """Return {key: server id} of the keys that are online; () gives {}."""
        if not keys:
            return {}
        [servers] = await self._commands.call([("MGET", *map(_key, keys))])
        return {key: server for key, server in zip(keys, servers, strict=True) if server is not None}

    async def sessions_by_mid(self, mids: Iterable[int]) -> dict[int, dict[str, str]]:
        """Return {mid: {key: server id}}; a mid that is offline is left out."""
        asked = list(mids)
        if not asked:
            return {}
        hashes = await self._commands.call([("HGETALL", _mid(mid)) for mid in asked])
        return {mid: dict(_as_dict(found)) for mid, found in zip(asked, hashes, strict=True) if found}

    async def set_online(self, server: str, report: OnlineReport) -> None:
        """Replace the whole report of a server, also slots that are empty now.

        A report without rooms is one field without rooms: readers, Go ones
        too, then still see when the server was last heard of.
        """
        slots: dict[int, dict[str, int]] = {}
        for room in sorted(report.rooms):
            slots.setdefault(online_slot(room), {})[room] = report.rooms[room]
        if not slots:
            slots[0] = {}
        name = f"ol_{server}"
        commands: list[_Command] = [
            ("HSET", name, str(slot), _dump_slot(server, rooms, report.updated_s)) for slot, rooms in slots.items()
        ]
        empty = [str(slot) for slot in range(ONLINE_SLOTS) if slot not in slots]
        if empty:
            commands.append(("HDEL", name, *empty))
        commands.append(("EXPIRE", name, self._expire_s))
        await self._commands.call(commands)

    async def online(self, server: str) -> OnlineReport | None:
        """Return the report of a server, None when there is none; a field that cannot be read is skipped."""
        [found] = await self._commands.call([("HGETALL", f"ol_{server}")])
        fields = _as_dict(found)
        rooms: dict[str, int] = {}
        newest_s: int | None = None
        # In the order of the slots: where a room stands in two, the later wins, as in goim.
        for slot in range(ONLINE_SLOTS):
            text = fields.get(str(slot))
            part = _load_slot(text) if text is not None else None
            if part is not None:
                rooms.update(part.rooms)
                newest_s = part.updated_s if newest_s is None else max(newest_s, part.updated_s)
        return None if newest_s is None else OnlineReport(rooms, newest_s)

    async def drop_online(self, server: str) -> None:
        """Forget the report of a server."""
        await self._commands.call([("DEL", f"ol_{server}")])

    def hold(self, name: str) -> AbstractAsyncContextManager[None]:
        """Keep everybody else who uses this Redis out."""
        return self._holds.hold(name)

    async def close(self) -> None:
        """Fail what waits and close connections."""
        self.closed = True
        await self._removals.close()
        await self._commands.close()
        await self._client.aclose()
        if self._on_close is not None:
            await self._on_close()

    def _add_commands(self, mid: int, key: str, server: str) -> list[_Command]:
        commands: list[_Command] = [("SET", _key(key), server), ("EXPIRE", _key(key), self._expire_s)]
        if mid > 0:
            commands[:0] = [("HSET", _mid(mid), key, server), ("EXPIRE", _mid(mid), self._expire_s)]
        return commands

    async def _send(self, calls: Sequence[Sequence[_Command]]) -> list[list[Any] | StoreError]:
        pipeline = self._client.pipeline(transaction=False)
        for commands in calls:
            for command in commands:
                pipeline.execute_command(*command)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as exc:
            raise self._error(exc) from exc
        results: list[list[Any] | StoreError] = []
        at = 0
        for commands in calls:
            part = replies[at : at + len(commands)]
            at += len(commands)
            error = next((reply for reply in part if isinstance(reply, Exception)), None)
            results.append(part if error is None else self._error(error))
        return results

    async def _remove_all(self, removals: Sequence[_Removal], tries: int = _REMOVE_TRIES) -> list[bool | StoreError]:
        try:
            return await self._try_remove(removals)
        except WatchError:
            pass
        except (RedisError, OSError) as exc:
            raise self._error(exc) from exc
        if len(removals) > 1:
            # Halves: only those near the key that changed are done again and again.
            half = len(removals) // 2
            return [*await self._remove_all(removals[:half]), *await self._remove_all(removals[half:])]
        if tries > 1:
            return await self._remove_all(removals, tries - 1)
        return [StoreError(f"{self._what}: key {removals[0].key!r} changes too often to be removed")]

    async def _try_remove(self, removals: Sequence[_Removal]) -> list[bool | StoreError]:
        names = [_key(removal.key) for removal in removals]
        # Any: a redis pipeline has no types to speak of.
        pipeline: Any
        async with self._client.pipeline(transaction=True) as pipeline:
            await pipeline.watch(*names, *{_mid(removal.mid) for removal in removals if removal.mid > 0})
            # Watching, so these two are carried out at once and not queued.
            servers = await pipeline.execute_command("MGET", *names)
            fields = await self._orphans(removals, servers)
            pipeline.multi()
            removed: list[bool | StoreError] = []
            for removal, server in zip(removals, servers, strict=True):
                owned = server == removal.server and not removal.superseded
                if removal.mid > 0 and (owned or removal in fields):
                    pipeline.execute_command("HDEL", _mid(removal.mid), removal.key)
                if owned:
                    pipeline.execute_command("DEL", _key(removal.key))
                removed.append(owned)
            if len(pipeline):
                await pipeline.execute()
        return removed

    async def _orphans(self, removals: Sequence[_Removal], servers: Sequence[str | None]) -> set[_Removal]:
        """Return those whose key has expired while the user's hash still names the server."""
        asked = [
            removal
            for removal, server in zip(removals, servers, strict=True)
            if server is None and removal.mid > 0 and not removal.superseded
        ]
        if not asked:
            return set()
        found = await self._commands.call([("HGET", _mid(removal.mid), removal.key) for removal in asked])
        return {removal for removal, server in zip(asked, found, strict=True) if server == removal.server}

    def _error(self, exc: Exception) -> StoreError:
        hint = ""
        if isinstance(exc, OSError | RedisConnectionError):
            hint = "is the server running, and the address right?"
        elif isinstance(exc, AskError | ClusterCrossSlotError | ClusterError):
            hint = "this is a node of a Redis Cluster, which goim's keys do not fit; use one, or one with Sentinel"
        return StoreError(f"{self._what}: {exc}", hint=hint)


def _key(key: str) -> str:
    return f"key_{key}"


def _mid(mid: int) -> str:
    return f"mid_{mid}"


def _as_dict(reply: Any) -> Mapping[str, str]:
    """Any: a map, or the flat list some clients give for a raw HGETALL."""
    if isinstance(reply, Mapping):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _dump_slot(server: str, rooms: Mapping[str, int], updated_s: int) -> str:
    return dump_json({"server": server, "room_count": rooms, "updated": updated_s}).decode()


def _load_slot(text: str) -> OnlineReport | None:
    try:
        value = json.loads(text)
        rooms = value["room_count"] or {}
        return OnlineReport({str(room): int(count) for room, count in rooms.items()}, int(value["updated"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        logger.warning("a room count field in the store cannot be read: %s", exc)
        return None
