"""Our Redis commands and values against those recorded of a Go logic."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from imctl.store.contract import OnlineReport, StoreError
from imctl.store.factory import open_store
from imctl.store.redis import RedisStore

RECORDED = json.loads((Path(__file__).parents[2] / "vectors" / "redis.json").read_text())
CALLS = {
    "connect: mid 301, key r-1": ("add", 301, "r-1", "comet-a"),
    "connect: second key r-2 of mid 301": ("add", 301, "r-2", "comet-a"),
    "connect: mid 0, key r-0": ("add", 0, "r-0", "comet-a"),
    "logic Heartbeat RPC mid 301 key r-1 (mapping present)": ("refresh", 301, "r-1", "comet-a"),
    "logic Heartbeat RPC mid 0 key r-0": ("refresh", 0, "r-0", "comet-a"),
    "logic Heartbeat RPC mid 302 key r-gone (no mapping: it is written)": ("refresh", 302, "r-gone", "comet-a"),
    "POST push/mids mids=301,302,999 (999 offline)": ("sessions_by_mid", [301, 302, 999]),
    "POST push/mids without mids": ("sessions_by_mid", []),
    "POST push/keys keys=r-1,r-2,nobody": ("servers_by_key", ["r-1", "r-2", "nobody"]),
}
MONITOR = {
    entry["what"]: [shlex.split(command["cmd"]) for command in entry["commands"]]
    for entry in RECORDED["monitor"]
    if entry["what"] in CALLS
}


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    opened = Redis.from_url(redis_url, decode_responses=True, protocol=2)
    yield opened
    await opened.aclose()


async def test_commands_are_those_of_a_go_logic(redis_url, client):
    store = open_store(redis_url)
    await store.servers_by_key(["warm up"])
    seen: dict[str, list[list[str]]] = {}

    async with client.monitor() as monitor:
        for what, (method, *args) in CALLS.items():
            await getattr(store, method)(*args)
            await client.ping(), await client.echo("end")
            seen[what] = []
            while (command := shlex.split((await monitor.next_command())["command"]))[0] != "ECHO":
                if command[0] not in ("PING", "CLIENT", "SELECT"):
                    seen[what].append(command)

    await store.close()
    assert seen == MONITOR


async def test_keys_live_for_the_expiry_time(redis_url, client):
    store = open_store(redis_url)
    await store.add(301, "r-1", "comet-a")
    await store.add(0, "r-0", "comet-a")
    await store.set_online("comet-a", OnlineReport({"live://1": 1}, 1))

    kept = {name: await client.ttl(name) for name in await client.keys()}

    await store.close()
    assert set(kept) == {"mid_301", "key_r-1", "key_r-0", "ol_comet-a"}
    assert all(1798 <= ttl <= 1800 for ttl in kept.values())


async def test_the_expiry_time_can_be_chosen(redis_url, client):
    store = open_store(redis_url, expire_s=7)
    await store.add(1, "k", "comet-a")

    ttl = await client.ttl("key_k")

    await store.close()
    assert 6 <= ttl <= 7


async def test_the_hash_of_room_counts_is_that_of_a_go_logic(redis_url, client):
    recorded = RECORDED["online"]["value"]
    parts = [json.loads(text) for text in recorded.values()]
    updated_s = max(part["updated"] for part in parts)
    # Only what the last report wrote: fields of rooms that had emptied were left behind.
    fresh = {slot: text for slot, text in recorded.items() if json.loads(text)["updated"] == updated_s}
    rooms = {room: count for text in fresh.values() for room, count in json.loads(text)["room_count"].items()}
    store = open_store(redis_url)
    await client.hset("ol_comet-a", mapping=recorded)

    await store.set_online("comet-a", OnlineReport(rooms, updated_s))

    written, read = await client.hgetall("ol_comet-a"), await store.online("comet-a")
    await store.close()
    assert written == fresh
    assert read == OnlineReport(rooms, updated_s)


async def test_what_a_go_logic_wrote_is_read(redis_url, client):
    await client.hset("ol_comet-a", mapping=RECORDED["online"]["value"] | {"x": "?", "63": "not json", "62": "[]"})
    store = open_store(redis_url)

    report = await store.online("comet-a")

    await store.close()
    assert report is not None
    assert report.rooms["live://1000"] == 4
    assert report.rooms["直播://房间"] == 1


async def test_a_removal_is_refused_when_the_key_moves_meanwhile(redis_url, client):
    store = open_store(redis_url)
    assert isinstance(store, RedisStore)
    await store.add(1, "k", "comet-1")
    looks = 0
    orphans = store._orphans

    async def move_while_it_looks(*args: Any) -> Any:
        # Another logic moves the session between the look and the delete.
        nonlocal looks
        looks += 1
        if looks == 1:
            await client.hset("mid_1", "k", "comet-2")
            await client.set("key_k", "comet-2")
        return await orphans(*args)

    store._orphans = move_while_it_looks  # type: ignore[method-assign]  # the test comes in between

    removed = await store.remove(1, "k", "comet-1")

    left = await store.servers_by_key(["k"]), await store.sessions_by_mid([1])
    await store.close()
    assert removed is False
    assert looks == 2
    assert left == ({"k": "comet-2"}, {1: {"k": "comet-2"}})


async def test_a_removal_that_never_comes_to_rest_is_given_up(redis_url, client):
    store = open_store(redis_url)
    assert isinstance(store, RedisStore)
    await store.add(1, "k", "comet-1")
    orphans = store._orphans

    async def write_while_it_looks(*args: Any) -> Any:
        await client.set("key_k", "comet-1")
        return await orphans(*args)

    store._orphans = write_while_it_looks  # type: ignore[method-assign]  # the test comes in between

    with pytest.raises(StoreError, match="changes too often"):
        await store.remove(1, "k", "comet-1")
    await store.close()


async def test_a_user_keeps_no_field_of_a_key_that_expired(redis_url, client):
    store = open_store(redis_url)
    await store.add(1, "a", "comet-1")
    await store.add(1, "b", "comet-2")
    await client.delete("key_a", "key_b")

    removed = await store.remove(1, "a", "comet-1"), await store.remove(1, "b", "comet-1")

    left = await store.sessions_by_mid([1])
    await store.close()
    assert removed == (False, False)
    assert left == {1: {"b": "comet-2"}}


async def test_a_server_that_is_not_there_is_an_error_with_a_hint(unused_tcp_port):
    store = open_store(f"redis://user:secret@127.0.0.1:{unused_tcp_port}")

    with pytest.raises(StoreError, match=f"127.0.0.1:{unused_tcp_port}") as caught:
        await store.add(1, "k", "comet-1")
    with pytest.raises(StoreError):
        await store.remove(1, "k", "comet-1")

    await store.close()
    assert caught.value.hint
    assert "secret" not in str(caught.value)


async def test_a_server_that_does_not_answer_is_an_error_in_time():
    released = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    listener = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    client: Redis = Redis.from_url(f"redis://127.0.0.1:{port}", decode_responses=True, protocol=2)
    store = RedisStore(client, url="redis://mute", timeout_s=0.05)

    with pytest.raises(StoreError, match=r"no answer within 0.05 s"):
        await store.servers_by_key(["k"])

    await store.close()
    released.set()
    listener.close()
    await listener.wait_closed()


async def test_the_store_works_again_after_the_server_was_away():
    server = fakeredis.FakeServer()
    store = RedisStore(fakeredis.FakeAsyncRedis(server=server, decode_responses=True), url="fakeredis://")
    await store.add(1, "k", "comet-1")
    server.connected = False
    with pytest.raises(StoreError):
        await store.servers_by_key(["k"])

    server.connected = True

    assert await store.servers_by_key(["k"]) == {"k": "comet-1"}
    await store.close()


async def test_a_wrong_type_of_key_fails_its_caller_only(redis_url, client):
    store = open_store(redis_url)
    await client.set("mid_1", "no hash")

    results = await asyncio.gather(
        store.sessions_by_mid([1]), store.sessions_by_mid([2]), store.add(3, "k", "c"), return_exceptions=True
    )

    await store.close()
    assert isinstance(results[0], StoreError)
    assert results[1:] == [{}, None]


async def test_calls_on_a_closed_store_fail():
    store = open_store("fakeredis://")
    await store.close()

    with pytest.raises(StoreError, match="is closed"):
        await store.add(1, "k", "comet-1")


async def test_closing_fails_what_waits():
    gate = asyncio.Event()

    class Held(fakeredis.FakeAsyncRedis):
        async def hold(self, *args: Any, **kwargs: Any) -> Any:
            await gate.wait()

    client = Held(decode_responses=True)
    store = RedisStore(client, url="fakeredis://")
    store._commands._process = client.hold  # type: ignore[method-assign]  # the test comes in between
    call = asyncio.ensure_future(store.add(1, "k", "comet-1"))
    later = asyncio.ensure_future(store.add(2, "l", "comet-1"))
    await asyncio.sleep(0)

    await store.close()

    for waiting in (call, later):
        with pytest.raises(StoreError, match="is closed"):
            await waiting
