"""The session store on a Redis or Valkey Cluster.

The keys are goim's, without hash tags, so what belongs together lies on several
nodes: the two mappings of a session, the keys of one push. Nothing is done to
two of them in one step, but each command has one key, those of a batch leave in
one write a node, and a removal compares and deletes one key at a time, in a
script. When one node is away, calls that need it fail and others go on; half of
a session that was added meanwhile expires, or is made whole when the client,
told that it failed, connects again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis

from imctl.bus.contract import BusError
from imctl.redis_cluster.nodes import ClusterNodes
from imctl.redis_cluster.router import ClusterRouter
from imctl.store.contract import StoreError
from imctl.store.redis_layout import Command, RedisSessions, Removal, ids_name, key_name, mid_name

__all__ = ["ClusterStore", "DELETE_IF"]

DELETE_IF = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
"""KEYS a string. ARGV what it has to be."""
_DELETE_FIELD_IF = (
    "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end return 0"
)
_DELETE_SESSION_IF = """
local id = redis.call('HGET', KEYS[2], ARGV[1])
if id and id ~= ARGV[3] then return 0 end
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
"""
"""KEYS the hashes of a user's sessions and of their ids. ARGV key, server, id. 0 when another session has the key."""

# Longest wait for one node: so long that a batch, of which it may have a part, does not run out of time itself.
_NODE_TIMEOUT_S = 2.0


class ClusterStore(RedisSessions):
    """Sessions and room counts over the nodes of a cluster.

    Args:
        nodes: Of the cluster.
        url: Shown to people, without secrets.
        expire_s: Time to live of every key, whole seconds.
    """

    def __init__(self, nodes: ClusterNodes, *, url: str, expire_s: float) -> None:
        super().__init__(url=url, expire_s=expire_s, persistent=True, timeout_s=5.0)
        # Each of our commands may be carried out twice.
        self._router = ClusterRouter(nodes, what=self._what, timeout_s=_NODE_TIMEOUT_S, repeatable=True)

    async def _servers(self, names: Sequence[str]) -> Sequence[str | None]:
        return await self._commands.call([("GET", name) for name in names])

    async def _send(self, calls: Sequence[Sequence[Command]]) -> list[list[Any] | StoreError]:
        replies = iter(await self._call([command for commands in calls for command in commands]))
        results: list[list[Any] | StoreError] = []
        for commands in calls:
            part = [next(replies) for _ in commands]
            error = next((reply for reply in part if isinstance(reply, StoreError)), None)
            results.append(part if error is None else error)
        return results

    async def _remove_all(self, removals: Sequence[Removal]) -> list[bool | StoreError]:
        ended = await self._remove_sessions([removal for removal in removals if removal.session])
        # Once it is sent, it is carried out before an add() that comes later: both go to the same nodes.
        sent = [() if removal.superseded or ended.get(removal, 1) != 1 else _removing(removal) for removal in removals]
        replies = iter(await self._call([command for commands in sent for command in commands]))
        results: list[bool | StoreError] = []
        for removal, commands in zip(removals, sent, strict=True):
            part = [next(replies) for _ in commands]
            error = next((reply for reply in (ended.get(removal), *part) if isinstance(reply, StoreError)), None)
            results.append(bool(part and part[-1]) if error is None else error)
        return results

    async def _remove_sessions(self, removals: Sequence[Removal]) -> dict[Removal, int | StoreError]:
        """Remove sessions that have an id from those of their users; tell for each 1, or 0: its key has begun another.

        Their keys lie elsewhere and are compared by server alone. One that is
        added on the same server just then loses its key until it is refreshed,
        which a comet does when it hears of the removal; its user has it always.
        """
        if not removals:
            return {}
        commands: list[Command] = [
            ("EVAL", _DELETE_SESSION_IF, 2, mid_name(r.mid), ids_name(r.mid), r.key, r.server, r.session)
            for r in removals
        ]
        return dict(zip(removals, await self._call(commands), strict=True))

    async def _take_hold(self, name: str, owner: str, time_ms: int) -> bool:
        [reply] = await self._call([("SET", name, owner, "NX", "PX", time_ms)])
        if isinstance(reply, StoreError):
            raise reply
        return reply is not None

    async def _give_hold(self, name: str, owner: str) -> None:
        [reply] = await self._call([("EVAL", DELETE_IF, 1, name, owner)])
        if isinstance(reply, StoreError):
            raise reply

    async def _close(self) -> None:
        await self._router.close()

    async def _call(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, text decoded; StoreError in place of one that failed."""
        try:
            replies = await self._router.call([tuple(map(_encoded, command)) for command in commands])
        except BusError as exc:
            raise StoreError(exc.message, hint=exc.hint) from exc
        return [self._read(reply) for reply in replies]

    def _read(self, reply: Any) -> Any:
        if isinstance(reply, bytes):
            return reply.decode(errors="replace")
        if isinstance(reply, list):
            return [self._read(part) for part in reply]
        if isinstance(reply, hiredis.ReplyError):
            return StoreError(f"{self._what}: {reply}")
        if isinstance(reply, BusError):
            return StoreError(reply.message, hint=reply.hint)
        return reply


def _removing(removal: Removal) -> tuple[Command, ...]:
    by_key: Command = ("EVAL", DELETE_IF, 1, key_name(removal.key), removal.server)
    if removal.mid <= 0 or removal.session:
        return (by_key,)
    return ("EVAL", _DELETE_FIELD_IF, 1, mid_name(removal.mid), removal.key, removal.server), by_key


def _encoded(word: str | int) -> bytes | int:
    # Keys come from clients, who may write half a surrogate pair into their JSON.
    return word.encode(errors="replace") if isinstance(word, str) else word
