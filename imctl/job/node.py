"""The job: takes records off the bus and pushes them to comets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from functools import partial
from time import monotonic_ns

from imctl.bus.contract import Bus, BusError, Record, Subscription
from imctl.errors import StartError
from imctl.job.config import JobConfig
from imctl.job.router import Router
from imctl.link.contract import PeerUnavailableError
from imctl.link.pool import PeerPool
from imctl.node import Counters, NodeStats
from imctl.registry.contract import Registry
from imctl.trace import TraceLog
from protocol.discovery_api import Instance

__all__ = ["Job"]

logger = logging.getLogger(__name__)

# The loop has other things to do between so many records.
_SLICE = 250
_FIRST_BACKOFF_S = 0.02
_MAX_BACKOFF_S = 3.0


class Job:
    """One job. A record is acknowledged when the comets have answered, or its loss is counted.

    So what a job had not finished when it died is delivered to the next one,
    if the bus can: at-least-once.

    Args:
        config: Its settings.
        registry: Where the comets are registered; a job is not.
        bus: Where logic publishes; not closed by the job.
    """

    kind = "job"

    def __init__(self, config: JobConfig, *, registry: Registry, bus: Bus) -> None:
        self.name = config.hostname
        self._config = config
        self._registry = registry
        self._bus = bus
        self._counters = Counters(
            *("records", "push", "broadcast", "room", "room_batches", "room_messages"),
            *("calls", "answered", "retries", "acked", "bus_errors"),
        )
        self._drops = Counters()
        self.traces = TraceLog(self.name)
        self._router = Router(config, self._counters, self._drops, partial(self._finish, None), self.traces)
        self._pool: PeerPool | None = None
        self._subscription: Subscription | None = None
        self._in_flight = 0
        self._done: list[Record] = []
        self._done_some = asyncio.Event()
        # Set whenever in_flight has gone down; who waits looks at the number.
        self._less = asyncio.Event()
        self._gave_up = False
        self._room_timer: asyncio.TimerHandle | None = None
        self._consumer: asyncio.Task[None] | None = None
        self._acker: asyncio.Task[None] | None = None

    @property
    def addresses(self) -> Mapping[str, str | None]:
        """A job listens nowhere."""
        return {}

    async def start(self) -> None:
        """See Node.start; does not wait for comets.

        Raises:
            StartError: the bus cannot be read.
        """
        try:
            await self._subscribe()
        except BusError as exc:
            why = str(exc).removeprefix(f"bus {self._bus.url}: ")
            raise StartError(f"{self.name}: cannot read the bus {self._bus.url}: {why}", hint=exc.hint) from exc
        self._pool = PeerPool(
            self._registry,
            "goim.comet",
            timeout_s=self._config.comet_timeout_s,
            on_change=self._router.set_comets,
            accept=self._in_zone,
        )
        # Before that every push would be for an unknown server.
        if not await self._pool.known(self._config.discover_timeout_s) and self._config.discover_timeout_s > 0:
            logger.warning("%s: the registry has not answered yet; going on without comets", self.name)
        loop = asyncio.get_running_loop()
        self._consumer = loop.create_task(self._consume(), name=f"{self.name} consumer")
        self._acker = loop.create_task(self._acknowledge(), name=f"{self.name} acker")
        for task in (self._consumer, self._acker):
            task.add_done_callback(self._ended)

    async def stop(self, grace_s: float = 5.0) -> None:
        """See Node.stop; what is not done by then stays on the bus."""
        await _cancel(self._consumer)
        self._router.flush_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._in_flight:
                    self._less.clear()
                    await self._less.wait()
        self._router.close()
        if self._room_timer is not None:
            self._room_timer.cancel()
        await _cancel(self._acker)
        if self._pool is not None:
            await self._pool.close()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(BusError):
                await self._ack(subscription)
                await subscription.close()

    def stats(self) -> NodeStats:
        """See Node.stats."""
        values = self._counters.values
        queues = self._router.queues
        links = [stats() for q in queues.values() if (stats := getattr(q.peer, "stats", None)) is not None]
        batches = sum(link["batches"] for link in links)
        gauges: dict[str, float] = {
            "comets": len(queues),
            "rooms": self._router.rooms,
            "in_flight": self._in_flight,
            "queued": sum(queue.waiting for queue in queues.values()),
            "calls_in_flight": sum(queue.in_flight for queue in queues.values()),
            "messages_per_room_batch": _ratio(values["room_messages"], values["room_batches"]),
            "calls_per_link_batch": _ratio(sum(link["calls"] for link in links), batches),
        }
        for hostname, queue in queues.items():
            gauges[f"queued.{hostname}"] = queue.waiting
        return {"kind": self.kind, "counters": dict(values), "drops": self._drops.nonzero(), "gauges": gauges}

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("%s: %s has failed", self.name, task.get_name(), exc_info=error)

    def _in_zone(self, instance: Instance) -> bool:
        return instance.zone == self._config.zone

    async def _subscribe(self) -> Subscription:
        subscription = await self._bus.subscribe(self._config.group)
        self._subscription = subscription
        # What came from an earlier subscription cannot be acknowledged to this one.
        self._router.finish = partial(self._finish, subscription)
        return subscription

    async def _consume(self) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                subscription = self._subscription or await self._subscribe()
                records = await subscription.receive()
                if self._config.compat_goim:
                    # goim's order: consumed before it is pushed. A job that dies repeats nothing, and loses some.
                    self._done += records
                    await self._ack(subscription)
            except BusError as exc:
                self._counters.add("bus_errors")
                logger.warning("%s: cannot read the bus, trying again in %g s: %s", self.name, backoff_s, exc)
                await self._unsubscribe()
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _MAX_BACKOFF_S)
                continue
            read_ns = monotonic_ns()
            backoff_s = _FIRST_BACKOFF_S
            self._counters.values["records"] += len(records)
            if self._router.queues:
                self._gave_up = False
            elif not self._gave_up:
                await self._wait_for_comets()
            for first in range(0, len(records), _SLICE):
                part = records[first : first + _SLICE]
                self._in_flight += len(part)
                self._router.take(part, loop.time(), read_ns)
                self._set_room_timer()
                # receive() and this loop would otherwise run for as long as there is something.
                await asyncio.sleep(0)
                if self._router.congested():
                    await self._let_drain()
                while self._in_flight >= self._config.max_in_flight:
                    self._less.clear()
                    await self._less.wait()

    async def _wait_for_comets(self) -> None:
        """Hold what has been taken while the registry names no comet, for a bounded time.

        After a restart of the registry the comets register again one by one.
        One that has clients already is such a comet: the others get a moment.
        """
        assert self._pool is not None
        try:
            await self._pool.ready(self._config.comet_retry_s)
        except PeerUnavailableError as exc:
            logger.warning("%s: %s; messages are dropped until there is one", self.name, exc.details)
            self._gave_up = True
            return
        served = filter(self._in_zone, self._pool.instances)
        if any(instance.metadata.get("conn_count", "0") != "0" for instance in served):
            await asyncio.sleep(self._config.comet_return_s)

    async def _let_drain(self) -> None:
        """Give comets that are behind some time, so that a burst fills no queue; who is slower loses messages."""
        try:
            async with asyncio.timeout(self._config.comet_patience_s):
                while self._router.congested():
                    self._less.clear()
                    await self._less.wait()
        except TimeoutError:
            for queue in self._router.congested():
                logger.warning("%s: comet %s is slow, %d calls wait for it", self.name, queue.peer.name, queue.waiting)
                queue.slow = True

    async def _unsubscribe(self) -> None:
        # Rooms are sent under the subscription their messages came from.
        self._router.flush_all()
        subscription, self._subscription = self._subscription, None
        self._done.clear()
        if subscription is not None:
            with contextlib.suppress(BusError):
                await subscription.close()

    def _set_room_timer(self) -> None:
        if self._room_timer is not None:
            return
        due_s = self._router.next_due_s()
        if due_s is not None:
            self._room_timer = asyncio.get_running_loop().call_at(due_s, self._flush_rooms)

    def _flush_rooms(self) -> None:
        self._room_timer = None
        self._router.flush_due(asyncio.get_running_loop().time())
        self._set_room_timer()

    def _finish(self, source: Subscription | None, records: tuple[Record, ...]) -> None:
        self._in_flight -= len(records)
        self._less.set()
        if source is self._subscription and not self._config.compat_goim:
            self._done += records
            self._done_some.set()

    async def _acknowledge(self) -> None:
        while True:
            await self._done_some.wait()
            self._done_some.clear()
            subscription = self._subscription
            if subscription is None:
                self._done.clear()
                continue
            try:
                await self._ack(subscription)
            except BusError as exc:
                self._counters.add("bus_errors")
                logger.warning("%s: cannot acknowledge to the bus: %s", self.name, exc)

    async def _ack(self, subscription: Subscription) -> None:
        records, self._done = self._done, []
        if records:
            await subscription.ack(records)
            self._counters.values["acked"] += len(records)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait((task,))


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 2) if whole else 0.0
