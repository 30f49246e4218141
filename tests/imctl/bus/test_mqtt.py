"""What is particular to MQTT; the rest is in tests/contracts and tests/services."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from imctl.bus.contract import BusError, Record, Subscription
from imctl.bus.mqtt import MqttBus
from imctl.bus.mqtt_partition import record_topic
from imctl.bus.partition import partition_of
from imctl.errors import ConfigError
from tests.conftest import require_program
from tests.ports import free_port
from tests.services.brokers import Program, mosquitto, until
from tests.services.test_bus_outage import MEMBER


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Program]:
    server = mosquitto(require_program("mosquitto", "mosquitto"), tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[MqttBus]:
    bus = MqttBus(url)
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


@pytest.mark.parametrize("key", ["", "live://1", "a/b", "+", "#", "50%", "键", "$SYS", "\x00", " "])
async def test_any_text_is_a_key(broker: Program, key: str):
    async with opened(broker.url) as bus:
        subscription = await bus.subscribe("g")

        await bus.publish(key, b"v")

        (record,) = await receive(subscription, 1)
    assert record.key == key


async def test_a_record_is_a_message_on_its_partition_and_key(broker: Program):
    topic = record_topic("goim-push-topic", partition_of(b"live://1", 4), b"live://1")
    async with aiomqtt.Client("127.0.0.1", broker.port) as client, opened(broker.url) as bus:
        await client.subscribe("goim-push-topic/+/live%3A%2F%2F1", qos=1)
        await bus.publish("live://1", b"value")
        message = await anext(aiter(client.messages))

    assert (str(message.topic), message.payload) == (topic, b"value")
    assert topic.endswith("/live%3A%2F%2F1")


async def test_members_share_the_partitions_and_take_over(broker: Program):
    async def holds() -> list[int]:
        found: dict[str, int] = {}
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.subscribe("goim-push-topic/members/g/+", qos=1)
            try:
                async with asyncio.timeout(0.1):
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        if message.payload:
                            found[str(message.topic)] = len(json.loads(message.payload)["holds"])
                        else:
                            found.pop(str(message.topic), None)
            except TimeoutError:
                return sorted(found.values())

    async def shared(wanted: list[int]) -> None:
        async with asyncio.timeout(60):
            while await holds() != wanted:
                pass

    async with opened(broker.url) as one, opened(broker.url) as two, opened(broker.url) as three:
        first = await one.subscribe("g")
        await shared([4])
        await two.subscribe("g")
        await shared([2, 2])
        third = await three.subscribe("g")
        await shared([1, 1, 2])
        await third.close()
        await first.close()
        await shared([4])


async def test_jobs_share_the_work_and_the_part_of_one_that_is_killed_goes_to_the_other(broker: Program):
    other = subprocess.Popen([sys.executable, "-c", MEMBER, broker.url], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert await asyncio.to_thread(other.stdout.readline) == "joined\n"
        async with opened(broker.url) as bus:
            staying = await bus.subscribe("g")
            await until(lambda: len(staying._partitions) == 2)
            for i in range(200):
                await bus.publish(f"key-{i % 40}", b"%d" % i)

            records = await receive(staying, 1)
            first_of_other = int(await asyncio.to_thread(other.stdout.readline))
            other.kill()
            while len({record.value for record in records}) < 200:
                records += await receive(staying, 1)
    finally:
        other.kill()
        other.communicate()

    # What the other had, and acknowledged nothing of, comes to the one that stays, and each key in order.
    assert first_of_other in {int(record.value) for record in records}
    for key in {record.key for record in records}:
        values = [int(record.value) for record in records if record.key == key]
        assert list(dict.fromkeys(values)) == sorted(set(values))


async def test_a_partition_is_given_up_only_when_what_was_received_of_it_is_acknowledged(broker: Program):
    async with opened(broker.url) as one, opened(broker.url) as two:
        first = await one.subscribe("g")
        for i in range(20):
            await one.publish(f"key-{i}", b"%d" % i)
        records = await receive(first, 20)

        second = await two.subscribe("g")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await second.receive()
        await first.ack(records)
        taking = asyncio.ensure_future(second.receive())
        async with asyncio.timeout(60):
            for i in range(20, 1000):
                await one.publish(f"key-{i}", b"%d" % i)
                if taking.done():
                    break
                await asyncio.sleep(0.02)

        assert min(int(record.value) for record in await taking) >= 20


async def test_acknowledgements_out_of_order_redeliver_from_the_first_gap(broker: Program):
    async with opened(broker.url) as bus:
        subscription = await bus.subscribe("g")
        for i in range(6):
            await bus.publish("k", b"%d" % i)
        records = await receive(subscription, 6)
        await subscription.ack(records[:2])
        await subscription.ack(records[3:])
        await subscription.close()

        again = await receive(await bus.subscribe("g"), 4)

    assert [int(record.value) for record in again] == [2, 3, 4, 5]


async def test_a_session_that_somebody_else_takes_is_left_to_him_and_read_again_later(broker: Program):
    async with opened(broker.url) as bus:
        subscription = await bus.subscribe("g")
        number = partition_of(b"k", 4)
        kept = Properties(PacketTypes.CONNECT)
        kept.SessionExpiryInterval = 60
        async with aiomqtt.Client(
            "127.0.0.1",
            broker.port,
            identifier=f"goim-push-topic:g:{number}",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=kept,
        ):
            pass

        await bus.publish("k", b"1")

        assert [record.value for record in await receive(subscription, 1)] == [b"1"]


async def test_a_record_that_no_group_is_there_for_is_counted(broker: Program):
    async with opened(broker.url) as bus:
        await bus.publish("k", b"")

        assert bus.stats()["unheard"] == 1


async def test_a_broker_that_refuses_is_told_long_before_one_that_does_not_answer():
    async with opened(f"mqtt://127.0.0.1:{free_port()}?timeout_s=600") as bus:
        with pytest.raises(BusError, match="Connection refused") as raised:
            async with asyncio.timeout(60):
                await bus.subscribe("g")

    assert "is the broker running" in raised.value.hint


async def test_other_partitions_than_the_groups_are_refused(broker: Program):
    async with opened(broker.url) as bus, opened(f"{broker.url}&partitions=7") as other:
        await bus.subscribe("g")

        with pytest.raises(BusError, match="has 4 partitions, not 7"):
            await other.subscribe("g")

        await other.publish("k", b"")  # it learns of it when it connects
        await until(lambda: other._misfit)
        with pytest.raises(BusError, match="has 4 partitions, not 7"):
            await other.publish("k", b"")


async def test_a_password_is_checked_and_never_shown(tmp_path: Path):
    passwords = tmp_path / "passwords"
    tool = require_program("mosquitto_passwd", "mosquitto")
    process = await asyncio.create_subprocess_exec(tool, "-b", "-c", str(passwords), "me", "s3cret")
    assert await process.wait() == 0
    passwords.chmod(0o644)

    def command(port: int, folder: Path) -> list[str]:
        (folder / "c.conf").write_text(f"listener {port} 127.0.0.1\npassword_file {passwords}\nuser root\n")
        return [require_program("mosquitto", "mosquitto"), "-c", str(folder / "c.conf")]

    server = Program(command, tmp_path, ready=b" running", url="127.0.0.1:PORT?timeout_s=2")
    server.start()
    try:
        async with opened(f"mqtt://me:s3cret@{server.url}") as bus:
            await bus.publish("k", b"")
            assert "s3cret" not in bus.url
        async with opened(f"mqtt://me:wrong@{server.url}") as bus:
            with pytest.raises(BusError, match="(?i)not authori[sz]ed|password") as raised:
                await bus.publish("k", b"")
            assert "wrong" not in str(raised.value)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mqtt://a,b", "expected one host"),
        ("mqtt://h/a%23", "must not have"),
        ("mqtt://h?partitions=0", "partitions is '0'"),
        ("mqtt://h?qos=2", "unknown parameter 'qos'"),
        ("mqtts://h?ssl_ca_certs=/nowhere.pem", "TLS files"),
    ],
)
def test_a_bad_url_is_a_config_error(url: str, message: str):
    with pytest.raises(ConfigError, match=message):
        MqttBus(url)
