"""A whole job: a bus, comets behind real sockets, a registry that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from imctl.bus.contract import BusError
from imctl.bus.memory import MemoryBus
from imctl.errors import StartError
from imctl.job.config import JobConfig
from imctl.job.node import Job
from imctl.link.methods import BROADCAST, BROADCAST_ROOM, PUSH_MSG
from imctl.link.server import LinkServer
from protocol.frame import parse_frames
from protocol.pb import comet, logic
from tests.imctl.link.fakes import FakeRegistry, eventually, instance, serve

APP = "goim.comet"
PushMsg = logic.PushMsg


class FakeComet:
    """Writes down the bodies it gets; `hold` makes it answer only when the event is set."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.pushed: list[bytes] = []
        self.rooms: list[bytes] = []
        self.broadcasts: list[int] = []
        self.hold: asyncio.Event | None = None
        self.server: LinkServer | None = None
        self.handlers = {PUSH_MSG: self.push, BROADCAST: self.broadcast, BROADCAST_ROOM: self.room}

    async def start(self, *, local: bool = False, port: int = 0) -> None:
        self.server = await serve(self.handlers, local=local, port=port)

    def instance(self, *, batched: bool = True) -> Any:
        assert self.server is not None
        return instance(APP, self.hostname, self.server.address, batched=batched)

    def push(self, request: Any) -> Any:
        if self.hold is not None:
            return self.held(request, self.hold)
        self.pushed += bodies(request)
        return comet.PushMsgReply()

    async def held(self, request: Any, hold: asyncio.Event) -> Any:
        await hold.wait()
        self.pushed += bodies(request)
        return comet.PushMsgReply()

    def broadcast(self, request: Any) -> Any:
        self.broadcasts.append(request.speed)
        return comet.BroadcastReply()

    def room(self, request: Any) -> Any:
        self.rooms += bodies(request)
        return comet.BroadcastRoomReply()


def bodies(request: Any) -> list[bytes]:
    frames, end = parse_frames(request.proto.body)
    assert end == len(request.proto.body)
    return [frame.body for frame in frames]


def push(server: str, text: str) -> bytes:
    return PushMsg(operation=1000, server=server, keys=["k"], msg=text.encode()).SerializeToString()


def room(text: str, key: str = "live://1") -> bytes:
    return PushMsg(type=PushMsg.ROOM, operation=1000, room=key, msg=text.encode()).SerializeToString()


class Bench:
    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.bus = MemoryBus()
        self.jobs: list[Job] = []
        self.comets: dict[str, FakeComet] = {}

    async def comet(self, hostname: str, **how: Any) -> FakeComet:
        fake = self.comets[hostname] = FakeComet(hostname)
        await fake.start(**how)
        return fake

    def register(self, *hostnames: str, batched: bool = True) -> None:
        self.registry.set(APP, *(self.comets[name].instance(batched=batched) for name in hostnames))

    async def job(self, **settings: Any) -> Job:
        job = Job(JobConfig(**settings), registry=self.registry, bus=self.bus)
        self.jobs.append(job)
        await job.start()
        return job

    async def close(self) -> None:
        for job in self.jobs:
            await job.stop(0)
        for fake in self.comets.values():
            if fake.hold is not None:
                fake.hold.set()
            assert fake.server is not None
            await fake.server.stop(0.1)
        await self.bus.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.close()


