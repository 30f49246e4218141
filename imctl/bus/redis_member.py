"""One member of a consumer group on Redis Streams.

Each partition has one owner at a time, which keeps the order of its keys; who
that is, is the affair of RedisLease. Who takes one over gets what the last
owner had not acknowledged (XAUTOCLAIM), then what is new.

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
from imctl.bus.redis_acks import RedisAcks
from imctl.bus.redis_lease import Owned, RedisLease, position_of
from imctl.bus.redis_link import RedisLink
from imctl.bus.redis_scripts import CONSUMER, Keys
from imctl.bus.resp import Command

__all__ = ["RedisMember"]

logger = logging.getLogger(__name__)

_BLOCK_MS = 250
_READ_BYTES = 4 * 1024 * 1024
_READ_RECORDS = 1000
_CLAIM = 500
_HURRY_S = 0.1
_CLOSE_S = 2.0


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
        self._links = links
        self._reads, self._control, for_acks = links
        self._lease_s = lease_s
        self._counts = counts
        self._inbox = Inbox()
        self._lease = RedisLease(
            self._control, keys, group, self.name, lease_s=lease_s, inbox=self._inbox, counts=counts
        )
        self._owned = self._lease.owned
        self._acks = RedisAcks(for_acks, keys, group, self._owned, counts=counts)
        self._record_bytes = 1000.0
        self._next_search_s = 0.0
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
        await self._lease.beat(self._acks.tell)
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
            self._acks.add(position_of(record))
        await self._acks.tell()

    async def close(self, reason: str = "the subscription is closed") -> None:
        """See Subscription.close; safe to call twice. receive() then raises BusError with this reason."""
        if self._closed:
            return
        self._closed = True
        self._inbox.close(reason)
        for event in (self._lease.hurry, self._lease.has_partition, self._lease.beaten):
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
                await self._acks.tell()
                await self._lease.leave()
        except (BusError, TimeoutError) as exc:
            # Then the lease runs out by itself.
            logger.info("left %s without telling it: %s", self._control.what, exc)
        for link in self._links:
            await link.close()

    async def _make_groups(self, start: str) -> None:
        """Make the group in every stream that lacks it, to begin after the entry `start`."""
        replies = await self._control.call(
            [
                ("SETNX", self._keys.meta, len(self._keys.streams)),
                *[("XGROUP", "CREATE", stream, self._group, start, "MKSTREAM") for stream in self._keys.streams],
            ]
        )
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError) and not str(reply).startswith("BUSYGROUP"):
                raise BusError(
                    f"{self._control.what}: cannot make consumer group {self._group!r}: {reply}",
                    hint="this bus needs Redis 6.2 or newer, or Valkey",
                )

    async def _beat_all(self) -> None:
        lease = self._lease
        while not self._closed:
            try:
                async with asyncio.timeout(self._lease_s / 10 if lease.is_settled else _HURRY_S):
                    await lease.hurry.wait()
            except TimeoutError:
                pass
            if self._closed:
                return
            lease.hurry.clear()
            try:
                await lease.beat(self._acks.tell)
                await self._acks.tell()
                await self._acks.trim(least=1)
            except BusError:
                await self._pause(self._control.backoff_s())

    async def _read_all(self) -> None:
        while not self._closed:
            await self._inbox.room()
            await self._lease.has_partition.wait()
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
                self._lease.in_read = frozenset()

    async def _pause(self, delay_s: float) -> None:
        if not self._closed:
            await asyncio.sleep(delay_s)

    async def _confirm_lease(self) -> None:
        """Return when our partitions are known to be ours, or closed."""
        while not self._lease.is_valid and not self._closed:
            self._lease.beaten.clear()
            self._lease.hurry.set()
            await self._lease.beaten.wait()

    async def _read(self) -> None:
        reading = {partition: owned for partition, owned in self._owned.items() if owned.drain_until_s is None}
        if not reading:
            await self._pause(_HURRY_S)
            return
        self._lease.in_read = frozenset(reading)
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
                entry[0] for entry in reply if entry[0] not in owned.held and (partition, entry[0]) not in self._acks
            ]
            if lost and self._owned.get(partition) is owned and owned.drain_until_s is None:
                owned.claim_from = b"0-0"

    def _new(self, partition: int, owned: Owned, entries: Iterable[Any]) -> list[Record]:
        fresh = [
            entry
            for entry in entries
            if entry is not None
            and entry[1] is not None
            and entry[0] not in owned.held
            and (partition, entry[0]) not in self._acks
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


def _records(partition: int, entries: Iterable[Any]) -> Iterator[Record]:
    for entry, fields in entries:
        # Ours are k and v, in this order; whatever else somebody has added is passed on as it is.
        yield Record(fields[1].decode(errors="replace"), fields[3] if len(fields) > 3 else b"", (partition, entry))
