"""A bus within one process: no copy, no serialization, no wait while there is room.

Records a group has not acknowledged are kept, up to a bound of records and of
bytes for each group; at the bound publish() waits. A record published while
there is no group is taken and dropped (counted as `unheard`), since a group
sees what is published after its first subscription. With several members a
record goes to the member that owns its key, so the order of a key holds; keys
are dealt out anew when a member comes or goes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

from imctl.bus.contract import BusError, Record

__all__ = ["MemoryBus"]

_RECEIVE = 1000
# What a record costs beside its value, about; keeps empty records from being free.
_RECORD_BYTES = 200


class _Group:
    """A consumer group: its members, and what nobody has acknowledged."""

    __slots__ = ("backlog", "held_bytes", "held_records", "members")

    def __init__(self) -> None:
        self.members: list[_Member] = []
        # Only while there is no member.
        self.backlog: deque[Record] = deque()
        self.held_records = 0
        self.held_bytes = 0

    def put(self, record: Record) -> None:
        members = self.members
        if len(members) == 1:
            members[0].put(record)
        elif members:
            members[hash(record.key) % len(members)].put(record)
        else:
            self.backlog.append(record)

    def redistribute(self, returned: Iterable[Record] = ()) -> None:
        """Deal out anew what has not been received, together with `returned`, in the order of publishing."""
        records = [*returned, *self.backlog]
        self.backlog.clear()
        for member in self.members:
            records += member.ready
            member.ready.clear()
        records.sort(key=_position)
        for record in records:
            self.put(record)


class _Member:
    """One subscription."""

    __slots__ = ("_bus", "_closed", "_group", "_wake", "ready", "unacked")

    def __init__(self, bus: MemoryBus, group: _Group) -> None:
        self._bus = bus
        self._group = group
        self._wake: asyncio.Future[None] | None = None
        self._closed = False
        self.ready: deque[Record] = deque()
        self.unacked: dict[object, Record] = {}

    def put(self, record: Record) -> None:
        self.ready.append(record)
        self.wake()

    def wake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def receive(self) -> list[Record]:
        """See Subscription.receive; raises BusError when the bus or this subscription is closed."""
        while not self.ready:
            if self._closed or self._bus.closed:
                raise BusError("the bus is closed" if self._bus.closed else "the subscription is closed")
            if self._wake is not None and not self._wake.done():
                raise BusError("another receive() of this subscription is waiting")
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        ready = self.ready
        if len(ready) <= _RECEIVE:
            records = list(ready)
            ready.clear()
        else:
            records = [ready.popleft() for _ in range(_RECEIVE)]
        self.unacked.update([(record.position, record) for record in records])
        self._bus.delivered(records)
        return records

    async def ack(self, records: Sequence[Record]) -> None:
        """See Subscription.ack; what this subscription no longer holds is passed over."""
        group = self._group
        done = 0
        for record in records:
            if self.unacked.pop(record.position, None) is not None:
                done += 1
                group.held_records -= 1
                group.held_bytes -= len(record.value) + _RECORD_BYTES
        if done:
            self._bus.acked(done)

    async def close(self) -> None:
        """See Subscription.close; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._group.members.remove(self)
        returned = [*self.unacked.values(), *self.ready]
        self._bus.returned(self.unacked.values())
        self.unacked.clear()
        self.ready.clear()
        self._group.redistribute(returned)
        self.wake()


class MemoryBus:
    """See the module; `imctl.bus.factory.open_bus` gives the one of a name.

    Args:
        url: What it was opened as.
        max_records: Records that are kept for a group.
        max_bytes: Bytes that are kept for a group.
        publish_timeout_s: How long publish() waits for room.
    """

    def __init__(
        self,
        url: str = "memory://",
        *,
        max_records: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        publish_timeout_s: float = 5.0,
    ) -> None:
        self.url = url
        self.closed = False
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._publish_timeout_s = publish_timeout_s
        self._groups: dict[str, _Group] = {}
        # Publishers wait in the order they came; only the first of them looks for room.
        self._line = asyncio.Lock()
        self._in_line = 0
        self._room: asyncio.Future[None] | None = None
        self._last_position = 0
        # Positions that a closed subscription gave back.
        self._returned: set[object] = set()
        self._counts = dict.fromkeys(("published", "delivered", "acked", "redelivered", "refused", "unheard"), 0)

    async def publish(self, key: str, value: bytes) -> None:
        """See Bus.publish; returns without a turn of the loop when there is room."""
        if self.closed:
            raise BusError("the bus is closed")
        if self._in_line or not self._has_room(len(value)):
            await self._wait_for_room(len(value))
        self._last_position += 1
        record = Record(key, value, self._last_position)
        self._counts["published"] += 1
        if not self._groups:
            self._counts["unheard"] += 1
        for group in self._groups.values():
            group.held_records += 1
            group.held_bytes += len(value) + _RECORD_BYTES
            group.put(record)

    async def subscribe(self, group: str) -> _Member:
        """See Bus.subscribe."""
        if self.closed:
            raise BusError("the bus is closed")
        members_of = self._groups.setdefault(group, _Group())
        member = _Member(self, members_of)
        members_of.members.append(member)
        members_of.redistribute()
        return member

    def stats(self) -> dict[str, int]:
        """See Bus.stats; also {"unheard"}: records that no group was there for."""
        return {**self._counts, "waiting": sum(group.held_records for group in self._groups.values())}

    async def close(self) -> None:
        """See Bus.close; what is kept is gone."""
        self.closed = True
        self._wake_publisher()
        for group in self._groups.values():
            for member in group.members:
                member.ready.clear()
                member.wake()

    def delivered(self, records: Sequence[Record]) -> None:
        """Count what a member has received."""
        self._counts["delivered"] += len(records)
        if self._returned:
            positions = {record.position for record in records} & self._returned
            self._returned -= positions
            self._counts["redelivered"] += len(positions)

    def returned(self, records: Iterable[Record]) -> None:
        """Remember what will be delivered once more."""
        self._returned.update(record.position for record in records)

    def acked(self, count: int) -> None:
        """Count what is done, and let a waiting publisher look."""
        self._counts["acked"] += count
        self._wake_publisher()

    def _has_room(self, size: int) -> bool:
        return all(
            group.held_records < self._max_records and group.held_bytes + size + _RECORD_BYTES <= self._max_bytes
            for group in self._groups.values()
        )

    async def _wait_for_room(self, size: int) -> None:
        """Wait in line until there is room."""
        if size + _RECORD_BYTES > self._max_bytes:
            self._counts["refused"] += 1
            raise BusError(f"a record of {size} bytes is over the bus's bound of {self._max_bytes} bytes")
        self._in_line += 1
        try:
            async with asyncio.timeout(self._publish_timeout_s), self._line:
                while not self._has_room(size):
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                    if self.closed:
                        raise BusError("the bus is closed")
        except TimeoutError:
            self._counts["refused"] += 1
            raise BusError(
                f"the bus is full: no room for a record within {self._publish_timeout_s:g} s",
                hint="is a job running, and do its comets answer? see `imctl stats`",
            ) from None
        finally:
            self._in_line -= 1

    def _wake_publisher(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


def _position(record: Record) -> int:
    assert isinstance(record.position, int)
    return record.position
