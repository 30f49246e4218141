"""What only a real server does: run out of memory, forget its scripts, go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from imctl.messages.contract import Entry, Limits, MessageLog, Offer, mid_scope
from imctl.messages.factory import open_messages
from imctl.messages.redis_script import PREFIX
from imctl.store.contract import StoreError


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[MessageLog]:
    log = open_messages(redis_url, Limits())
    yield log
    await log.close()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.config_set("maxmemory", 0)
    await client.aclose()


def message(mid: int, body: bytes = b"x") -> list[Offer]:
    return [Offer(mid, 1000, body, 1)]


async def test_scripts_that_the_server_has_forgotten_are_loaded_again(log, client):
    await log.offer(message(1))
    await client.script_flush()

    results = await asyncio.gather(*(log.offer(message(1)) for _ in range(5)))

    assert [placed.id for [placed] in results] == [2, 3, 4, 5, 6]


async def test_out_of_memory_it_refuses_hands_over_deletes_and_takes_again(log, client):
    for _ in range(20):
        await log.offer(message(1, b"x" * 1000))
    await client.config_set("maxmemory", 1)

    with pytest.raises(StoreError, match="is full: ") as error:
        await log.offer(message(1))
    assert "maxmemory" in error.value.hint
    with pytest.raises(StoreError, match="is full: "):
        await log.record(Entry("room:a", 7, b"x", 1))
    cursor = await log.open_cursor(1, "k", "c", again=False)
    assert cursor is not None
    assert await log.advance(cursor, 20) is True
    assert await log.acknowledge(1, 5) == 5
    assert (await log.queue(1)).messages == 15
    assert (await log.queue(1)).bytes == 15_000
    await log.close_cursor(1, "k", "c")

    await client.config_set("maxmemory", 0)
    assert [placed.id for placed in await log.offer(message(1))] == [21]


async def test_out_of_memory_a_push_that_needs_no_keeping_goes_over_the_bus_without_its_history(log, client):
    await log.open_cursor(1, "k", "c", again=False)
    await client.config_set("maxmemory", 1)

    [live] = await log.offer([Offer(1, 1000, b"x", 1, {"k": "c"})])
    with pytest.raises(StoreError, match="is full: "):
        await log.offer([Offer(2, 1000, b"x", 1, {"k": "c"})])
    await client.config_set("maxmemory", 0)
    [again] = await log.offer([Offer(1, 1000, b"y", 1, {"k": "c"})])

    assert (live.id, live.recorded) == (0, False)
    assert (again.id, again.recorded) == (0, True)
    assert [message.body for message in await log.history(mid_scope(1), 10, 0, 0)] == [b"y"]


async def test_a_server_that_is_away_is_told(log, redis_server):
    await log.offer(message(1))
    redis_server.stop()
    try:
        with pytest.raises(StoreError) as error:
            await log.offer(message(1))
    finally:
        redis_server.start()

    assert error.value.hint == "is the server running, and the address right?"
    assert (await log.queue(1)).messages == 0  # this server keeps nothing on its disk


async def test_only_what_is_needed_stays_of_a_user_who_has_nothing(log, client):
    await log.offer(message(1))
    await log.open_cursor(1, "k", "c", again=False)
    await log.acknowledge(1, 1)
    await log.close_cursor(1, "k", "c")
    await log.delete(1)

    assert await client.keys(f"{PREFIX}*") == [f"{PREFIX}user:1"]


async def test_a_history_expires_with_its_last_push(client, redis_url):
    log = open_messages(redis_url, Limits(history_age_s=1000))
    await log.record(Entry("room:a", 7, b"x", 1))

    assert 990 <= await client.ttl(f"{PREFIX}history:room:a") <= 1000
    await log.close()
