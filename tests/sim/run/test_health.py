from __future__ import annotations

import asyncio
import time

import pytest

from sim.run.health import HealthMeter


async def samples(meter: HealthMeter, count: int) -> None:
    """Wait until the meter has read so many stamps."""
    async with asyncio.timeout(10):
        while meter.read().lag.count < count:  # noqa: ASYNC110  # a thread makes them, no event tells
            await asyncio.sleep(0.01)


async def test_an_idle_loop_has_little_lag_and_uses_little_cpu():
    meter = HealthMeter()
    meter.start()
    await samples(meter, 10)
    # A machine that is busy for a while holds stamps up, but never most of them for good.
    async with asyncio.timeout(60):
        while (health := meter.read()).lag.percentile_ns(50) >= 50_000_000 or health.cpu_percent >= 90:  # noqa: ASYNC110  # a thread makes them, no event tells
            await asyncio.sleep(0.01)
    await meter.stop()


async def test_a_stall_counts_for_every_stamp_that_it_held_up():
    meter = HealthMeter()
    meter.start()
    await samples(meter, 1)
    time.sleep(0.5)
    await samples(meter, 20)
    health = meter.read()
    await meter.stop()

    assert health.lag.max_ns >= 400_000_000
    assert health.lag.percentile_ns(50) >= 100_000_000


async def test_what_was_before_the_start_does_not_count():
    meter = HealthMeter()
    time.sleep(0.2)
    began_ns = time.monotonic_ns()
    meter.start()
    await samples(meter, 3)
    health = meter.read()
    took_ns = time.monotonic_ns() - began_ns
    await meter.stop()

    assert health.lag.max_ns <= took_ns


@pytest.mark.parametrize("started", [True, False])
async def test_stop_ends_the_thread_and_may_come_first(started):
    meter = HealthMeter()
    if started:
        meter.start()

    await meter.stop()
    await meter.stop()
