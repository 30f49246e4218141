"""One member of a consumer group on Kafka.

Kafka deals the partitions to the members. Before a partition goes to another
member we wait a little for what the job has received of it, and commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from imctl.bus.contract import BusError, Record
from imctl.bus.ending import ended, kept_up
from imctl.bus.inbox import Inbox
from imctl.bus.kafka import KafkaSettings
from imctl.bus.offsets import OffsetTracker

__all__ = ["KafkaMember"]

logger = logging.getLogger(__name__)

_COMMIT_EVERY_S = 0.2
_POLL_MS = 200
_DRAIN_S = 3.0
_CLOSE_S = 5.0
_RETRY_S = 0.5


class KafkaMember(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """See the module; `KafkaBus.subscribe` makes one.

    Args:
        settings: The bus's.
        group: Its consumer group.
        counts: The bus's.
        returned: The bus's: partition and offset of what is delivered once more.
    """

    def __init__(
        self, settings: KafkaSettings, group: str, *, counts: dict[str, int], returned: set[tuple[int, int]]
    ) -> None:
        self.closed = False
        self._settings = settings
        self._counts = counts
        self._returned = returned
        self._inbox = Inbox()
        self._trackers: dict[int, OffsetTracker] = {}
        self._assigned = asyncio.Event()
        self._acked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._consumer = AIOKafkaConsumer(
            **settings.client,
            group_id=group,
            enable_auto_commit=False,
            # For offsets that Kafka has forgotten: the oldest it has, so that no more is lost.
            # Where a new group begins is decided in on_partitions_assigned().
            auto_offset_reset="earliest",
            # goim's, and it must be the same in the whole group.
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=int(settings.session_s * 1000),
            rebalance_timeout_ms=int(max(settings.session_s, 2 * _DRAIN_S) * 1000),
            heartbeat_interval_ms=int(min(3.0, settings.session_s / 4) * 1000),
            # A job that takes its time is no reason to leave the group.
            max_poll_interval_ms=24 * 3600 * 1000,
            fetch_max_bytes=8 * 1024 * 1024,
            fetch_max_wait_ms=settings.fetch_wait_ms,
        )

    @property
    def unacked(self) -> int:
        """Records read and not acknowledged."""
        return sum(map(len, self._trackers.values()))

    async def join(self) -> None:
        """Join the group and wait for partitions, which may be none; raises BusError."""
        settings = self._settings
        self._consumer.subscribe([settings.topic], listener=self)
        try:
            # A dead member may have to be found out first.
            async with asyncio.timeout(settings.timeout_s + settings.session_s):
                await self._consumer.start()
                await self._assigned.wait()
                await self._commit()
        except KafkaError as exc:
            raise BusError(
                f"bus {settings.shown}: {settings.reason(exc)}",
                hint="are the brokers running, and the addresses right?",
            ) from exc
        except TimeoutError:
            raise BusError(f"bus {settings.shown}: the group dealt out no partitions in time") from None
        for what, work in (("reader", self._read_all()), ("committer", self._commit_all())):
            self._tasks.append(kept_up(work, f"kafka {what}"))

    async def receive(self) -> list[Record]:
        """See Subscription.receive; waits as long as Kafka is away."""
        records = await self._inbox.get()
        self._counts["delivered"] += len(records)
        return records

    async def ack(self, records: Sequence[Record]) -> None:
        """See Subscription.ack; Kafka is told within 0.2 s, and when the partition or the member leaves."""
        for record in records:
            position: Any = record.position
            tracker = self._trackers.get(position[0])
            if tracker is not None and tracker.done(position[1]):
                self._counts["acked"] += 1
        self._acked.set()

    async def close(self, reason: str = "the subscription is closed") -> None:
        """See Subscription.close; safe to call twice. receive() then raises BusError with this reason."""
        if self.closed:
            return
        self.closed = True
        self._inbox.close(reason)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._commit()
        self._give_back(self._trackers)
        await self._stop()

    async def _stop(self) -> None:
        # Known to hang in a rebalance now and then, and to fail half-way while Kafka is away.
        consumer = self._consumer
        if await ended(consumer.stop(), within_s=_CLOSE_S):
            return
        logger.info("%s: the consumer did not stop as it should", self._settings.shown)
        fetcher: Any = consumer._fetcher
        if fetcher is not None:
            fetches = list(fetcher._pending_tasks)
            for fetch in fetches:
                fetch.cancel()
            if fetches:
                await asyncio.wait(fetches, timeout=_CLOSE_S)
        await ended(consumer._client.close(), within_s=_CLOSE_S)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called by aiokafka before partitions are dealt out anew."""
        self._assigned.clear()
        partitions = {each.partition for each in revoked}
        if self.closed or not partitions:
            return
        unreceived = {_position(record) for record in self._inbox.discard(lambda record: True)}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while any(
                    (partition, offset) not in unreceived
                    for partition in partitions
                    if (tracker := self._trackers.get(partition)) is not None
                    for offset in tracker
                ):
                    self._acked.clear()
                    await self._acked.wait()
        try:
            await self._commit()
        except KafkaError as exc:
            logger.warning("%s: cannot commit what is done: %s", self._settings.shown, exc)
        self._give_back(partitions)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by aiokafka when partitions have been dealt out."""
        self._trackers.clear()
        for each in assigned:
            start = await self._consumer.committed(each)
            if start is None:
                # A new group sees what comes from now on.
                start = (await self._consumer.end_offsets([each]))[each]
                self._consumer.seek(each, start)
                self._trackers[each.partition] = OffsetTracker(start)
                self._trackers[each.partition].committed = -1
            else:
                self._trackers[each.partition] = OffsetTracker(start)
        self._assigned.set()

    def _give_back(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            tracker = self._trackers.pop(partition, None)
            if tracker is not None:
                self._returned.update((partition, offset) for offset in tracker)

    async def _read_all(self) -> None:
        while True:
            await self._inbox.room()
            await self._assigned.wait()
            try:
                batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=1000)
            except KafkaError as exc:
                logger.warning("%s: cannot read: %s", self._settings.shown, exc)
                await asyncio.sleep(_RETRY_S)
                continue
            if not self._assigned.is_set():
                continue  # not ours any more; whoever has it now gets it
            for partition, messages in batches.items():
                tracker = self._trackers.get(partition.partition)
                if tracker is None:
                    continue
                self._inbox.put(
                    Record(
                        (message.key or b"").decode(errors="replace"),
                        message.value or b"",
                        (message.partition, message.offset),
                    )
                    for message in messages
                    if tracker.add(message.offset)
                )
                if self._returned:
                    again = {(message.partition, message.offset) for message in messages} & self._returned
                    self._returned -= again
                    self._counts["redelivered"] += len(again)

    async def _commit_all(self) -> None:
        while True:
            await self._acked.wait()
            self._acked.clear()
            try:
                await self._commit()
            except KafkaError as exc:
                logger.warning("%s: cannot commit, trying again: %s", self._settings.shown, exc)
                await asyncio.sleep(_RETRY_S)
                self._acked.set()
            await asyncio.sleep(_COMMIT_EVERY_S)

    async def _commit(self) -> None:
        """Tell Kafka how far we are; raises KafkaError."""
        topic = self._settings.topic
        due = {
            partition: (tracker, tracker.position)
            for partition, tracker in self._trackers.items()
            if tracker.position != tracker.committed
        }
        if not due:
            return
        await self._consumer.commit(
            {TopicPartition(topic, partition): position for partition, (_, position) in due.items()}
        )
        for tracker, position in due.values():
            tracker.committed = position


def _position(record: Record) -> tuple[int, int]:
    position: Any = record.position
    return int(position[0]), int(position[1])