def gauges(job: Job) -> dict[str, Any]:
    found = job.stats()["gauges"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", ["batched", "unary", "local"])
async def test_every_kind_of_record_reaches_its_comets(bench, kind):
    for name in ("a", "b"):
        await bench.comet(name, local=kind == "local")
    bench.register("a", "b", batched=kind != "unary")
    job = await bench.job()
    a, b = bench.comets["a"], bench.comets["b"]

    await bench.bus.publish("k", push("a", "one"))
    await bench.bus.publish("live://1", room("two"))
    everybody = PushMsg(type=PushMsg.BROADCAST, operation=1000, speed=3, msg=b"three")
    await bench.bus.publish("1000", everybody.SerializeToString())
    await eventually(lambda: bench.bus.stats()["acked"] == 3)

    assert (a.pushed, b.pushed) == ([b"one"], [])
    assert a.rooms == b.rooms == [b"two"]
    assert sorted(a.broadcasts + b.broadcasts) == [1, 2]
    stats = job.stats()
    assert stats["kind"] == "job"
    assert stats["drops"] == {}
    assert (gauges(job)["comets"], gauges(job)["in_flight"], gauges(job)["queued"]) == (2, 0, 0)
    await eventually(lambda: gauges(job)["rooms"] == 0)


@pytest.mark.parametrize("batched", [True, False])
async def test_pushes_of_a_key_and_messages_of_a_room_arrive_in_order(bench, batched):
    fake = await bench.comet("a")
    bench.register("a", batched=batched)
    await bench.job()
    count = 300

    for i in range(count):
        await bench.bus.publish("k", push("a", str(i)))
        await bench.bus.publish("live://1", room(str(i)))
        if i % 50 == 0:
            await asyncio.sleep(0)
    await eventually(lambda: bench.bus.stats()["acked"] == 2 * count)

    assert [int(text) for text in fake.pushed] == list(range(count))
    assert [int(text) for text in fake.rooms] == list(range(count))


async def test_pushes_that_are_ready_together_share_a_link_batch(bench):
    await bench.comet("a")
    bench.register("a")
    job = await bench.job()
    await bench.bus.publish("k", push("a", "first"))
    await eventually(lambda: bench.bus.stats()["acked"] == 1)

    for i in range(200):
        await bench.bus.publish(f"k{i}", push("a", str(i)))
    await eventually(lambda: bench.bus.stats()["acked"] == 201)

    assert gauges(job)["calls_per_link_batch"] == pytest.approx(100, abs=1)


async def test_a_lone_room_message_is_not_delayed(bench):
    fake = await bench.comet("a")
    bench.register("a")
    await bench.job(room_delay_s=60.0)

    await bench.bus.publish("live://1", room("now"))

    await eventually(lambda: fake.rooms)


async def test_the_timer_flushes_rooms_that_wait(bench):
    fake = await bench.comet("a")
    bench.register("a")
    job = await bench.job(room_delay_s=1.0)
    await bench.bus.publish("live://1", room("1"))
    await eventually(lambda: fake.rooms)

    for text in "23":
        await bench.bus.publish("live://1", room(text))
    await eventually(lambda: len(fake.rooms) == 3)

    counters = job.stats()["counters"]
    assert (counters["room"], counters["room_batches"]) == (3, 2)


async def test_an_unknown_server_is_counted_and_the_record_is_done(bench):
    job = await bench.job(discover_timeout_s=0.01, comet_retry_s=0.05)

    await bench.bus.publish("k", push("nobody", "x"))
    await eventually(lambda: bench.bus.stats()["acked"] == 1)

    assert job.stats()["drops"] == {"job.unknown_server": 1}


async def test_comets_of_another_zone_are_not_served(bench):
    await bench.comet("a")
    bench.register("a")
    job = await bench.job(zone="sh002", comet_retry_s=0.05)

    await bench.bus.publish("live://1", room("x"))
    await eventually(lambda: bench.bus.stats()["acked"] == 1)

    assert job.stats()["drops"] == {"job.no_comet": 1}


async def test_what_comes_while_no_comet_is_known_is_held_for_the_first_one(bench):
    fake = await bench.comet("a")
    job = await bench.job(discover_timeout_s=0, comet_retry_s=60.0)

    await bench.bus.publish("live://1", room("x"))
    await eventually(lambda: job.stats()["counters"]["records"] == 1)
    bench.register("a")

    await eventually(lambda: bench.bus.stats()["acked"] == 1)
    assert len(fake.rooms) == 1
    assert job.stats()["drops"] == {}


async def test_a_record_is_acknowledged_only_when_the_comet_has_answered(bench):
    fake = await bench.comet("a")
    fake.hold = asyncio.Event()
    bench.register("a")
    job = await bench.job()

    await bench.bus.publish("k", push("a", "x"))
    await eventually(lambda: gauges(job)["calls_in_flight"] == 1)
    assert bench.bus.stats()["acked"] == 0
    fake.hold.set()

    await eventually(lambda: bench.bus.stats()["acked"] == 1)


async def test_a_stuck_comet_does_not_hold_up_the_others_and_its_overflow_is_counted(bench):
    stuck, good = await bench.comet("stuck"), await bench.comet("good")
    stuck.hold = asyncio.Event()
    bench.register("stuck", "good")
    job = await bench.job(comet_window=10, comet_queue=600, comet_patience_s=0.5)

    for i in range(2000):
        await bench.bus.publish("k", push("stuck", str(i)))
        await bench.bus.publish("k", push("good", str(i)))
    await eventually(lambda: len(good.pushed) == 2000)

    assert job.stats()["drops"] == {"job.comet_queue_full": 1390}
    assert gauges(job)["queued.stuck"] == 600
    stuck.hold.set()
    await eventually(lambda: bench.bus.stats()["acked"] == 4000)
    assert [int(text) for text in stuck.pushed] == list(range(610))


async def test_a_burst_fills_no_queue_of_a_comet_that_answers(bench):
    fake = await bench.comet("a")
    bench.register("a")
    job = await bench.job(comet_window=10, comet_queue=600)

    for i in range(5000):
        await bench.bus.publish("k", push("a", str(i)))
    await eventually(lambda: bench.bus.stats()["acked"] == 5000)

    assert [int(text) for text in fake.pushed] == list(range(5000))
    assert job.stats()["drops"] == {}


async def test_records_in_flight_are_bounded(bench):
    fake = await bench.comet("a")
    fake.hold = asyncio.Event()
    bench.register("a")
    job = await bench.job(max_in_flight=300)

    for i in range(2000):
        await bench.bus.publish("k", push("a", str(i)))
    await eventually(lambda: gauges(job)["in_flight"] >= 300)
    for _ in range(20):
        await asyncio.sleep(0)

    # A slice is taken whole.
    assert gauges(job)["in_flight"] <= 300 + 250
    fake.hold.set()
    await eventually(lambda: bench.bus.stats()["acked"] == 2000)
    assert [int(text) for text in fake.pushed] == list(range(2000))


async def test_a_comet_that_comes_back_gets_what_it_missed_in_order(bench):
    fake = await bench.comet("a")
    assert fake.server is not None
    port = int(fake.server.address.rpartition(":")[2])
    bench.register("a")
    job = await bench.job()
    await bench.bus.publish("k", push("a", "0"))
    await eventually(lambda: bench.bus.stats()["acked"] == 1)

    await fake.server.stop(0)
    for i in range(1, 50):
        await bench.bus.publish("k", push("a", str(i)))
    await eventually(lambda: job.stats()["counters"]["retries"])
    await fake.start(port=port)
    await eventually(lambda: len(fake.pushed) == 50)

    assert bench.bus.stats()["acked"] == 50
    assert [int(text) for text in fake.pushed] == list(range(50))
    assert job.stats()["drops"] == {}


async def test_what_waits_for_a_comet_that_has_left_is_counted(bench):
    fake = await bench.comet("a")
    assert fake.server is not None
    bench.register("a")
    job = await bench.job()
    await fake.server.stop(0)
    for i in range(5):
        await bench.bus.publish("k", push("a", str(i)))
    await eventually(lambda: job.stats()["counters"]["retries"])

    bench.register()
    await eventually(lambda: job.stats()["drops"] == {"job.comet_unavailable": 5})

    assert bench.bus.stats()["acked"] == 5


async def test_what_a_job_leaves_undone_goes_to_the_next(bench):
    fake = await bench.comet("a")
    fake.hold = asyncio.Event()
    bench.register("a")
    first = await bench.job()
    await bench.bus.publish("k", push("a", "x"))
    await eventually(lambda: gauges(first)["calls_in_flight"] == 1)

    await first.stop(0.01)
    await first.stop(0.01)
    assert bench.bus.stats()["acked"] == 0
    fake.hold, held = None, fake.hold
    await bench.job()
    await eventually(lambda: bench.bus.stats()["acked"] == 1)

    held.set()
    assert b"x" in fake.pushed


async def test_stop_sends_what_rooms_are_collecting(bench):
    fake = await bench.comet("a")
    bench.register("a")
    job = await bench.job(room_delay_s=60.0)
    for text in "12":
        await bench.bus.publish("live://1", room(text))
        await eventually(lambda: job.stats()["counters"]["room"])
    await eventually(lambda: job.stats()["counters"]["room"] == 2)

    await job.stop(5)

    assert fake.rooms == [b"1", b"2"]
    assert bench.bus.stats()["acked"] == 2


class FailingBus(MemoryBus):
    """Fails so many times before it works."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0

    async def subscribe(self, group: str) -> Any:
        if self.failures:
            self.failures -= 1
            raise BusError("away")
        return await super().subscribe(group)


async def test_a_bus_that_cannot_be_read_at_the_start_is_a_start_error(bench):
    bench.bus = FailingBus()
    bench.bus.failures = 1

    with pytest.raises(StartError, match="cannot read the bus memory://: away"):
        await bench.job()


async def test_a_bus_that_fails_later_is_subscribed_again(bench):
    bench.bus = FailingBus()
    fake = await bench.comet("a")
    bench.register("a")
    job = await bench.job()
    bench.bus.failures = 2
    assert job._subscription is not None

    await job._subscription.close()
    await eventually(lambda: job.stats()["counters"]["bus_errors"] == 3)
    await bench.bus.publish("k", push("a", "x"))

    await eventually(lambda: bench.bus.stats()["acked"] == 1)
    assert fake.pushed == [b"x"]


async def test_a_job_listens_nowhere(bench):
    job = await bench.job(discover_timeout_s=0.01, hostname="job-7")

    assert (job.kind, job.name, dict(job.addresses)) == ("job", "job-7", {})
