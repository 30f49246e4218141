"""A quick look at a real Kafka broker; the contract and the outages on it are marked `soak`."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from imctl.bus.contract import BusError
from imctl.bus.factory import open_bus
from imctl.bus.partition import partition_of
from tests.services.tansu import TansuBroker


async def test_a_broker_without_idempotent_producers_is_told_apart_from_one_that_is_away(tansu_broker: TansuBroker):
    bus = open_bus(tansu_broker.url.replace("idempotence=off", "timeout_s=1"))
    try:
        with pytest.raises(BusError) as caught:
            await bus.publish("k", b"1")
    finally:
        await bus.close()

    assert "idempotence=off" in (caught.value.hint or "")


async def test_records_are_where_a_go_logic_would_have_put_them_and_come_to_a_job(tansu_broker: TansuBroker):
    keys = ["live://1000", "comet-1", "1000", "", "直播://房间"]
    logic, job = open_bus(tansu_broker.url), open_bus(tansu_broker.url)
    try:
        async with asyncio.timeout(60):
            subscription = await job.subscribe("goim-push-group-job")
            for key in keys:
                await logic.publish(key, key.encode() + b"!")
            received = []
            while len(received) < len(keys):
                records = await subscription.receive()
                await subscription.ack(records)
                received += records
    finally:
        await job.close()
        await logic.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=tansu_broker.address)
    await consumer.start()
    try:
        partitions = [TopicPartition(tansu_broker.topic, number) for number in range(3)]
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()

    assert {(record.key, record.value) for record in received} == {(key, key.encode() + b"!") for key in keys}
    placed = [partition_of(key.encode(), 3) for key in keys]
    assert [ends[each] for each in partitions] == [placed.count(each.partition) for each in partitions]
