"""A broker that goes away and comes back: nothing that was acknowledged is lost, and nobody has to restart."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from imctl.bus.contract import Bus, BusError, Record, Subscription
from imctl.bus.factory import open_bus
from tests.services.brokers import until
from tests.services.conftest import Broker
from tests.services.load import BusLoad


@asynccontextmanager
async def opened(url: str, **parameters: object) -> AsyncIterator[Bus]:
    more = "&".join(f"{name}={value}" for name, value in parameters.items())
    bus = open_bus(f"{url}{'&' if '?' in url else '?'}{more}" if more else url)
    try:
        yield bus
    finally:
        await bus.close()


async def receive(subscription: Subscription, count: int, *, ack: bool = True) -> list[Record]:
    """Receive until so many different values have come."""
    records: list[Record] = []
    values: set[bytes] = set()
    async with asyncio.timeout(80):
        while len(values) < count:
            got = await subscription.receive()
            records += got
            values |= {record.value for record in got}
            if ack:
                await subscription.ack(got)
    return records


def in_order(records: list[Record]) -> bool:
    """Whether the first deliveries of each key are in order; a repeat may come at any time later."""
    seen: dict[str, list[int]] = {}
    known: set[bytes] = set()
    for record in records:
        if record.value not in known:
            known.add(record.value)
            seen.setdefault(record.key, []).append(int(record.value))
    return all(values == sorted(values) for values in seen.values())


@pytest.mark.parametrize("away_s", [1.0, pytest.param(10.0, marks=pytest.mark.soak)])
async def test_nothing_published_is_lost_when_the_broker_goes_and_comes_back_under_load(broker: Broker, away_s: float):
    load = BusLoad()
    taken = load.taken

    async with opened(broker.url, timeout_s=100) as logic, opened(broker.url) as job:
        taking = asyncio.create_task(load.receive(await job.subscribe("g")))
        publishing = [asyncio.create_task(load.publish(logic, i)) for i in range(4)]
        async with asyncio.timeout(90):
            await until(lambda: len(load.records) >= 200)
            await asyncio.to_thread(broker.stop)
            await asyncio.sleep(away_s)
            before = len(taken)
            await asyncio.to_thread(broker.start)
            await until(lambda: len(taken) >= before + 200)
            load.stopping.set()
            await asyncio.gather(*publishing)
            await until(lambda: taken <= load.received)
        taking.cancel()
        await asyncio.wait((taking,))

    assert load.received <= taken | load.unknown
    assert in_order(load.records)
    # What was under way when it went is unknown; all the rest waited for it.
    assert len(load.unknown) <= 4


async def test_publish_gives_up_in_time_while_the_broker_is_away(broker: Broker):
    async with opened(broker.url, timeout_s=0.3) as bus:
        await bus.subscribe("g")
        await bus.publish("k", b"1")
        await asyncio.to_thread(broker.stop)

        async with asyncio.timeout(20):
            results = await asyncio.gather(*(bus.publish("k", b"2") for _ in range(100)), return_exceptions=True)

        assert {type(result) for result in results} == {BusError}
        assert bus.stats()["refused"] == 100
        assert bus.stats()["published"] == 1


async def test_what_waits_for_a_broker_that_is_away_is_bounded(broker: Broker):
    async with opened(broker.url, timeout_s=60) as bus:
        await bus.subscribe("g")
        await bus.publish("k", b"1")
        await asyncio.to_thread(broker.stop)

        value = bytes(1_000_000)
        publishing = [asyncio.ensure_future(bus.publish(f"key-{i % 50}", value)) for i in range(100)]
        await until(lambda: bus.stats()["refused"] >= 30)
        refused = bus.stats()["refused"]
        await asyncio.to_thread(broker.start)
        results = await asyncio.gather(*publishing, return_exceptions=True)

    assert 100 - refused <= 67
    assert sum(isinstance(result, BusError) for result in results) >= refused


async def test_what_was_received_before_an_outage_is_acknowledged_after_it(broker: Broker):
    async with opened(broker.url) as bus:
        subscription = await bus.subscribe("g")
        for i in range(20):
            await bus.publish("k", b"%d" % i)
        records = await receive(subscription, 20, ack=False)

        await asyncio.to_thread(broker.stop)
        with contextlib.suppress(BusError):
            await subscription.ack(records)
        await asyncio.to_thread(broker.start)
        await bus.publish("k", b"20")
        await receive(subscription, 1)
        await subscription.close()

        # The last of it proves that the ones before it would have come.
        second = await bus.subscribe("g")
        await bus.publish("k", b"21")
        assert {record.value for record in await receive(second, 1)} <= {b"21"}


MEMBER = """
import asyncio, sys
from imctl.bus.factory import open_bus

async def main():
    subscription = await open_bus(sys.argv[1]).subscribe("g")
    print("joined", flush=True)
    while True:
        for record in await subscription.receive():
            print(record.value.decode(), flush=True)

asyncio.run(main())
"""


async def test_what_a_killed_member_had_not_acknowledged_goes_to_another(broker: Broker):
    member = subprocess.Popen([sys.executable, "-c", MEMBER, broker.url], stdout=subprocess.PIPE, text=True)
    try:
        assert member.stdout is not None
        assert await asyncio.to_thread(member.stdout.readline) == "joined\n"
        async with opened(broker.url) as bus:
            for i in range(50):
                await bus.publish(f"key-{i % 5}", b"%d" % i)
            seen = [await asyncio.to_thread(member.stdout.readline) for _ in range(50)]
            assert len(set(seen)) == 50

            member.send_signal(signal.SIGKILL)
            member.wait(timeout=10)
            records = await receive(await bus.subscribe("g"), 50)
    finally:
        member.kill()
        member.communicate()

    assert {int(record.value) for record in records} == set(range(50))
    assert in_order(records)


async def test_a_broker_that_is_not_there_is_told_without_secrets(broker: Broker):
    await asyncio.to_thread(broker.stop)
    scheme, rest = broker.url.split("://")
    async with opened(f"{scheme}://me:s3cret@{rest}", timeout_s=0.2) as bus:
        with pytest.raises(BusError) as subscribing:
            await bus.subscribe("g")
        with pytest.raises(BusError) as publishing:
            await bus.publish("k", b"")

        for raised in (subscribing, publishing):
            assert "s3cret" not in str(raised.value)
            assert "127.0.0.1" in str(raised.value)
        assert "s3cret" not in bus.url
