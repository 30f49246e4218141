"""Store, messages and bus on a Redis that has a sentinel: they follow the master."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from imctl.bus.contract import BusError
from imctl.bus.factory import open_bus
from imctl.cluster.tls import self_signed
from imctl.messages.contract import Limits, Offer
from imctl.messages.factory import open_messages
from imctl.store.contract import StoreError
from imctl.store.factory import open_store
from tests.conftest import require_program
from tests.services.brokers import until
from tests.services.load import BusLoad
from tests.services.sentinels import PASSWORD, SentinelSet


@pytest.fixture
async def redis_set(tmp_path: Path) -> AsyncIterator[SentinelSet]:
    servers = SentinelSet(require_program("redis-server", "redis-server"), tmp_path)
    try:
        await servers.start()
        yield servers
    finally:
        servers.stop()


async def replicated(servers: SentinelSet) -> None:
    """Return when the replica has what the master has."""
    client = servers.client(servers.master.port)
    try:
        await client.set("mark", "1")
        assert await client.wait(1, 10_000) == 1
    finally:
        await client.aclose()


async def test_sessions_and_messages_are_there_after_a_fail_over(redis_set: SentinelSet):
    store, log = open_store(redis_set.url()), open_messages(redis_set.url(), Limits())
    await store.add(1, "k", "comet-1")
    await log.offer([Offer(1, 1000, b"1", 1)])
    await replicated(redis_set)

    await redis_set.fail_over()

    async def found() -> dict[str, str]:
        while True:
            try:
                return await store.servers_by_key(["k"])
            except StoreError:  # for as long as the new master has not taken over
                await asyncio.sleep(0.05)

    async with asyncio.timeout(60):
        assert await found() == {"k": "comet-1"}
        await store.add(2, "l", "comet-2")
        assert await store.remove(1, "k", "comet-1") is True
    with contextlib.suppress(StoreError):
        await log.queue(1)  # its connection was to the old master, and nothing is sent twice
    assert [placed.id for placed in await log.offer([Offer(1, 1000, b"2", 1)])] == [2]
    await store.close()
    await log.close()
    assert PASSWORD not in f"{store.url} {log.url}"


async def test_a_bus_loses_nothing_that_was_replicated_and_goes_on_after_a_fail_over(redis_set: SentinelSet):
    bus = open_bus(redis_set.url("lease_s=1&timeout_s=60"))
    job = await bus.subscribe("g")
    load = BusLoad()
    taken = load.taken

    receiving = asyncio.create_task(load.receive(job))
    publishing = [asyncio.create_task(load.publish(bus, i)) for i in range(4)]
    await until(lambda: len(taken) >= 200)
    load.stopping.set()
    await asyncio.gather(*publishing)
    await replicated(redis_set)
    kept = set(taken)

    load.stopping.clear()
    publishing = [asyncio.create_task(load.publish(bus, i + 10)) for i in range(4)]
    await until(lambda: len(taken) >= len(kept) + 100)
    await redis_set.fail_over()
    before = set(taken)
    await until(lambda: len(taken) >= len(before) + 200)
    load.stopping.set()
    await asyncio.gather(*publishing)
    await until(lambda: taken - before <= load.received)
    receiving.cancel()
    await asyncio.wait((receiving,))
    await bus.close()

    # What the old master took in its last moment, and had not passed on, may be gone with it.
    lost = taken - load.received
    assert not lost & kept
    assert len(lost) <= 40, "more than replication can be behind on loopback"
    assert len(load.unknown) <= 8
    assert PASSWORD not in bus.url


async def test_a_master_that_becomes_a_replica_takes_no_record_and_loses_none(redis_set: SentinelSet):
    bus = open_bus(redis_set.url("lease_s=1&timeout_s=60"))
    job = await bus.subscribe("g")
    await bus.publish("k", b"0")
    await replicated(redis_set)

    await redis_set.demote()
    values = [b"%d" % i for i in range(1, 200)]
    results = []
    for value in values:
        results.append(await asyncio.gather(bus.publish("k", value), return_exceptions=True))
        await asyncio.sleep(0.01)
    got: list[bytes] = []
    async with asyncio.timeout(60):
        while got[-1:] != [values[-1]]:
            records = await job.receive()
            got += [record.value for record in records]
            await job.ack(records)

    first = list(dict.fromkeys(got))
    assert first == sorted(first, key=int)
    failed = [result for [result] in results if isinstance(result, BaseException)]
    assert len(failed) <= 1, failed
    assert len(first) >= 199
    await bus.close()


async def test_sentinels_and_their_master_are_spoken_to_over_tls(tmp_path: Path):
    cert, key = self_signed(tmp_path / "tls", "127.0.0.1")
    options = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert))
    options += ("--tls-auth-clients", "no", "--tls-replication", "yes")
    servers = SentinelSet(require_program("redis-server", "redis-server"), tmp_path, options)
    try:
        await servers.start()
        store = open_store(servers.url(f"ssl_ca_certs={cert}"))
        bus = open_bus(servers.url(f"ssl_ca_certs={cert}"))

        await store.add(1, "k", "comet-1")
        job = await bus.subscribe("g")
        await bus.publish("k", b"1")

        assert await store.servers_by_key(["k"]) == {"k": "comet-1"}
        assert [record.value for record in await job.receive()] == [b"1"]
        await store.close()
        await bus.close()

        unchecked = open_bus(servers.url())
        with pytest.raises(BusError, match="certificate verify failed"):
            await unchecked.subscribe("g")
        await unchecked.close()
    finally:
        servers.stop()


async def test_sentinels_that_are_not_there_are_told_without_secrets():
    url = "redis+sentinel://me:s3cret@127.0.0.1:1/mymaster?sentinel_password=h1dden"
    bus, store = open_bus(f"{url}&timeout_s=0.2"), open_store(url)

    with pytest.raises(BusError, match="no sentinel names a master 'mymaster': redis 127.0.0.1:1: ") as publishing:
        await bus.publish("k", b"1")
    with pytest.raises(StoreError, match="no sentinel names a master 'mymaster': 127.0.0.1:1: ") as adding:
        await store.add(1, "k", "comet-1")

    for text in (str(publishing.value), str(adding.value), bus.url, store.url):
        assert "s3cret" not in text
        assert "h1dden" not in text
    await bus.close()
    await store.close()
