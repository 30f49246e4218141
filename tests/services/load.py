"""Publishers and a job on a bus, while something is done to its broker."""

from __future__ import annotations

import asyncio
import itertools

from imctl.bus.contract import Bus, BusError, Record, Subscription

__all__ = ["BusLoad"]


class BusLoad:
    """What was published and received.

    Attributes:
        taken: Values that the bus has taken.
        unknown: Values of which nobody can tell.
        records: What the job got, all acknowledged.
        stopping: Ends the publishers when it is set.
    """

    def __init__(self) -> None:
        self.taken: set[bytes] = set()
        self.unknown: set[bytes] = set()
        self.records: list[Record] = []
        self.stopping = asyncio.Event()

    @property
    def received(self) -> set[bytes]:
        """Values that the job got."""
        return {record.value for record in self.records}

    async def receive(self, job: Subscription) -> None:
        """Take and acknowledge for ever."""
        while True:
            got = await job.receive()
            self.records.extend(got)
            await job.ack(got)

    async def publish(self, bus: Bus, publisher: int) -> None:
        """Publish values of this publisher, each another, one after the other under one key."""
        for i in itertools.count():
            value = b"%d" % (publisher * 1_000_000 + i)
            try:
                await bus.publish(f"key-{publisher}", value)
                self.taken.add(value)
            except BusError:
                self.unknown.add(value)
            if self.stopping.is_set():
                return
            await asyncio.sleep(0.001)
