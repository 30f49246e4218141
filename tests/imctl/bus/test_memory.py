from __future__ import annotations

import asyncio

import pytest

from imctl.bus.contract import BusError
from imctl.bus.memory import MemoryBus


def step(coroutine) -> object:
    """Run a coroutine that must not wait; return its result."""
    try:
        coroutine.send(None)
    except StopIteration as exc:
        return exc.value
    coroutine.close()
    raise AssertionError("it waits")


async def test_publish_with_room_and_receive_of_what_is_ready_need_no_turn_of_the_loop():
    bus = MemoryBus()
    subscription = await bus.subscribe("g")

    step(bus.publish("k", b"1"))
    records = step(subscription.receive())

    assert [record.value for record in records] == [b"1"]


async def test_publish_waits_for_room_and_goes_on_in_order():
    bus = MemoryBus(max_records=2)
    subscription = await bus.subscribe("g")
    await bus.publish("k", b"0")
    await bus.publish("k", b"1")
    waiting = [asyncio.ensure_future(bus.publish("k", b"%d" % i)) for i in range(2, 6)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)

    values = []
    while len(values) < 6:
        records = await subscription.receive()
        assert len(records) <= 2
        values += [int(record.value) for record in records]
        await subscription.ack(records)
    await asyncio.gather(*waiting)

    assert values == [0, 1, 2, 3, 4, 5]
    assert bus.stats()["waiting"] == 0


async def test_publish_gives_up_when_the_bus_stays_full():
    bus = MemoryBus(max_records=1, publish_timeout_s=0.02)
    await bus.subscribe("g")
    await bus.publish("k", b"0")

    results = await asyncio.gather(*(bus.publish("k", b"1") for _ in range(3)), return_exceptions=True)

    assert [type(result) for result in results] == [BusError] * 3
    assert "full" in str(results[0])
    assert bus.stats()["refused"] == 3


async def test_a_publisher_that_gave_up_does_not_stand_in_the_way():
    bus = MemoryBus(max_records=1)
    subscription = await bus.subscribe("g")
    await bus.publish("k", b"0")
    gone, staying = (asyncio.ensure_future(bus.publish("k", value)) for value in (b"gone", b"staying"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait((gone,))

    await subscription.ack(await subscription.receive())

    async with asyncio.timeout(5):
        await staying
    assert [record.value for record in await subscription.receive()] == [b"staying"]


async def test_bytes_are_bounded_too():
    bus = MemoryBus(max_bytes=10_000, publish_timeout_s=0.02)
    await bus.subscribe("g")
    await bus.publish("k", bytes(6000))

    with pytest.raises(BusError, match="full"):
        await bus.publish("k", bytes(6000))
    with pytest.raises(BusError, match="over the bus's bound"):
        await bus.publish("k", bytes(20_000))
    await bus.publish("k", bytes(100))


async def test_the_slowest_group_sets_the_pace():
    bus = MemoryBus(max_records=2, publish_timeout_s=0.02)
    fast, slow = await bus.subscribe("fast"), await bus.subscribe("slow")
    for _ in range(2):
        await bus.publish("k", b"")
    await fast.ack(await fast.receive())

    with pytest.raises(BusError):
        await bus.publish("k", b"")

    await slow.ack(await slow.receive())
    await bus.publish("k", b"")


async def test_a_record_without_any_group_is_counted_and_dropped():
    bus = MemoryBus(max_records=1)

    for _ in range(5):
        await bus.publish("k", b"")

    assert bus.stats()["unheard"] == 5
    assert bus.stats()["waiting"] == 0


async def test_close_wakes_a_waiting_publisher():
    bus = MemoryBus(max_records=1)
    await bus.subscribe("g")
    await bus.publish("k", b"")
    waiting = asyncio.ensure_future(bus.publish("k", b""))
    await asyncio.sleep(0)

    await bus.close()

    with pytest.raises(BusError, match="closed"):
        await waiting


async def test_acknowledging_twice_or_something_else_changes_nothing():
    bus = MemoryBus()
    subscription = await bus.subscribe("g")
    await bus.publish("k", b"")
    records = await subscription.receive()

    await subscription.ack(records)
    await subscription.ack(records)

    assert bus.stats()["acked"] == 1
    assert bus.stats()["waiting"] == 0


async def test_a_second_receive_at_a_time_is_refused():
    bus = MemoryBus()
    subscription = await bus.subscribe("g")
    waiting = asyncio.ensure_future(subscription.receive())
    await asyncio.sleep(0)

    with pytest.raises(BusError, match="another receive"):
        await subscription.receive()

    waiting.cancel()
    await asyncio.wait((waiting,))


async def test_a_closed_subscription_ends_its_receive():
    bus = MemoryBus()
    subscription = await bus.subscribe("g")
    waiting = asyncio.ensure_future(subscription.receive())
    await asyncio.sleep(0)

    await subscription.close()

    with pytest.raises(BusError, match="subscription is closed"):
        await waiting


async def test_a_new_member_takes_over_keys_with_what_is_not_received():
    bus = MemoryBus()
    first = await bus.subscribe("g")
    for i in range(200):
        await bus.publish(f"key-{i}", b"")

    second = await bus.subscribe("g")

    one, two = await first.receive(), await second.receive()
    assert one
    assert two
    assert len(one) + len(two) == 200
