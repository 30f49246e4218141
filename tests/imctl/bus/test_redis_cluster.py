"""What is particular to a bus on a Redis Cluster; the rest is in tests/contracts and tests/services."""

from __future__ import annotations

import asyncio

import pytest

from imctl.bus.contract import Bus, BusError, Subscription
from imctl.bus.factory import open_bus
from imctl.errors import ConfigError
from tests.services.brokers import until
from tests.services.redis_cluster import RedisNodes, closing


def others(nodes: RedisNodes, key: str) -> list[int]:
    """Return the ports of the nodes that do not have a key."""
    return [node.port for node in nodes.masters if node is not nodes.owner(key)]


async def test_a_bus_is_on_one_node_and_another_may_be_on_another(redis_cluster_url, redis_nodes):
    for name in "abcd":
        async with closing(open_bus(f"{redis_cluster_url}?stream={name}")) as bus:
            for key in range(20):
                await bus.publish(str(key), b"x")

    found = [set(redis_nodes.ask(node, "KEYS", "*")) for node in redis_nodes.masters]
    for name in "abcd":
        assert sum(any(key.startswith(f"{{{name}}}:") for key in keys) for keys in found) == 1
    assert sum(bool(keys) for keys in found) > 1


async def test_a_url_of_one_redis_that_leads_to_a_cluster_is_told_the_right_one_at_once(redis_nodes):
    port = others(redis_nodes, "{goim-push-topic}:partitions")[0]
    async with closing(open_bus(f"redis://127.0.0.1:{port}?timeout_s=60")) as bus:
        with pytest.raises(BusError, match="MOVED") as publishing:
            async with asyncio.timeout(20):
                await bus.publish("k", b"1")
        with pytest.raises(BusError, match="MOVED") as subscribing:
            await bus.subscribe("g")

    for told in (publishing, subscribing):
        assert f"whose URL is redis+cluster://127.0.0.1:{port}?timeout_s=60" in told.value.hint


async def test_a_url_of_a_cluster_that_leads_to_one_redis_is_told_the_right_one(redis_url):
    place = redis_url.removesuffix("/0").removeprefix("redis://")
    async with closing(open_bus(f"redis+cluster://{place}?timeout_s=0.2")) as bus:
        with pytest.raises(BusError, match="cluster support disabled") as publishing:
            await bus.publish("k", b"1")
        with pytest.raises(BusError, match="cluster support disabled") as subscribing:
            await bus.subscribe("g")

    assert publishing.value.hint == subscribing.value.hint == f"a Redis without a cluster: redis://{place}"


@pytest.mark.parametrize("name", ["", "}x"])
def test_a_stream_whose_name_cannot_keep_its_keys_together_is_refused(name):
    with pytest.raises(ConfigError, match="expected a name that begins with no brace"):
        open_bus(f"redis+cluster://h?stream={name}")


async def test_nothing_is_lost_or_out_of_order_when_the_slot_of_a_bus_is_moved(redis_cluster_url, redis_nodes):
    got: list[int] = []
    stopping = asyncio.Event()

    async def receive(job: Subscription) -> None:
        while True:
            records = await job.receive()
            got.extend(int(record.value) for record in records)
            await job.ack(records)

    async def publish(bus: Bus) -> int:
        count = 0
        while not stopping.is_set():
            await bus.publish(f"key-{count % 20}", b"%d" % count)
            count += 1
            await asyncio.sleep(0.002)
        return count

    source = redis_nodes.owner("{goim-push-topic}:0")
    target = next(node for node in redis_nodes.masters if node is not source)
    slot = redis_nodes.ask(source, "CLUSTER", "KEYSLOT", "goim-push-topic")
    async with closing(open_bus(f"{redis_cluster_url}?lease_s=1&timeout_s=20")) as bus:
        receiving = asyncio.create_task(receive(await bus.subscribe("g")))
        publishing = asyncio.create_task(publish(bus))
        for one, other in ((source, target), (target, source)):
            seen = len(got)
            await until(lambda seen=seen: len(got) >= seen + 50)
            await asyncio.to_thread(redis_nodes.begin_move, slot, one, other)
            await asyncio.to_thread(redis_nodes.move_keys, slot, one, other, 5)
            await asyncio.sleep(0.1)  # for a while some keys are here and some there
            await asyncio.to_thread(redis_nodes.end_move, slot, one, other)
        stopping.set()
        count = await publishing
        await until(lambda: len(set(got)) >= count)
        receiving.cancel()
        await asyncio.wait((receiving,))

    assert sorted(set(got)) == list(range(count))
    for key in range(20):
        values = [value for value in dict.fromkeys(got) if value % 20 == key]
        assert values == sorted(values)
