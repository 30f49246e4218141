"""Which partitions a member owns: a lease it renews, a fair share it takes and gives up.

A member renews its lease several times in its length. Who gives a partition
up first stops reading it and waits until what it has received is
acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import hiredis

from imctl.bus.contract import BusError, Record
from imctl.bus.inbox import Inbox
from imctl.bus.redis_link import RedisLink
from imctl.bus.redis_scripts import BEAT, LEAVE, Keys
from imctl.bus.resp import Command

__all__ = ["Owned", "Position", "RedisLease", "position_of"]

Position = tuple[int, bytes]
"""Partition and entry id: the mark of a Record of this bus."""


def position_of(record: Record) -> Position:
    """Return where a record of this bus is."""
    position = record.position
    assert isinstance(position, tuple), "a record of another bus"
    return position


class Owned:
    """A partition of ours."""

    __slots__ = ("acked", "claim_from", "drain_until_s", "held")

    def __init__(self) -> None:
        # Entries read and not acknowledged, here or at the job.
        self.held: set[bytes] = set()
        # Where to go on with what was pending before us; None when that is done.
        self.claim_from: bytes | None = b"0-0"
        # Being given up: not read any more.
        self.drain_until_s: float | None = None
        self.acked = 0


class RedisLease:
    """The lease of one member.

    Args:
        link: Its own connection.
        keys: Of the bus.
        group: The consumer group.
        member: Its name.
        lease_s: A member that was not heard of for so long is taken for dead.
        inbox: What was read and not received; records of partitions that are lost are taken out of it.
        counts: The bus's.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        group: str,
        member: str,
        *,
        lease_s: float,
        inbox: Inbox,
        counts: dict[str, int],
    ) -> None:
        self.owned: dict[int, Owned] = {}
        self.has_partition = asyncio.Event()
        self.in_read: frozenset[int] = frozenset()
        """Redis may still hand out records of these to the read under way; set by the reader."""
        self.hurry = asyncio.Event()
        """Set when the next beat should not wait for its time."""
        self.beaten = asyncio.Event()
        """Set by every beat."""
        self._link = link
        self._keys = keys
        self._names = (keys.members(group), keys.owners(group))
        self._member = member
        self._lease_s = lease_s
        self._inbox = inbox
        self._counts = counts
        self._until_s = 0.0
        self._share = 0

    @property
    def is_settled(self) -> bool:
        """Whether we have our share, and give nothing up."""
        return self._share == len(self.owned) and not any(owned.drain_until_s for owned in self.owned.values())

    @property
    def is_valid(self) -> bool:
        """Whether our partitions are known to be ours."""
        return asyncio.get_running_loop().time() <= self._until_s

    async def beat(self, before_release: Callable[[], Awaitable[None]]) -> None:
        """Renew the lease, and take and give up partitions; raises BusError.

        Args:
            before_release: Awaited before a partition is given up: what is acknowledged must be known to
                Redis before somebody else looks for what is not.
        """
        now_s = asyncio.get_running_loop().time()
        released = [
            partition
            for partition, owned in self.owned.items()
            if owned.drain_until_s is not None
            and partition not in self.in_read
            and (not owned.held or owned.drain_until_s <= now_s)
        ]
        if released:
            await before_release()
        command: Command = ("EVAL", BEAT, 2, *self._names, self._member, int(self._lease_s * 1000))
        command += (len(self._keys.streams), *released)
        (reply,) = await self._link.call([command])
        if isinstance(reply, hiredis.ReplyError):
            raise BusError(f"{self._link.what}: {reply}")
        for partition in released:
            del self.owned[partition]
        kept, taken, self._share, members = reply
        self._until_s = now_s + self._lease_s
        self._counts["members"] = members
        for partition in [partition for partition in self.owned if partition not in kept]:
            self._lose(partition)
        for partition in taken:
            self._lose(partition)
        for partition in {*kept, *taken} - self.owned.keys():
            self.owned[partition] = Owned()
        self._give_up_excess(now_s)
        (self.has_partition.set if self.owned else self.has_partition.clear)()
        self.beaten.set()

    async def leave(self) -> None:
        """Give all partitions up at once; raises BusError, and then the lease runs out by itself."""
        await self._link.call([("EVAL", LEAVE, 2, *self._names, self._member)])

    def _lose(self, partition: int) -> None:
        """Forget a partition that has, or had, another owner: what nobody received is the other's to deliver."""
        if self.owned.pop(partition, None) is not None:
            self._take_out(partition)

    def _give_up_excess(self, now_s: float) -> None:
        staying = [partition for partition, owned in self.owned.items() if owned.drain_until_s is None]
        for partition in staying[self._share :]:
            owned = self.owned[partition]
            owned.drain_until_s = now_s + 2 * self._lease_s
            for record in self._take_out(partition):
                owned.held.discard(position_of(record)[1])

    def _take_out(self, partition: int) -> list[Record]:
        return self._inbox.discard(lambda record: position_of(record)[0] == partition)
