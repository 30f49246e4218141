"""What is particular to Redis Streams; the rest is in tests/contracts and tests/services."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from imctl.bus.contract import BusError
from imctl.bus.partition import partition_of
from imctl.bus.redis_streams import RedisStreamsBus
from imctl.errors import ConfigError
from tests.conftest import require_program
from tests.services.brokers import Program, until


@asynccontextmanager
async def opened(url: str, parameters: str = "") -> AsyncIterator[RedisStreamsBus]:
    bus = RedisStreamsBus(f"{url}?{parameters}" if parameters else url)
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url, protocol=2, decode_responses=True)
    yield client
    await client.aclose()


async def test_a_record_is_a_stream_entry_in_the_partition_of_its_key(redis_url: str, redis: Redis):
    async with opened(redis_url, "stream=mine&partitions=4") as bus:
        await bus.publish("live://1", b"value")

    entries: Any = await redis.xrange(f"{{mine}}:{partition_of(b'live://1', 4)}")

    assert [fields for _, fields in entries] == [{"k": "live://1", "v": "value"}]
    assert await redis.get("{mine}:partitions") == "4"


async def test_acknowledged_records_are_removed(redis_url: str, redis: Redis):
    async with opened(redis_url, "partitions=1&lease_s=5") as bus:
        subscription = await bus.subscribe("g")
        for _ in range(50):
            await bus.publish("k", b"")
        records = await subscription.receive()
        while len(records) < 50:
            records += await subscription.receive()
        await subscription.ack(records[:30])

        async with asyncio.timeout(10):
            while await redis.xlen("{goim-push-topic}:0") != 20:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
        await subscription.ack(records[30:])


async def test_what_another_group_has_not_acknowledged_is_kept(redis_url: str, redis: Redis):
    async with opened(redis_url, "partitions=1&lease_s=5") as bus:
        fast, slow = await bus.subscribe("fast"), await bus.subscribe("slow")
        for i in range(3):
            await bus.publish("k", b"%d" % i)
        while bus.stats()["acked"] < 3:
            await fast.ack(await fast.receive())
        await fast.close()

        assert await redis.xlen("{goim-push-topic}:0") == 3
        await slow.close()


async def test_publish_waits_while_the_stream_is_full_and_goes_on_when_there_is_room(redis_url: str):
    async with opened(redis_url, "partitions=1&maxlen=10&timeout_s=20") as bus:
        subscription = await bus.subscribe("g")
        publishing = [asyncio.ensure_future(bus.publish("k", b"%d" % i)) for i in range(10)]
        await asyncio.gather(*publishing)
        late = asyncio.ensure_future(bus.publish("k", b"late"))
        done, _ = await asyncio.wait((late,), timeout=0.2)
        assert not done

        await subscription.ack(await subscription.receive())

        await asyncio.wait_for(late, 10)
        assert [record.value for record in await subscription.receive()][-1] == b"late"


async def test_publish_gives_up_when_the_stream_stays_full_and_other_streams_go_on(redis_url: str):
    keys = {partition_of(b"%d" % i, 2): str(i) for i in range(20)}
    async with opened(redis_url, "partitions=2&maxlen=10&timeout_s=0.3") as bus:
        await bus.subscribe("g")
        for _ in range(10):
            await bus.publish(keys[0], b"")

        with pytest.raises(BusError, match="full: stream .* holds 10 records") as raised:
            await bus.publish(keys[0], b"")
        await bus.publish(keys[1], b"")

        assert "job" in raised.value.hint
        assert bus.stats()["refused"] == 1


async def test_full_trim_drops_the_oldest_and_counts_the_risk(redis_url: str, redis: Redis):
    async with opened(redis_url, "partitions=1&maxlen=200&full=trim") as bus:
        subscription = await bus.subscribe("g")
        await subscription.close()

        for _ in range(10):
            await asyncio.gather(*(bus.publish("k", b"%d" % i) for i in range(100)))

        assert await redis.xlen("{goim-push-topic}:0") < 400
        assert bus.stats()["trim_risk"] > 0
        assert bus.stats()["refused"] == 0


async def test_records_without_any_group_are_dropped_and_counted(redis_url: str, redis: Redis):
    async with opened(redis_url, "partitions=1&maxlen=10") as bus:
        for _ in range(35):
            await bus.publish("k", b"")

        assert await redis.xlen("{goim-push-topic}:0") <= 10
        assert bus.stats()["unheard"] >= 25


async def test_records_trimmed_before_they_were_acknowledged_are_counted(redis_url: str, redis: Redis):
    async with opened(redis_url, "partitions=1") as bus:
        first = await bus.subscribe("g")
        await bus.publish("k", b"1")
        await first.receive()
        await first.close()
        await redis.xtrim("{goim-push-topic}:0", maxlen=0)

        await bus.subscribe("g")

        await until(lambda: bus.stats()["trimmed_unacked"] == 1)


async def test_members_share_the_partitions_and_take_over(redis_url: str, redis: Redis):
    async def owners() -> list[int]:
        found: Any = await redis.hvals("{goim-push-topic}:g:owners")
        return sorted(found.count(name) for name in set(found))

    async def shared(wanted: list[int]) -> None:
        async with asyncio.timeout(60):
            while await owners() != wanted:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    async with opened(redis_url, "lease_s=1") as one, opened(redis_url) as two, opened(redis_url) as three:
        first = await one.subscribe("g")
        await shared([8])
        await two.subscribe("g")
        await shared([4, 4])
        third = await three.subscribe("g")
        await shared([2, 3, 3])
        await third.close()
        await first.close()
        await shared([8])


async def test_a_partition_is_given_up_only_when_what_was_received_of_it_is_acknowledged(redis_url: str):
    async with opened(redis_url, "partitions=2&lease_s=6") as one, opened(redis_url, "lease_s=6") as two:
        first = await one.subscribe("g")
        for i in range(20):
            await one.publish(f"key-{i}", b"%d" % i)
        records = []
        while len(records) < 20:
            records += await first.receive()

        second = await two.subscribe("g")
        with pytest.raises(TimeoutError):
            # More than twice the time in which members look at who owns what, a tenth of the lease.
            async with asyncio.timeout(1.5):
                await second.receive()
        await first.ack(records)
        taking = asyncio.ensure_future(second.receive())
        async with asyncio.timeout(10):
            for i in range(20, 1000):
                await one.publish(f"key-{i}", b"%d" % i)
                if taking.done():
                    break
                await asyncio.sleep(0.02)

        assert min(int(record.value) for record in await taking) >= 20
        assert two.stats()["redelivered"] == 0


async def test_a_redis_that_lost_its_data_is_begun_anew(redis_url: str, redis: Redis):
    async with opened(redis_url, "lease_s=0.5") as bus:
        subscription = await bus.subscribe("g")
        await bus.publish("k", b"1")
        await subscription.receive()

        await redis.flushdb()
        taking = asyncio.ensure_future(subscription.receive())
        await bus.publish("k", b"2")

        assert [record.value for record in await asyncio.wait_for(taking, 10)] == [b"2"]
        assert await redis.get("{goim-push-topic}:partitions") == "8"


async def test_the_first_sets_the_number_of_partitions(redis_url: str):
    async with opened(redis_url, "partitions=3") as first:
        await first.publish("k", b"")
        async with opened(redis_url) as second, opened(redis_url, "partitions=5") as third:
            await second.publish("k", b"")
            with pytest.raises(BusError, match="has 3 partitions, not 5"):
                await third.publish("k", b"")


async def test_what_redis_refuses_is_told(redis_url: str, redis: Redis):
    async with opened(redis_url, "partitions=1") as bus:
        await redis.set("{goim-push-topic}:0", "a string")

        with pytest.raises(BusError, match="refused the record: WRONGTYPE"):
            await bus.publish("k", b"")
        with pytest.raises(BusError, match="cannot make consumer group 'g': WRONGTYPE"):
            await bus.subscribe("g")


async def test_a_stranger_on_the_port_is_not_taken_for_redis():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(f"redis://127.0.0.1:{port}") as bus:
        with pytest.raises(BusError, match="the connection is gone"):
            await bus.subscribe("g")


async def test_publishers_that_were_cancelled_stand_in_nobodys_way(redis_url: str):
    async with opened(redis_url) as bus:
        subscription = await bus.subscribe("g")
        calls = [asyncio.ensure_future(bus.publish("k", b"%d" % i)) for i in range(10)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await bus.publish("k", b"10")

        values: set[int] = set()
        while 10 not in values:
            values |= {int(record.value) for record in await subscription.receive()}
        assert {1, 3, 5, 7, 9} <= values


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://h/goim", "database 'goim' is not a number"),
        ("redis://a,b", "expected one host"),
        ("redis://h?maxlen=1", "maxlen is '1'; expected a number from 10"),
        ("redis://h?full=maybe", "expected one of wait, trim"),
        ("redis://:secret@h?maxlenn=1", "unknown parameter 'maxlenn'"),
        ("rediss://h?ssl_ca_certs=/nowhere.pem", "TLS files"),
    ],
)
def test_a_bad_url_is_a_config_error(url: str, message: str):
    with pytest.raises(ConfigError, match=message) as raised:
        RedisStreamsBus(url)

    assert "secret" not in str(raised.value)


@pytest.fixture
def guarded_redis(tmp_path: Path) -> Iterator[Program]:
    """A Redis with a password, TLS only."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *(require_program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )

    def command(port: int, folder: Path) -> list[str]:
        return [
            *(require_program("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", "0"),
            *("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
            *("--tls-auth-clients", "no", "--requirepass", "s3cret", "--save", "", "--dir", str(folder)),
        ]

    server = Program(command, tmp_path, ready=b"eady to accept", url=f"127.0.0.1:PORT/1?ssl_ca_certs={certificate}")
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def test_tls_and_password_by_url(guarded_redis: Program):
    async with opened(f"rediss://:s3cret@{guarded_redis.url}") as bus:
        subscription = await bus.subscribe("g")
        await bus.publish("k", b"1")
        assert [record.value for record in await subscription.receive()] == [b"1"]
        assert "s3cret" not in bus.url

    async with opened(f"rediss://:wrong@{guarded_redis.url}", "") as bus:
        with pytest.raises(BusError, match="WRONGPASS|invalid") as raised:
            await bus.subscribe("g")
        assert "wrong" not in str(raised.value)

    async with opened(f"rediss://{guarded_redis.url.partition('?')[0]}") as bus:
        with pytest.raises(BusError, match="certificate verify failed"):
            await bus.subscribe("g")
