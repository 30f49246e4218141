"""The message log on a Redis or Valkey Cluster.

Users are in 64 groups, and the keys of a group have its number as their tag:

    imctl:messages:{GROUP}:user:MID  queue:MID  waiting  history:mid:MID

What they hold stands in redis_script.py. So the keys of a user are on one node,
with the set of users of the group for whom something waits, and a call is one
step there, as it is on one server. Two things are not:

- A connection key that comes back under another user is registered for both
  until a second step forgets the first. A logic that dies between the two
  leaves a registration that ends when messages are to be handed to it.
- While a group is moved to another node, calls for a user whose keys are not
  all on the same one, or of whom some do not exist, are refused, and fail.

    imctl:messages:key:KEY             string "MID EPOCH": whose connection this is
    imctl:messages:history:room:ROOM   as on one server
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import hiredis

from imctl.bus.contract import BusError
from imctl.bus.resp import Command
from imctl.messages.contract import Limits
from imctl.messages.redis_log import Call, ScriptLog
from imctl.messages.redis_script import PREFIX, SCRIPT
from imctl.redis_cluster.nodes import ClusterNodes
from imctl.redis_cluster.router import ClusterRouter
from imctl.store.contract import StoreError
from imctl.store.redis_cluster import DELETE_IF

__all__ = ["ClusterLog"]

_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_GROUPS = 64

# KEYS a string. ARGV its new value, and seconds to live. Returns the old one. Deleting needs no memory, so this works
# also where there is none left.
_EXCHANGE = """
local was = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return was
"""
# A connection that stays for longer says that it is there, every 10 to 20 minutes.
_CLAIM_S = 86_400

# Longest wait for one node: so long that a batch, of which it may have a part, does not run out of time itself.
_NODE_TIMEOUT_S = 2.0


class ClusterLog(ScriptLog):
    """Follows imctl.messages.contract.MessageLog, but for the two things above.

    Args:
        nodes: Of the cluster.
        url: Shown to people, without secrets.
        limits: How much is kept.
    """

    def __init__(self, nodes: ClusterNodes, *, url: str, limits: Limits) -> None:
        super().__init__(url=url, limits=limits, timeout_s=2.5)
        # What was placed must not be placed again.
        self._router = ClusterRouter(nodes, what=self._what, timeout_s=_NODE_TIMEOUT_S, repeatable=False)
        self._swept = [b"0"] * _GROUPS
        self._users: list[int] = []

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        commands = [_script_call("EVALSHA", _SHA, call) for call in calls]
        replies = await self._commands(commands)
        unknown = [at for at, reply in enumerate(replies) if _begins(reply, "NOSCRIPT")]
        if unknown:
            # A node that is new to us, or has been restarted: it keeps the script from now on.
            again = await self._commands([_script_call("EVAL", SCRIPT, calls[at]) for at in unknown])
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return [self._read(reply) for reply in replies]

    async def _waiting_users(self, limit: int) -> Sequence[int]:
        if len(self._users) < limit:
            count = -(-limit // _GROUPS)
            replies = await self._commands(
                [("SSCAN", f"{_group(n)}waiting", at, "COUNT", count) for n, at in enumerate(self._swept)]
            )
            for number, reply in enumerate(map(self._read, replies)):
                if isinstance(reply, StoreError):
                    raise reply
                self._swept[number], mids = reply
                self._users += [int(mid) for mid in mids]
        # A group with few users gives them all at once.
        users, self._users = self._users[:limit], self._users[limit:]
        return users

    async def _claim(self, mid: int, key: str, epoch: int) -> None:
        claim: Command = ("EVAL", _EXCHANGE, 1, _owner_key(key), f"{mid} {epoch}", _CLAIM_S)
        [before] = map(self._read, await self._commands([claim]))
        if isinstance(before, StoreError):
            raise before
        if before:
            other, its_epoch = map(int, before.split())
            if other != mid:
                await self._call("forget", other, key, its_epoch)

    async def _release(self, mid: int, key: str, epoch: int) -> None:
        [reply] = map(self._read, await self._commands([("EVAL", DELETE_IF, 1, _owner_key(key), f"{mid} {epoch}")]))
        if isinstance(reply, StoreError):
            raise reply

    async def _close(self) -> None:
        await self._router.close()

    async def _commands(self, commands: Sequence[Command]) -> list[Any]:
        """Return replies, errors in their place. Any: RESP values."""
        try:
            return await self._router.call(commands)
        except BusError as exc:
            raise StoreError(exc.message, hint=exc.hint) from exc

    def _read(self, reply: Any) -> Any:
        """Return a reply, as StoreError when it is an error."""
        if isinstance(reply, hiredis.ReplyError):
            return self._error(str(reply), full=_begins(reply, "OOM"))
        if isinstance(reply, BusError):
            return StoreError(reply.message, hint=reply.hint)
        return reply


def _script_call(command: str, script: str, call: Call) -> Command:
    keys = _keys(str(call[0]), call[1])
    return (command, script, len(keys), *keys, *call)


def _keys(what: str, subject: str | bytes | int) -> tuple[str, ...]:
    """Return the keys of a call, see redis_script.py; its subject is a mid or, for histories, a scope."""
    if what in ("record", "history"):
        kind, _, name = str(subject).partition(":")
        return (f"{_group(int(name)) if kind == 'mid' else PREFIX}history:{subject!s}",)
    mid = int(subject)
    group = _group(mid)
    return f"{group}user:{mid}", f"{group}queue:{mid}", f"{group}waiting", f"{group}history:mid:{mid}"


def _group(mid: int) -> str:
    return f"{PREFIX}{{{mid % _GROUPS}}}:"


def _owner_key(key: str) -> str:
    return f"{PREFIX}key:{key}"


def _begins(reply: Any, word: str) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(word)
