"""What is particular to sessions on a Redis Cluster; the rest is in tests/contracts and tests/services."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imctl.store.contract import OnlineReport, SessionStore, StoreError
from imctl.store.factory import open_store
from imctl.store.redis_cluster import ClusterStore
from tests.services.redis_cluster import RedisNodes, closing


@pytest.fixture
async def store(redis_cluster_url: str):
    async with closing(open_store(redis_cluster_url)) as opened:
        yield opened


def keys_of(nodes: RedisNodes) -> list[set[str]]:
    return [set(nodes.ask(node, "KEYS", "*")) for node in nodes.masters]


async def test_keys_are_those_of_goim_wherever_they_lie_and_live_for_the_expiry_time(store, redis_nodes):
    users = range(1, 31)
    await asyncio.gather(*(store.add(mid, f"k{mid}", "comet-1") for mid in users))
    await store.set_online("comet-1", OnlineReport({"live://1": 1}, 1))

    found = keys_of(redis_nodes)

    assert set.union(*found) == {f"mid_{mid}" for mid in users} | {f"key_k{mid}" for mid in users} | {"ol_comet-1"}
    assert all(found), "each node has some"
    for node, names in zip(redis_nodes.masters, found, strict=True):
        assert all(1798 <= redis_nodes.ask(node, "TTL", name) <= 1800 for name in names)


async def test_a_user_keeps_no_field_of_a_key_that_expired(store, redis_nodes):
    await store.add(1, "a", "comet-1")
    await store.add(1, "b", "comet-2")
    for key in ("key_a", "key_b"):
        redis_nodes.ask(redis_nodes.owner(key), "DEL", key)

    removed = await store.remove(1, "a", "comet-1"), await store.remove(1, "b", "comet-1")

    assert removed == (False, False)
    assert await store.sessions_by_mid([1]) == {1: {"b": "comet-2"}}


async def test_half_a_session_is_removed_by_the_server_that_it_names(store, redis_nodes):
    await store.add(1, "k", "comet-1")
    redis_nodes.ask(redis_nodes.owner("key_k"), "SET", "key_k", "comet-2")  # on its way to another

    assert await store.remove(1, "k", "comet-1") is False

    assert await store.servers_by_key(["k"]) == {"k": "comet-2"}
    assert await store.sessions_by_mid([1]) == {}


async def test_a_wrong_type_of_key_fails_its_caller_only(store, redis_nodes):
    redis_nodes.ask(redis_nodes.owner("mid_1"), "SET", "mid_1", "no hash")

    results = await asyncio.gather(
        store.sessions_by_mid([1]), store.sessions_by_mid([2]), store.add(3, "k", "c"), return_exceptions=True
    )

    assert isinstance(results[0], StoreError)
    assert "WRONGTYPE" in results[0].message
    assert results[1:] == [{}, None]


async def test_half_a_surrogate_pair_is_a_key_as_on_one_redis(store, redis_url):
    async with closing(open_store(redis_url)) as alone:
        for each in (store, alone):
            await each.add(1, "\ud800", "comet-1")

        assert [await each.sessions_by_mid([1]) for each in (store, alone)] == [{1: {"?": "comet-1"}}] * 2


async def test_a_url_of_one_redis_that_leads_to_a_cluster_is_told_the_right_one(redis_nodes):
    redis_nodes.flush()
    place = f"127.0.0.1:{redis_nodes.nodes[0].port}"
    async with closing(open_store(f"redis://{place}")) as wrong:
        calls: list[Any] = [wrong.servers_by_key(["a", "b", "c"])]
        calls += [wrong.add(mid, f"k{mid}", "comet-1") for mid in range(1, 21)]

        results = [result for result in await asyncio.gather(*calls, return_exceptions=True) if result is not None]

    assert len(results) > 10
    right = f"this is a node of a Redis Cluster, whose URL is redis+cluster://{place}"
    assert {str(result.hint) for result in results} == {right}
    assert any("the key is on 127.0.0.1:" in str(result) for result in results)


async def test_a_url_of_a_cluster_that_leads_to_one_redis_is_told_the_right_one(redis_url):
    place = redis_url.removesuffix("/0").removeprefix("redis://")
    locked, unlocked = open_store(f"redis+cluster://:s3cret@{place}"), open_store(f"redis+cluster://{place}")
    async with closing(locked), closing(unlocked):
        with pytest.raises(StoreError) as refused:
            await locked.add(1, "k", "comet-1")
        with pytest.raises(StoreError, match="cluster support disabled") as alone:
            await unlocked.add(1, "k", "comet-1")

    assert "s3cret" not in f"{refused.value} {refused.value.hint}"
    assert alone.value.hint == f"a Redis without a cluster: redis://{place}"


async def test_nodes_that_are_not_there_are_an_error_with_a_hint(unused_tcp_port):
    async with closing(open_store(f"redis+cluster://me:s3cret@127.0.0.1:{unused_tcp_port}")) as store:
        calls = [store.add(1, "k", "c"), store.remove(1, "k", "c"), store.servers_by_key(["k"]), store.online("c")]

        results = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(StoreError, match=f"127.0.0.1:{unused_tcp_port}"):
            async with store.hold("a"):
                pass

    assert all(isinstance(result, StoreError) and result.hint for result in results)
    assert "s3cret" not in f"{store.url} {results}"


async def test_the_url_may_say_how_long_a_session_lives(redis_cluster_url, redis_nodes):
    async with closing(open_store(f"{redis_cluster_url}?expire_s=7")) as store:
        await store.add(0, "k", "comet-1")

    assert isinstance(store, ClusterStore)
    assert 6 <= redis_nodes.ask(redis_nodes.owner("key_k"), "TTL", "key_k") <= 7


async def test_sessions_are_there_while_their_slot_is_moved(store: SessionStore, redis_nodes):
    """Each step of a move is looked at: announced, some keys moved, all moved, done; and back."""
    names = [f"{{x}}{number}" for number in range(20)]  # all in one slot
    await asyncio.gather(*(store.add(0, name, "comet-1") for name in names))
    source = redis_nodes.owner("key_{x}0")
    target = next(node for node in redis_nodes.masters if node is not source)
    slot = redis_nodes.ask(source, "CLUSTER", "KEYSLOT", "x")
    expected = dict.fromkeys(names, "comet-1")

    async def check(step: int) -> None:
        await store.add(0, f"{{x}}new-{step}", "comet-2")
        assert await store.servers_by_key([*names, f"{{x}}new-{step}"]) == expected | {f"{{x}}new-{step}": "comet-2"}
        assert await store.remove(0, f"{{x}}new-{step}", "comet-2") is True

    step = 0
    for one, other in ((source, target), (target, source)):
        redis_nodes.begin_move(slot, one, other)
        await check(step)
        assert len(redis_nodes.move_keys(slot, one, other, 10)) == 10
        await check(step + 1)
        redis_nodes.end_move(slot, one, other)
        await check(step + 2)
        step += 3
