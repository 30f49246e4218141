from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imctl.bus.contract import BusError
from imctl.bus.memory import MemoryBus
from imctl.errors import StartError
from tests.imctl.job.bench import PushMsg, gauges, push, room
from tests.imctl.link.fakes import eventually


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
