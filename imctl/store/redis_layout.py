"""Sessions in Redis, in goim's own layout, so Go nodes can share the store.

Keys: `mid_<mid>` is a hash {key: server id}, `key_<key>` a server id, and
`ol_<server id>` a hash of 64 fields, each the JSON of the rooms whose
CityHash32 modulo 64 is the field's number. All live for the same time. Where
sessions have ids, `imctl:sessions:{mid_<mid>}`, a hash {key: id}, is beside
`mid_<mid>`, on the same node of a cluster.
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
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from imctl.store.batcher import Batcher
from imctl.store.contract import OnlineReport, StoreError
from imctl.store.redis_holds import RedisHolds
from protocol.cityhash import ONLINE_SLOTS, online_slot
from protocol.golang import dump_json

__all__ = ["Command", "RedisSessions", "Removal", "ids_name", "key_name", "mid_name"]

logger = logging.getLogger(__name__)

Command = tuple[str | int, ...]
"""Such as ("HSET", "mid_1", "k", "comet-1")."""


@dataclass(slots=True, eq=False)
class Removal:
    """A call of remove() that waits."""

    mid: int
    key: str
    server: str
    session: int = 0
    """Only that of a user: 0 where there is no mid."""
    superseded: bool = False
    """The key was added again meanwhile, so there is nothing left to remove."""


class RedisSessions(ABC):
    """What one Redis and a cluster of them have in common: all but how commands get there.

    Args:
        url: Shown to people, without secrets.
        expire_s: Time to live of every key, whole seconds.
        persistent: Whether what is kept outlives this process.
        timeout_s: Limit for one answer, with connecting and retries.
    """

    def __init__(self, *, url: str, expire_s: float, persistent: bool, timeout_s: float) -> None:
        self.url = url
        self.persistent = persistent
        self.closed = False
        self._expire_s = max(1, round(expire_s))
        self._what = f"session store {url}"
        self._commands: Batcher[Sequence[Command], list[Any]] = Batcher(
            self._send, what=self._what, timeout_s=timeout_s
        )
        self._removals: Batcher[Removal, bool] = Batcher(self._remove_all, what=self._what, timeout_s=timeout_s)
        self._removing: dict[str, Removal] = {}
        self._holds = RedisHolds(self._take_hold, self._give_hold, self._what)

    async def add(self, mid: int, key: str, server: str, session: int = 0) -> None:
        """Map key (and mid, when above 0) to server, for the expiry time; keep the session's id, unless it is 0."""
        # A removal of this key that is still on its way belongs to an older
        # connection and would take the new mapping for the one it is after.
        removal = self._removing.get(key)
        if removal is not None:
            removal.superseded = True
        await self._commands.call(self._add_commands(mid, key, server, session))

    async def refresh(self, mid: int, key: str, server: str, session: int = 0) -> None:
        """Extend both mappings; make them again when one had expired."""
        commands: list[Command] = [("EXPIRE", key_name(key), self._expire_s)]
        if mid > 0:
            commands.insert(0, ("EXPIRE", mid_name(mid), self._expire_s))
        mappings = len(commands)
        if mid > 0 and session:
            commands.append(("EXPIRE", ids_name(mid), self._expire_s))
        replies = await self._commands.call(commands)
        if not all(replies[:mappings]):
            await self.add(mid, key, server, session)

    async def remove(self, mid: int, key: str, server: str, session: int = 0) -> bool:
        """Remove the mapping if it still names this server, and no other session; return whether it did."""
        removal = self._removing[key] = Removal(mid, key, server, session if mid > 0 else 0)
        try:
            return await self._removals.call(removal)
        finally:
            if self._removing.get(key) is removal:
                del self._removing[key]

    async def servers_by_key(self, keys: Sequence[str]) -> dict[str, str]:
        """Return {key: server id} of the keys that are online; () gives {}."""
        if not keys:
            return {}
        servers = await self._servers([key_name(key) for key in keys])
        return {key: server for key, server in zip(keys, servers, strict=True) if server is not None}

    async def sessions_by_mid(self, mids: Iterable[int]) -> dict[int, dict[str, str]]:
        """Return {mid: {key: server id}}; a mid that is offline is left out."""
        asked = list(mids)
        if not asked:
            return {}
        hashes = await self._commands.call([("HGETALL", mid_name(mid)) for mid in asked])
        return {mid: dict(_as_dict(found)) for mid, found in zip(asked, hashes, strict=True) if found}

    async def session_ids(self, mid: int) -> dict[str, int]:
        """Return {key: id} of a user's sessions that have one."""
        [found] = await self._commands.call([("HGETALL", ids_name(mid))])
        return {key: int(session) for key, session in _as_dict(found).items()}

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
        commands: list[Command] = [
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
        await self._close()

    @abstractmethod
    async def _send(self, calls: Sequence[Sequence[Command]]) -> list[list[Any] | StoreError]:
        """Send the commands of all calls together; return the replies of each, text decoded, or its error."""

    @abstractmethod
    async def _servers(self, names: Sequence[str]) -> Sequence[str | None]:
        """Return the values of `key_<key>` keys."""

    @abstractmethod
    async def _remove_all(self, removals: Sequence[Removal]) -> list[bool | StoreError]:
        """Carry out removals; tell whether `key_<key>` went.

        Both mappings go where they name the server, unless another id than the removal's is kept.
        """

    @abstractmethod
    async def _take_hold(self, name: str, owner: str, time_ms: int) -> bool:
        """Set a key that is not there to its owner, for a time; return whether it was not."""

    @abstractmethod
    async def _give_hold(self, name: str, owner: str) -> None:
        """Delete a key if it is this owner's."""

    @abstractmethod
    async def _close(self) -> None:
        """Close connections."""

    def _add_commands(self, mid: int, key: str, server: str, session: int) -> list[Command]:
        commands: list[Command] = [("SET", key_name(key), server), ("EXPIRE", key_name(key), self._expire_s)]
        if mid > 0:
            commands[:0] = [("HSET", mid_name(mid), key, server), ("EXPIRE", mid_name(mid), self._expire_s)]
        if mid > 0 and session:
            # First: a removal of the session before that comes in between then leaves the mappings alone.
            commands[:0] = [("HSET", ids_name(mid), key, session), ("EXPIRE", ids_name(mid), self._expire_s)]
        return commands


def key_name(key: str) -> str:
    """Return the name of the key that says where a connection is."""
    return f"key_{key}"


def mid_name(mid: int) -> str:
    """Return the name of the hash of a user's connections."""
    return f"mid_{mid}"


def ids_name(mid: int) -> str:
    """Return the name of the hash of the ids of a user's sessions."""
    return f"imctl:sessions:{{mid_{mid}}}"


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
