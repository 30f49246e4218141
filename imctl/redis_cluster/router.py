"""Commands to a cluster, each to the node that has its key, as few writes as there are nodes.

The cluster client of redis-py does the same and is not used, for what it does
when nodes come and go: one node that cannot be reached fails the commands for
all of them, and those are then carried out a second time or the table of slots
is never read again; what a slot that is being moved asks for (ASKING) goes to
another connection than the command it is for, and fails where the new node has
no slot yet (redis-py 8.1). A message that is kept twice, or a session that is
lost while slots are moved, would be the result here.

Here a node that is away costs the commands for its keys only, what was
certainly not carried out is tried again at the node that has the slot now, and
anything else only where the caller allows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

from imctl.bus.contract import BusError
from imctl.bus.redis_link import NotTakenError, RedisLink
from imctl.bus.resp import Command, NoAnswerError, RedisAddress
from imctl.redis_cluster.nodes import ClusterNodes
from imctl.redis_cluster.slots import SlotMap, key_slot, redirected

__all__ = ["ClusterRouter"]

# Before each try. While a slot is moved, a command whose keys are here and there has to wait.
_PAUSES_S = (0.0, 0.0, 0.02, 0.05, 0.1, 0.2)
# The node cannot take the command now, and it or another can soon.
_PASSING = ("TRYAGAIN", "LOADING", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "NOREPLICAS")
# These say that the slot is another's, or that the node does not know.
_MISLED = ("MOVED", "CLUSTERDOWN", "READONLY", "MASTERDOWN")
_IDLE_S = 10.0
_SCRIPTS = ("EVAL", "EVALSHA", b"EVAL", b"EVALSHA")


class _NotSentError(BusError):
    """There is no connection."""


@dataclass(slots=True)
class _Call:
    """One command under way. Any: RESP values."""

    command: Command
    slot: int
    reply: Any = None
    there: RedisAddress | None = None
    """Where it was sent on to, for the next try."""
    asking: bool = False
    """The slot is being moved there."""
    is_misled: bool = False
    """The map of slots is old."""

    def take(self, reply: Any, node: RedisAddress) -> bool:
        """Note a reply of a node; return whether another try may help."""
        self.reply, self.there, self.asking, self.is_misled = reply, None, False, False
        if not isinstance(reply, hiredis.ReplyError):
            return False
        text = str(reply)
        self.is_misled = text.startswith(_MISLED)
        if text.startswith(("MOVED ", "ASK ")):
            self.there, self.asking = redirected(text, node), text.startswith("ASK ")
            return True
        return text.startswith(_PASSING)


class ClusterRouter:
    """See the module.

    Args:
        nodes: Of the cluster.
        what: How it is called in messages, without secrets.
        timeout_s: Longest wait for a connection, and for replies.
        repeatable: Commands may be carried out twice: one whose reply was lost with the connection is sent again.
    """

    def __init__(self, nodes: ClusterNodes, *, what: str, timeout_s: float, repeatable: bool) -> None:
        self._nodes = nodes
        self._what = what
        self._timeout_s = timeout_s
        self._repeatable = repeatable
        self._links: dict[RedisAddress, RedisLink] = {}
        self._under_way: set[asyncio.Task[list[Any]]] = set()
        self._abandoned: set[asyncio.Task[Any] | None] = set()
        self._closed = False

    async def call(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order; in place of one, hiredis.ReplyError or BusError. Any: RESP values.

        Commands of one key keep their order, and each has one key or several of one slot: the first argument,
        or for scripts the third. What is on its way when the caller is cancelled stays so, and is not tried again.
        """
        if self._closed:
            raise BusError(f"{self._what}: is closed")
        # A connection whose caller goes away is given up, and others wait for replies on it.
        task = asyncio.get_running_loop().create_task(self._carry_out(commands), name=f"commands to {self._what}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(self._abandoned.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._abandoned.add(task)
            raise

    async def close(self) -> None:
        """Close all connections; what is under way fails."""
        self._closed = True
        await self._close_links()
        if self._under_way:
            await asyncio.wait(self._under_way)
            # One of them may have been connecting.
            await self._close_links()

    async def _carry_out(self, commands: Sequence[Command]) -> list[Any]:
        calls = [_Call(command, key_slot(_key(command))) for command in commands]
        todo, given_up = calls, set[RedisAddress]()
        for pause_s in _PAUSES_S:
            if pause_s:
                await asyncio.sleep(pause_s)
            try:
                slots = await self._nodes.slots(self._timeout_s)
            except BusError as exc:
                error = BusError(f"{self._what}: {exc.message}", hint=exc.hint)
                for call in todo:
                    call.reply = error
                break
            if asyncio.current_task() in self._abandoned:
                break  # who has given up must not be surprised later
            todo = await self._try(todo, slots, given_up)
            if not todo:
                self._drop_links(slots)
                break
        return [call.reply for call in calls]

    async def _try(self, calls: Sequence[_Call], slots: SlotMap, given_up: set[RedisAddress]) -> list[_Call]:
        """Send each to its node; return those that another try may help, in their order."""
        by_node: dict[RedisAddress, list[_Call]] = {}
        for call in calls:
            node = call.there or slots.owner(call.slot)
            if node is None:
                call.reply = BusError(f"{self._what}: no node has slot {call.slot}")
                self._nodes.forget(slots)
            elif node not in given_up:  # else the error that it has stands
                by_node.setdefault(node, []).append(call)
        outcomes = await asyncio.gather(*[self._send(node, part) for node, part in by_node.items()])
        again: set[int] = set()
        for (node, part), outcome in zip(by_node.items(), outcomes, strict=True):
            if isinstance(outcome, BusError):
                again.update(map(id, self._lost(part, outcome, node, given_up)))
                self._nodes.forget(slots, failed=node)
                continue
            for call, reply in zip(part, outcome, strict=True):
                if call.take(reply, node):
                    again.add(id(call))
                    if call.is_misled:
                        self._nodes.forget(slots)
        return [call for call in calls if id(call) in again]

    def _lost(
        self, part: Sequence[_Call], error: BusError, node: RedisAddress, given_up: set[RedisAddress]
    ) -> Sequence[_Call]:
        """Note that a node did not reply; return the commands that may be sent again, to who has their slot by then."""
        sent = not isinstance(error, _NotSentError)
        if not sent or isinstance(error, NoAnswerError):
            given_up.add(node)
        for call in part:
            call.reply, call.there, call.asking = error, None, False
        return part if self._repeatable or not sent else ()

    async def _send(self, node: RedisAddress, part: Sequence[_Call]) -> list[Any] | BusError:
        """Return the replies of one node, or that there are none."""
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = RedisLink(node, what=f"{self._what}, node {node}", timeout_s=self._timeout_s)
        commands: list[Command] = []
        for call in part:
            if call.asking:
                commands.append(("ASKING",))
            commands.append(call.command)
        try:
            if self._closed:
                raise BusError(f"{self._what}: is closed")
            await link.connect()
            if asyncio.get_running_loop().time() - link.used_s > _IDLE_S:
                # Something on the way may have forgotten the connection; then nobody knows what became of a command.
                await link.call([("PING",)])
        except BusError as exc:
            return _NotSentError(f"{self._what}: {exc.message}", hint=exc.hint)
        try:
            replies = iter(await link.call(commands))
        except NotTakenError as exc:
            replies = iter(exc.replies)
        except NoAnswerError as exc:
            return NoAnswerError(f"{self._what}: redis {node}: {exc.message}")
        except BusError as exc:
            return BusError(f"{self._what}: redis {node}: {exc.message}")
        # The reply to ASKING says nothing.
        return [next(replies) if not call.asking else (next(replies), next(replies))[1] for call in part]

    def _drop_links(self, slots: SlotMap) -> None:
        """Forget nodes that have gone for good, unless somebody else may be connecting to them."""
        if len(self._under_way) == 1 and len(self._links) > len(slots.nodes):
            for node, link in list(self._links.items()):
                if node not in slots.nodes and not link.connected:
                    del self._links[node]

    async def _close_links(self) -> None:
        for link in self._links.values():
            await link.close()


def _key(command: Command) -> bytes:
    name = command[3] if command[0] in _SCRIPTS else command[1]
    return name if isinstance(name, bytes) else str(name).encode()
