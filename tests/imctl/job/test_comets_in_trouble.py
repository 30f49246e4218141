"""A job whose comets are stuck, away, slow, or not there yet."""

from __future__ import annotations

import asyncio

from tests.imctl.job.bench import gauges, push, room
from tests.imctl.link.fakes import eventually


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
