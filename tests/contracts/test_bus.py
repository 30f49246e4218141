"""What imctl.bus.contract promises, on every backend; a new bus is a fixture that opens one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from imctl.bus.contract import Bus, BusError, Record, Subscription
from imctl.bus.factory import open_bus
from tests.conftest import require_program
from tests.services.brokers import Program, embedded, mosquitto
from tests.services.kafka import KafkaBroker
from tests.services.tansu import TansuBroker

_names = itertools.count()


OpenBus = Callable[[], Bus]


@pytest.fixture
def memory_bus() -> OpenBus:
    return lambda: open_bus(f"memory://contract-{next(_names)}")


@pytest.fixture
def redis_bus(redis_url: str) -> OpenBus:
    return lambda: open_bus(f"{redis_url}?lease_s=2")


@pytest.fixture
def kafka_bus() -> Iterator[OpenBus]:
    broker = KafkaBroker()
    yield lambda: open_bus(broker.url)
    broker.end()


@pytest.fixture(scope="session")
def tansu_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TansuBroker]:
    broker = TansuBroker(tmp_path_factory.mktemp("tansu"))
    yield broker
    broker.end()


@pytest.fixture
def tansu_bus(tansu_broker: TansuBroker) -> OpenBus:
    tansu_broker.new_topic(f"contract-{next(_names)}")
    return lambda: open_bus(tansu_broker.url)


@pytest.fixture(scope="session")
def mqtt_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    broker = mosquitto(require_program("mosquitto", "mosquitto"), tmp_path_factory.mktemp("mosquitto"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def mqtt_bus(mqtt_broker: Program) -> OpenBus:
    topic = f"contract-{next(_names)}"
    return lambda: open_bus(mqtt_broker.url.replace("goim-push-topic", topic))


@pytest.fixture(scope="session")
def rumqttd_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    broker = embedded("mqtt", tmp_path_factory.mktemp("rumqttd"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def rumqttd_bus(rumqttd_broker: Program) -> OpenBus:
    topic = f"contract-{next(_names)}"
    return lambda: open_bus(rumqttd_broker.url.replace("goim-push-topic", topic))


@pytest.fixture
def valkey_bus(valkey_url: str) -> OpenBus:
    return lambda: open_bus(f"{valkey_url}?lease_s=2")


@pytest.fixture
def redis_cluster_bus(redis_cluster_url: str) -> OpenBus:
    return lambda: open_bus(f"{redis_cluster_url}?lease_s=2")


BUSES = [
    *("memory", "redis", "valkey", "redis_cluster", "kafka", pytest.param("tansu", marks=pytest.mark.soak)),
    *("mqtt", "rumqttd"),
]


@pytest.fixture(params=BUSES)
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    opener: OpenBus = request.getfixturevalue(f"{request.param}_bus")
    bus = opener()
    yield bus
    await bus.close()


async def receive(subscription: Subscription, count: int, *, ack: bool = False) -> list[Record]:
    """Receive so many records; brokers that send but some ahead of their acknowledgement want ack."""
    records: list[Record] = []
    async with asyncio.timeout(10):
        while len(records) < count:
            got = await subscription.receive()
            records += got
            if ack:
                await subscription.ack(got)
    return records


async def is_quiet(subscription: Subscription) -> bool:
    try:
        async with asyncio.timeout(0.1):
            await subscription.receive()
    except TimeoutError:
        return True
    return False


async def test_record_arrives_as_published(bus):
    subscription = await bus.subscribe("g")

    await bus.publish("live://1", b"\x00\xffvalue")

    (record,) = await receive(subscription, 1)
    assert (record.key, record.value) == ("live://1", b"\x00\xffvalue")


async def test_empty_key_and_value_are_carried(bus):
    subscription = await bus.subscribe("g")

    await bus.publish("", b"")

    (record,) = await receive(subscription, 1)
    assert (record.key, record.value) == ("", b"")


async def test_records_of_a_key_arrive_in_order(bus):
    subscription = await bus.subscribe("g")

    for i in range(300):
        await bus.publish(f"key-{i % 3}", str(i).encode())

    records = await receive(subscription, 300, ack=True)
    for key in ("key-0", "key-1", "key-2"):
        values = [int(record.value) for record in records if record.key == key]
        assert values == sorted(values)
        assert len(values) == 100


async def test_receive_returns_what_is_ready_together_but_at_most_1000(bus):
    subscription = await bus.subscribe("g")
    for i in range(1500):
        await bus.publish("k", str(i).encode())

    sizes = []
    while sum(sizes) < 1500:
        sizes.append(len(await receive(subscription, 1, ack=True)))

    assert max(sizes) <= 1000
    assert sum(sizes) == 1500


async def test_receive_waits_for_a_record(bus):
    subscription = await bus.subscribe("g")
    waiting = asyncio.ensure_future(receive(subscription, 1))
    await asyncio.sleep(0)

    await bus.publish("k", b"late")

    assert [record.value for record in await waiting] == [b"late"]


async def test_cancelled_receive_loses_nothing(bus):
    subscription = await bus.subscribe("g")
    waiting = asyncio.ensure_future(subscription.receive())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))

    await bus.publish("k", b"1")

    assert [record.value for record in await receive(subscription, 1)] == [b"1"]


async def test_each_group_gets_every_record(bus):
    one, two = await bus.subscribe("one"), await bus.subscribe("two")

    await bus.publish("k", b"1")

    assert [record.value for record in await receive(one, 1)] == [b"1"]
    assert [record.value for record in await receive(two, 1)] == [b"1"]


async def test_a_record_goes_to_one_member_of_a_group_and_a_key_stays_with_it(bus):
    members = [await bus.subscribe("g"), await bus.subscribe("g")]
    collected: list[list[Record]] = [[], []]
    all_there = asyncio.Event()

    async def collect(index: int) -> None:
        while True:
            records = await members[index].receive()
            await members[index].ack(records)
            collected[index] += records
            if sum(map(len, collected)) == 400:
                all_there.set()

    for i in range(400):
        await bus.publish(f"key-{i % 40}", str(i).encode())
    tasks = [asyncio.create_task(collect(index)) for index in (0, 1)]
    async with asyncio.timeout(20):
        await all_there.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert sorted(int(record.value) for record in itertools.chain(*collected)) == list(range(400))
    keys = [{record.key for record in records} for records in collected]
    assert not keys[0] & keys[1]
    for records in collected:
        for key in {record.key for record in records}:
            values = [int(record.value) for record in records if record.key == key]
            assert values == sorted(values)


async def test_a_group_does_not_see_what_was_published_before_its_first_subscription(bus):
    await bus.publish("k", b"early")

    subscription = await bus.subscribe("g")
    await bus.publish("k", b"late")

    assert [record.value for record in await receive(subscription, 1)] == [b"late"]


async def test_what_is_acknowledged_is_not_delivered_again(bus):
    first = await bus.subscribe("g")
    for i in range(4):
        await bus.publish("k", str(i).encode())
    records = await receive(first, 4)

    await first.ack(records)
    await first.close()

    assert await is_quiet(await bus.subscribe("g"))


async def test_what_is_not_acknowledged_is_delivered_again_in_order_when_its_subscription_closes(bus):
    first = await bus.subscribe("g")
    for i in range(10):
        await bus.publish("k", str(i).encode())
    records = await receive(first, 10)
    await first.ack(records[:4])

    await first.close()
    second = await bus.subscribe("g")

    assert [int(record.value) for record in await receive(second, 6)] == list(range(4, 10))


async def test_records_published_while_a_group_has_no_member_wait_for_one(bus):
    first = await bus.subscribe("g")
    await first.close()

    await bus.publish("k", b"1")
    second = await bus.subscribe("g")

    assert [record.value for record in await receive(second, 1)] == [b"1"]


async def test_a_member_that_stays_gets_what_the_one_that_left_had_not_acknowledged(bus):
    leaving, staying = await bus.subscribe("g"), await bus.subscribe("g")
    for i in range(100):
        await bus.publish(f"key-{i}", str(i).encode())

    async def take_all() -> list[int]:
        values: list[int] = []
        while len(set(values)) < 100:
            values += [int(record.value) for record in await staying.receive()]
        return values

    async with asyncio.timeout(20):
        await leaving.receive()
        taking = asyncio.create_task(take_all())
        await leaving.close()
        values = await taking

    assert set(values) == set(range(100))


async def test_stats_count(bus):
    subscription = await bus.subscribe("g")
    await bus.publish("k", b"1")
    await bus.publish("k", b"2")
    records = await receive(subscription, 2)
    await subscription.ack(records[:1])

    stats = bus.stats()

    assert {"published", "delivered", "acked", "waiting", "redelivered", "refused"} <= set(stats)
    assert (stats["published"], stats["delivered"], stats["acked"], stats["refused"]) == (2, 2, 1, 0)
    assert stats["waiting"] == 1


# rumqttd does not mark what it sends again.
@pytest.mark.parametrize("bus", [name for name in BUSES if name != "rumqttd"], indirect=True)
async def test_redelivery_is_counted(bus):
    first = await bus.subscribe("g")
    await bus.publish("k", b"1")
    await receive(first, 1)
    await first.close()

    await receive(await bus.subscribe("g"), 1)

    assert bus.stats()["redelivered"] == 1


async def test_close_wakes_a_waiting_subscriber_with_an_error(bus):
    subscription = await bus.subscribe("g")
    waiting = asyncio.ensure_future(subscription.receive())
    await asyncio.sleep(0)

    await bus.close()

    with pytest.raises(BusError):
        async with asyncio.timeout(10):
            await waiting


async def test_a_closed_bus_takes_nothing(bus):
    await bus.close()

    with pytest.raises(BusError):
        await bus.publish("k", b"1")
    with pytest.raises(BusError):
        await bus.subscribe("g")


async def test_closing_twice_is_fine(bus):
    subscription = await bus.subscribe("g")

    await subscription.close()
    await subscription.close()
    await bus.close()
    await bus.close()


async def test_concurrent_publishers_lose_nothing(bus):
    subscription = await bus.subscribe("g")

    async def publish(publisher: int) -> None:
        for i in range(20):
            await bus.publish(f"key-{publisher}", f"{publisher}:{i}".encode())

    await asyncio.gather(*(publish(i) for i in range(20)))

    records = await receive(subscription, 400, ack=True)
    assert len({record.value for record in records}) == 400
