"""What is particular to Kafka; the rest is in tests/contracts and tests/services."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from imctl.bus.contract import BusError, Record, Subscription
from imctl.bus.kafka import KafkaBus, _settings
from imctl.bus.url import parse_bus_url
from imctl.errors import ConfigError
from tests.ports import free_port
from tests.services.kafka import KafkaBroker

RECORDED = [
    message
    for line in map(json.loads, (Path(__file__).parents[2] / "vectors" / "kafka.jsonl").read_text().splitlines())
    for message in line["messages"]
]


@pytest.fixture
def broker() -> Iterator[KafkaBroker]:
    server = KafkaBroker()
    try:
        yield server
    finally:
        server.end()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[KafkaBus]:
    bus = KafkaBus(url)
    try:
        yield bus
    finally:
        await bus.close()


async def receive(subscription: Subscription, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(20):
        while len(records) < count:
            records += await subscription.receive()
    return records


async def test_recorded_messages_come_out_as_goim_made_them(broker: KafkaBroker):
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.address, auto_offset_reset="earliest", fetch_max_wait_ms=20)
    async with opened(broker.url) as bus:
        for message in RECORDED:
            await bus.publish(bytes.fromhex(message["key_hex"]).decode(), bytes.fromhex(message["value_hex"]))

    await consumer.start()
    consumer.assign([TopicPartition("goim-push-topic", partition) for partition in range(3)])
    await consumer.seek_to_beginning()
    found = []
    while len(found) < len(RECORDED):
        for messages in (await consumer.getmany(timeout_ms=1000)).values():
            found += [(each.partition, each.key.hex(), each.value.hex(), each.headers) for each in messages]
    await consumer.stop()

    wanted = [(each["partition"], each["key_hex"], each["value_hex"], ()) for each in RECORDED]
    for partition in range(3):
        assert [each for each in found if each[0] == partition] == [each for each in wanted if each[0] == partition]


async def test_a_message_without_a_key_or_value_is_received(broker: KafkaBroker):
    producer = AIOKafkaProducer(bootstrap_servers=broker.address)
    async with opened(broker.url) as bus:
        subscription = await bus.subscribe("g")
        await producer.start()
        await producer.send_and_wait("goim-push-topic", b"no key")
        await producer.send_and_wait("goim-push-topic", None, key=b"no value")
        await producer.stop()

        records = await receive(subscription, 2)

    assert {(record.key, record.value) for record in records} == {("", b"no key"), ("no value", b"")}


async def test_offsets_are_committed_up_to_what_is_acknowledged(broker: KafkaBroker):
    async with opened(broker.url) as bus:
        subscription = await bus.subscribe("goim-push-group-job")
        for i in range(10):
            await bus.publish("k", b"%d" % i)
        records = await receive(subscription, 10)
        # Record 3 stays open, so what comes after it may not be committed.
        await subscription.ack(records[:3])
        await subscription.ack(records[4:])
        await subscription.close()

        again = await receive(await bus.subscribe("goim-push-group-job"), 7)

    assert [int(record.value) for record in again] == [3, 4, 5, 6, 7, 8, 9]


async def test_a_record_that_is_too_large_is_refused(broker: KafkaBroker):
    async with opened(broker.url) as bus:
        with pytest.raises(BusError, match="over the bus's bound"):
            await bus.publish("k", bytes(2 * 1024 * 1024))

        await bus.publish("k", bytes(1_000_000))
        assert bus.stats()["refused"] == 1


async def test_a_broker_that_is_not_there_is_named_as_in_the_url():
    port = free_port()
    bus = KafkaBus(f"kafka://127.0.0.1:{port}")

    with pytest.raises(BusError, match=f"^bus kafka://127.0.0.1:{port}: no broker answers at 127.0.0.1:{port}$"):
        await bus.subscribe("g")

    await bus.close()


def test_the_url_gives_what_aiokafka_wants():
    url = "kafka+ssl://me:p%40ss@a,b:9093/topic?ssl_cert_reqs=none&sasl=SCRAM-SHA-512&compression=gzip&acks=1"
    settings = _settings(parse_bus_url(url))

    assert settings.topic == "topic"
    assert settings.client["bootstrap_servers"] == ["a:9092", "b:9093"]
    assert settings.client["security_protocol"] == "SASL_SSL"
    assert settings.client["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (settings.client["sasl_plain_username"], settings.client["sasl_plain_password"]) == ("me", "p@ss")
    assert settings.producer == {"acks": 1, "enable_idempotence": False, "compression_type": "gzip"}
    assert "p@ss" not in settings.shown
    plain = _settings(parse_bus_url("kafka://a"))
    assert (plain.topic, plain.client["security_protocol"]) == ("goim-push-topic", "PLAINTEXT")
    assert plain.producer["acks"] == "all"


@pytest.mark.parametrize("parameters", ["sasl=GSSAPI", "acks=0", "session_s=soon", "topic=x"])
def test_a_bad_parameter_is_a_config_error(parameters: str):
    with pytest.raises(ConfigError):
        KafkaBus(f"kafka://h?{parameters}")


@pytest.mark.parametrize(("url", "package"), [("kafka://h", "aiokafka"), ("mqtt://h", "aiomqtt")])
def test_without_its_package_a_bus_says_what_to_install(url: str, package: str):
    extra = url.partition(":")[0]
    code = f"""
import sys
sys.modules["{package}"] = None
from imctl.bus.factory import open_bus
from imctl.errors import ConfigError
try:
    open_bus("{url}")
except ConfigError as exc:
    print(exc, "|", exc.hint)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert ended.stdout == f"bus {extra}:// needs the package {package} | pip install 'imctl[{extra}]'\n", ended.stderr
