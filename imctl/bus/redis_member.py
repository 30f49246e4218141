"""One member of a consumer group on Redis Streams.

Each partition has one owner at a time, which keeps the order of its keys. A
member renews its lease twice a second, and takes and gives up partitions so
that each member has its share. Who gives one up first stops reading it and
waits until what it has received is acknowledged. Who takes one over gets what
the last owner had not acknowledged (XAUTOCLAIM), then what is new.

A member that was stopped for longer than its lease may come back while
another owns its partitions: what a read brought meanwhile is put aside, and
the other finds it, as records that are pending and that it does not know.

Three connections: one blocks on reads, one is for leases, and one for
acknowledging, so none waits for the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import hiredis

from imctl.bus.contract import BusError, Record
from imctl.bus.ending import kept_up
from imctl.bus.inbox import Inbox
from imctl.bus.redis_link import RedisLink
from imctl.bus.redis_scripts import BEAT, CONSUMER, LEAVE, TRIM, Keys
from imctl.bus.resp import Command

__all__ = ["RedisMember"]

logger = logging.getLogger(__name__)

_BLOCK_MS = 250
_READ_BYTES = 4 * 1024 * 1024
_READ_RECORDS = 1000
_CLAIM = 500
_TRIM_EVERY = 1000
_ACKS_A_COMMAND = 500
_HURRY_S = 0.1
_CLOSE_S = 2.0

Position = tuple[int, bytes]
"""Partition and entry id."""


class _Owned:
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


class RedisMember:
    """See the module; `RedisStreamsBus.subscribe` makes one.

    Args:
        keys: Of the bus.
        group: Its consumer group.
        links: Connections for reads, leases and acknowledgements.
        lease_s: A member that was not heard of for so long is taken for dead.
        counts: The bus's.
    """

    def __init__(
        self,
        keys: Keys,
        group: str,
        links: tuple[RedisLink, RedisLink, RedisLink],
        *,
        lease_s: float,
        counts: dict[str, int],
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._keys = keys
        self._group = group
        self._reads, self._leases, self._acks = links
        self._lease_s = lease_s
        self._counts = counts
        self._inbox = Inbox()
        self._owned: dict[int, _Owned] = {}
        self._lease_until_s = 0.0
        self._share = 0
        self._beaten = asyncio.Event()
        self._hurry = asyncio.Event()
        self._has_partition = asyncio.Event()
        # Acknowledged, and not yet told to Redis.
        self._to_ack: dict[Position, None] = {}
        self._acking = asyncio.Lock()
        self._record_bytes = 1000.0
        self._next_search_s = 0.0
        # Redis may still hand out records of these to the read under way.
        self._in_read: frozenset[int] = frozenset()
        self._known_connects = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it has left."""
        return self._closed

    @property
    def unacked(self) -> int:
        """Records read and not acknowledged."""
        return sum(len(owned.held) for owned in self._owned.values())

    async def join(self) -> None:
        """Make the group where there is none, and begin; raises BusError."""
        await self._make_groups("$")
        await self._beat()
        for what, work in (("reader", self._read_all()), ("lease", self._beat_all())):
            self._tasks.append(kept_up(work, f"bus {what} of {self.name}"))

    async def receive(self) -> list[Record]:
        """See Subscription.receive; waits as long as Redis is away."""
        records = await self._inbox.get()
        self._counts["delivered"] += len(records)
        return records

    async def ack(self, records: Sequence[Record]) -> None:
        """See Subscription.ack; while Redis is away it is remembered, and told when Redis is back."""
        for record in records:
            position: Any = record.position
            owned = self._owned.get(position[0])
            if owned is not None and position[1] in owned.held:
                owned.held.discard(position[1])
                owned.acked += 1
            self._to_ack[position] = None
        await self._tell_acks()

    async def close(self, reason: str = "the subscription is closed") -> None:
        """See Subscription.close; safe to call twice. receive() then raises BusError with this reason."""
        if self._closed:
            return
        self._closed = True
        self._inbox.close(reason)
        for event in (self._hurry, self._has_partition, self._beaten):
            event.set()
        if self._tasks:
            # Let the read under way end: Redis could hand a record to it after the next owner has looked.
            _, left = await asyncio.wait(self._tasks, timeout=_CLOSE_S)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._tell_acks()
                await self._leases.call([("EVAL", LEAVE, 2, *self._group_keys(), self.name)])
        except (BusError, TimeoutError) as exc:
            # Then the lease runs out by itself.
            logger.info("left %s without telling it: %s", self._leases.what, exc)
        for link in (self._reads, self._leases, self._acks):
            await link.close()

    def _group_keys(self) -> tuple[str, str]:
        return self._keys.members(self._group), self._keys.owners(self._group)

    async def _make_groups(self, start: str) -> None:
        """Make the group in every stream that lacks it, to begin after the entry `start`."""
        replies = await self._leases.call(
            [
                ("SETNX", self._keys.meta, len(self._keys.streams)),
                *[("XGROUP", "CREATE", stream, self._group, start, "MKSTREAM") for stream in self._keys.streams],
            ]
        )
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError) and not str(reply).startswith("BUSYGROUP"):
                raise BusError(
                    f"{self._leases.what}: cannot make consumer group {self._group!r}: {reply}",
                    hint="this bus needs Redis 6.2 or newer, or Valkey",
                )

    # Leases.

    async def _beat_all(self) -> None:
        while not self._closed:
            hurry = self._share != len(self._owned) or any(owned.drain_until_s for owned in self._owned.values())
            try:
                async with asyncio.timeout(_HURRY_S if hurry else self._lease_s / 10):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            if self._closed:
                return
            self._hurry.clear()
            try:
                await self._beat()
                await self._tell_acks()
                await self._trim(least=1)
            except BusError:
                await self._pause(self._leases.backoff_s())

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        released = [
            partition
            for partition, owned in self._owned.items()
            if owned.drain_until_s is not None
            and partition not in self._in_read
            and (not owned.held or owned.drain_until_s <= now_s)
        ]
        # What is acknowledged must be known to Redis before somebody else looks for what is not.
        if released:
            await self._tell_acks()
        command: Command = ("EVAL", BEAT, 2, *self._group_keys(), self.name, int(self._lease_s * 1000))
        command += (len(self._keys.streams), *released)
        (reply,) = await self._leases.call([command])
        if isinstance(reply, hiredis.ReplyError):
            raise BusError(f"{self._leases.what}: {reply}")
        for partition in released:
            del self._owned[partition]
        kept, taken, self._share, members = reply
        self._lease_until_s = now_s + self._lease_s
        self._counts["members"] = members
        for partition in [partition for partition in self._owned if partition not in kept]:
            self._lose(partition)
        for partition in taken:
            self._lose(partition)
        for partition in {*kept, *taken} - self._owned.keys():
            self._owned[partition] = _Owned()
        self._give_up_excess(now_s)
        (self._has_partition.set if self._owned else self._has_partition.clear)()
        self._beaten.set()

    def _lose(self, partition: int) -> None:
        """Forget a partition that has, or had, another owner: what nobody received is the other's to deliver."""
        if self._owned.pop(partition, None) is not None:
            self._inbox.discard(lambda record: _partition(record) == partition)

    def _give_up_excess(self, now_s: float) -> None:
        staying = [partition for partition, owned in self._owned.items() if owned.drain_until_s is None]
        for partition in staying[self._share :]:
            owned = self._owned[partition]
            owned.drain_until_s = now_s + 2 * self._lease_s
            for record in self._inbox.discard(lambda record, mine=partition: _partition(record) == mine):  # type: ignore[misc]
                owned.held.discard(_entry(record))

    # Reading.

    async def _read_all(self) -> None:
        while not self._closed:
            await self._inbox.room()
            await self._has_partition.wait()
            try:
                if not await self._reads.try_connect():
                    await self._pause(self._reads.backoff_s())
                    continue
                if self._reads.connects != self._known_connects:
                    # What Redis had handed out when the connection broke is pending and unknown to us.
                    self._known_connects = self._reads.connects
                    for owned in self._owned.values():
                        owned.claim_from = b"0-0"
                await self._search_lost()
                if not await self._claim():
                    await self._read()
            except BusError:
                await self._pause(self._reads.backoff_s())
            finally:
                self._in_read = frozenset()

    async def _pause(self, delay_s: float) -> None:
        if not self._closed:
            await asyncio.sleep(delay_s)

    async def _confirm_lease(self) -> None:
        """Return when our partitions are known to be ours, or closed."""
        while asyncio.get_running_loop().time() > self._lease_until_s and not self._closed:
            self._beaten.clear()
            self._hurry.set()
            await self._beaten.wait()

    async def _read(self) -> None:
        reading = {partition: owned for partition, owned in self._owned.items() if owned.drain_until_s is None}
        if not reading:
            await self._pause(_HURRY_S)
            return
        self._in_read = frozenset(reading)
        names = [self._keys.streams[partition] for partition in reading]
        count = max(1, int(min(_READ_RECORDS, _READ_BYTES / self._record_bytes) / len(names)))
        command: Command = ("XREADGROUP", "GROUP", self._group, CONSUMER, "COUNT", count, "BLOCK", _BLOCK_MS)
        command += ("STREAMS", *names, *[">"] * len(names))
        (reply,) = await self._reads.call([command], wait_s=_BLOCK_MS / 1000)
        if isinstance(reply, hiredis.ReplyError):
            await self._understand(reply)
            return
        if reply is None:
            return
        await self._confirm_lease()
        partitions = dict(zip([name.encode() for name in names], reading, strict=True))
        records: list[Record] = []
        for name, entries in reply:
            partition = partitions[name]
            owned = reading[partition]
            if self._owned.get(partition) is not owned or owned.drain_until_s is not None:
                continue  # pending, and the next owner's to deliver
            records += _records(partition, entries)
            owned.held.update([entry[0] for entry in entries])
        self._put(records)

    async def _understand(self, error: hiredis.ReplyError) -> None:
        """React to an error of a read: a group that is gone is made again."""
        text = str(error)
        if text.startswith(("NOGROUP", "UNBLOCKED")):
            # Somebody deleted the stream, or Redis lost its data: what is there now came after that.
            logger.warning("%s: %s; making it again", self._reads.what, text)
            await self._make_groups("0")
            for owned in self._owned.values():
                owned.held.clear()
        else:
            logger.warning("%s: cannot read: %s", self._reads.what, text)
            await self._pause(1.0)

    async def _claim(self) -> bool:
        """Take one page of what was pending before us; False when there is no more."""
        todo = [(partition, owned) for partition, owned in self._owned.items() if owned.claim_from is not None]
        if not todo:
            return False
        partition, owned = todo[0]
        assert owned.claim_from is not None
        stream = self._keys.streams[partition]
        (reply,) = await self._reads.call(
            [("XAUTOCLAIM", stream, self._group, CONSUMER, 0, owned.claim_from, "COUNT", _CLAIM)]
        )
        if isinstance(reply, hiredis.ReplyError):
            await self._understand(reply)
            return True
        await self._confirm_lease()
        if self._owned.get(partition) is not owned:
            return True
        following, entries = reply[0], reply[1]
        owned.claim_from = None if following == b"0-0" else following
        # Redis 7 names those that were deleted before anybody acknowledged them, Redis 6.2 leaves them empty.
        gone = len(reply[2]) if len(reply) > 2 else sum(1 for entry in entries if entry is None or entry[1] is None)
        self._counts["trimmed_unacked"] += gone
        self._put(self._new(partition, owned, entries), again=True)
        return True

    async def _search_lost(self) -> None:
        """Now and then look for records that are pending for long and that we do not know."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._next_search_s:
            return
        first, self._next_search_s = not self._next_search_s, now_s + 2 * self._lease_s
        owned_now = [] if first else [(p, o) for p, o in self._owned.items() if o.claim_from is None]
        if not owned_now:
            return
        idle_ms = int(self._lease_s * 2000)
        replies = await self._reads.call(
            [
                ("XPENDING", self._keys.streams[partition], self._group, "IDLE", idle_ms, "-", "+", 100)
                for partition, _ in owned_now
            ]
        )
        for (partition, owned), reply in zip(owned_now, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                continue
            lost = [
                entry[0] for entry in reply if entry[0] not in owned.held and (partition, entry[0]) not in self._to_ack
            ]
            if lost and self._owned.get(partition) is owned and owned.drain_until_s is None:
                owned.claim_from = b"0-0"

    def _new(self, partition: int, owned: _Owned, entries: Iterable[Any]) -> list[Record]:
        fresh = [
            entry
            for entry in entries
            if entry is not None
            and entry[1] is not None
            and entry[0] not in owned.held
            and (partition, entry[0]) not in self._to_ack
        ]
        owned.held.update([entry[0] for entry in fresh])
        return list(_records(partition, fresh))

    def _put(self, records: list[Record], *, again: bool = False) -> None:
        if not records:
            return
        size = sum(len(record.value) for record in records) + 200 * len(records)
        self._record_bytes += 0.5 * (size / len(records) - self._record_bytes)
        if again:
            self._counts["redelivered"] += len(records)
        self._inbox.put(records)

    # Acknowledging.

    async def _tell_acks(self) -> None:
        """Tell Redis; what cannot be told now is told at one of the next beats."""
        if self._acking.locked():
            return  # it looks again before it ends
        async with self._acking:
            try:
                while self._to_ack:
                    await self._tell(list(self._to_ack))
                await self._trim(least=_TRIM_EVERY)
            except BusError as exc:
                logger.debug("%s: acknowledgements wait: %s", self._acks.what, exc)

    async def _tell(self, positions: list[Position]) -> None:
        by_partition: dict[int, list[bytes]] = {}
        for partition, entry in positions:
            by_partition.setdefault(partition, []).append(entry)
        commands: list[Command] = [
            ("XACK", self._keys.streams[partition], self._group, *entries[first : first + _ACKS_A_COMMAND])
            for partition, entries in by_partition.items()
            for first in range(0, len(entries), _ACKS_A_COMMAND)
        ]
        for reply in await self._acks.call(commands):
            if isinstance(reply, hiredis.ReplyError):
                logger.warning("%s: cannot acknowledge: %s", self._acks.what, reply)
            else:
                self._counts["acked"] += reply
        for position in positions:
            self._to_ack.pop(position, None)

    async def _trim(self, *, least: int) -> None:
        """Remove what all groups have acknowledged from streams where we have acknowledged that many."""
        due = {partition: owned for partition, owned in self._owned.items() if owned.acked >= least}
        if not due:
            return
        for owned in due.values():
            owned.acked = 0
        for reply in await self._acks.call([("EVAL", TRIM, 1, self._keys.streams[partition]) for partition in due]):
            if isinstance(reply, hiredis.ReplyError):
                logger.warning("%s: cannot trim: %s", self._acks.what, reply)


def _records(partition: int, entries: Iterable[Any]) -> Iterator[Record]:
    for entry, fields in entries:
        # Ours are k and v, in this order; whatever else somebody has added is passed on as it is.
        yield Record(fields[1].decode(errors="replace"), fields[3] if len(fields) > 3 else b"", (partition, entry))


def _partition(record: Record) -> int:
    position: Any = record.position
    return int(position[0])


def _entry(record: Record) -> bytes:
    position: Any = record.position
    return bytes(position[1])
