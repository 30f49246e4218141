"""What a member has to tell Redis of records that are done: acknowledged together, then removed from their streams."""

from __future__ import annotations

import asyncio
import logging

import hiredis

from imctl.bus.contract import BusError
from imctl.bus.redis_lease import Owned, Position
from imctl.bus.redis_link import RedisLink
from imctl.bus.redis_scripts import TRIM, Keys
from imctl.bus.resp import Command

__all__ = ["RedisAcks"]

logger = logging.getLogger(__name__)

_TRIM_EVERY = 1000
_ACKS_A_COMMAND = 500


class RedisAcks:
    """Acknowledgements of one member; `position in acks` says that Redis was not told of it yet.

    Args:
        link: Its own connection.
        keys: Of the bus.
        group: The consumer group.
        owned: The member's partitions.
        counts: The bus's.
    """

    def __init__(
        self, link: RedisLink, keys: Keys, group: str, owned: dict[int, Owned], *, counts: dict[str, int]
    ) -> None:
        self._link = link
        self._keys = keys
        self._group = group
        self._owned = owned
        self._counts = counts
        self._waiting: dict[Position, None] = {}
        self._telling = asyncio.Lock()

    def __contains__(self, position: Position) -> bool:
        return position in self._waiting

    def add(self, position: Position) -> None:
        """Take a record that is done; tell() tells Redis."""
        owned = self._owned.get(position[0])
        if owned is not None and position[1] in owned.held:
            owned.held.discard(position[1])
            owned.acked += 1
        self._waiting[position] = None

    async def tell(self) -> None:
        """Tell Redis; what cannot be told now is told at one of the next calls."""
        if self._telling.locked():
            return  # it looks again before it ends
        async with self._telling:
            try:
                while self._waiting:
                    await self._tell(list(self._waiting))
                await self.trim(least=_TRIM_EVERY)
            except BusError as exc:
                logger.debug("%s: acknowledgements wait: %s", self._link.what, exc)

    async def trim(self, *, least: int) -> None:
        """Remove what all groups are done with from streams where we have acknowledged so many; raises BusError."""
        due = {partition: owned for partition, owned in self._owned.items() if owned.acked >= least}
        if not due:
            return
        for owned in due.values():
            owned.acked = 0
        for reply in await self._link.call([("EVAL", TRIM, 1, self._keys.streams[partition]) for partition in due]):
            if isinstance(reply, hiredis.ReplyError):
                logger.warning("%s: cannot trim: %s", self._link.what, reply)

    async def _tell(self, positions: list[Position]) -> None:
        by_partition: dict[int, list[bytes]] = {}
        for partition, entry in positions:
            by_partition.setdefault(partition, []).append(entry)
        commands: list[Command] = [
            ("XACK", self._keys.streams[partition], self._group, *entries[first : first + _ACKS_A_COMMAND])
            for partition, entries in by_partition.items()
            for first in range(0, len(entries), _ACKS_A_COMMAND)
        ]
        for reply in await self._link.call(commands):
            if isinstance(reply, hiredis.ReplyError):
                logger.warning("%s: cannot acknowledge: %s", self._link.what, reply)
            else:
                self._counts["acked"] += reply
        for position in positions:
            self._waiting.pop(position, None)
