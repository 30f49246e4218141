"""What is particular to kept messages on a Redis Cluster; the rest is in tests/contracts and tests/services."""

from __future__ import annotations

import asyncio

import pytest

from imctl.messages.contract import Entry, Limits, MessageLog, Offer
from imctl.messages.factory import open_messages
from imctl.messages.redis_script import PREFIX
from imctl.store.contract import StoreError
from tests.services.brokers import Program
from tests.services.redis_cluster import RedisNodes, closing


@pytest.fixture
async def log(redis_cluster_url: str):
    async with closing(open_messages(redis_cluster_url, Limits())) as opened:
        yield opened


def message(mid: int, body: bytes = b"x") -> Offer:
    return Offer(mid, 1000, body, 1)


def keys(nodes: RedisNodes) -> set[str]:
    return {key.removeprefix(PREFIX) for node in nodes.masters for key in nodes.ask(node, "KEYS", f"{PREFIX}*")}


async def test_the_keys_of_a_user_are_on_one_node_and_users_on_all(log, redis_nodes):
    await log.offer([message(mid) for mid in (5, 69, -1)])
    await log.open_cursor(5, "k", "comet-1", again=False)
    await log.record(Entry("room:live://1", 7, b"x", 1))

    groups = {f"{{5}}:user:{mid}" for mid in (5, 69)} | {f"{{5}}:queue:{mid}" for mid in (5, 69)}
    groups |= {"{5}:waiting", "{5}:history:mid:5", "{5}:history:mid:69"}
    groups |= {"{63}:user:-1", "{63}:queue:-1", "{63}:waiting", "{63}:history:mid:-1"}
    assert keys(redis_nodes) == groups | {"key:k", "history:room:live://1"}

    await log.offer([message(mid) for mid in range(100, 164)])
    assert all(redis_nodes.ask(node, "DBSIZE") >= 20 for node in redis_nodes.masters)


async def test_only_what_is_needed_stays_of_a_user_who_has_nothing(log, redis_nodes):
    await log.offer([message(1)])
    await log.open_cursor(1, "k", "c", again=False)
    await log.acknowledge(1, 1)
    await log.close_cursor(1, "k", "c")
    await log.delete(1)

    assert keys(redis_nodes) == {"{1}:user:1"}


async def test_a_key_that_has_moved_on_stays_where_it_went_when_the_first_user_leaves(log, redis_nodes):
    await log.offer([message(1), message(2)])
    first = await log.open_cursor(1, "k", "c", again=False)
    await log.open_cursor(2, "k", "c", again=False)
    assert first is not None

    await log.drop_cursor(first)
    await log.close_cursor(1, "k", "c")

    assert (await log.queue(1)).cursors == ()
    assert [cursor.key for cursor in (await log.queue(2)).cursors] == ["k"]
    assert "key:k" in keys(redis_nodes)


async def test_a_registration_that_was_made_anew_meanwhile_is_not_forgotten(log, redis_nodes):
    """Of two logics that register a key for two users at the same time, the last one's counts."""
    await log.open_cursor(1, "k", "c", again=False)
    owner = f"{PREFIX}key:k"
    before = redis_nodes.ask(redis_nodes.owner(owner), "GET", owner)
    await log.close_cursor(1, "k", "c")
    await log.offer([message(1)])
    again = await log.open_cursor(1, "k", "c", again=False)
    # The other logic saw the first registration, and forgets that one only now.
    redis_nodes.ask(redis_nodes.owner(owner), "SET", owner, before)

    await log.open_cursor(2, "k", "c", again=False)

    assert (await log.queue(1)).cursors == (again,)


async def test_a_connection_that_stays_is_known_for_a_day_from_its_last_sign_of_life(log, redis_nodes):
    await log.open_cursor(1, "k", "c", again=False)
    owner = f"{PREFIX}key:k"
    redis_nodes.ask(redis_nodes.owner(owner), "EXPIRE", owner, 5)

    await log.open_cursor(1, "k", "c", again=True)

    assert redis_nodes.ask(redis_nodes.owner(owner), "TTL", owner) > 86_000


async def test_scripts_that_nodes_have_forgotten_are_loaded_again(log, redis_nodes):
    await log.offer([message(mid) for mid in range(1, 10)])
    for node in redis_nodes.masters:
        redis_nodes.ask(node, "SCRIPT", "FLUSH")

    placed = await asyncio.gather(*(log.offer([message(mid) for mid in range(1, 10)]) for _ in range(3)))

    assert [[one.id for one in each] for each in placed] == [[2] * 9, [3] * 9, [4] * 9]


async def test_out_of_memory_a_node_refuses_hands_over_deletes_and_takes_again(log, redis_nodes):
    for _ in range(20):
        await log.offer([message(1, b"x" * 1000)])
    full = redis_nodes.owner(f"{PREFIX}{{1}}:user:1")
    other = next(mid for mid in range(2, 64) if redis_nodes.owner(f"{PREFIX}{{{mid}}}:user:{mid}") is not full)
    redis_nodes.ask(full, "CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(StoreError, match="is full: ") as error:
            await log.offer([message(1)])
        assert "maxmemory" in error.value.hint
        assert [placed.id for placed in await log.offer([message(other)])] == [1]
        for key in ("k", "l", "m", "n"):  # of which some are on the node that is full
            assert await log.open_cursor(1, key, "c", again=False) is not None
        cursor = await log.open_cursor(1, "k", "c", again=True)
        assert cursor is not None
        assert await log.advance(cursor, 20) is True
        for key in ("l", "m", "n"):
            await log.close_cursor(1, key, "c")
        assert await log.acknowledge(1, 5) == 5
        assert (await log.queue(1)).messages == 15
    finally:
        redis_nodes.ask(full, "CONFIG", "SET", "maxmemory", 0)

    assert [placed.id for placed in await log.offer([message(1)])] == [21]


async def test_a_sweep_looks_at_no_more_users_than_it_is_told(redis_cluster_url):
    async with closing(open_messages(redis_cluster_url, Limits(max_age_s=1))) as log:
        await log.offer([message(mid) for mid in range(1, 201)])

        swept = [(await log.sweep(10_000, 50)).over_age for _ in range(6)]

    assert swept[:4] == [50] * 4
    assert sum(swept) == 200


async def test_a_url_of_one_redis_that_leads_to_a_cluster_is_told_the_right_one(redis_nodes):
    redis_nodes.flush()
    hints = set()
    for node in redis_nodes.masters:
        async with closing(open_messages(f"redis://127.0.0.1:{node.port}", Limits())) as wrong:
            for mid in range(10):
                try:
                    await wrong.offer([message(mid)])
                except StoreError as exc:
                    hints.add((node.port, exc.hint))

    assert hints == {
        (node.port, f"this is a node of a Redis Cluster, whose URL is redis+cluster://127.0.0.1:{node.port}")
        for node in redis_nodes.masters
    }


async def test_nodes_that_are_not_there_are_an_error_with_a_hint(unused_tcp_port):
    url = f"redis+cluster://me:s3cret@127.0.0.1:{unused_tcp_port}"
    async with closing(open_messages(url, Limits())) as log:
        with pytest.raises(StoreError, match=f"127.0.0.1:{unused_tcp_port}") as told:
            await log.check()
        with pytest.raises(StoreError):
            await log.sweep(1, 10)

    assert told.value.hint
    assert "s3cret" not in f"{told.value}{log.url}"


def moving(nodes: RedisNodes, group: int) -> tuple[int, Program, Program]:
    source = nodes.owner(f"{PREFIX}{{{group}}}:user:{group}")
    target = next(node for node in nodes.masters if node is not source)
    return nodes.ask(source, "CLUSTER", "KEYSLOT", str(group)), source, target


async def test_while_a_group_is_moved_nothing_is_lost_placed_twice_or_renumbered(log: MessageLog, redis_nodes):
    mid, placed = 9, 0
    slot, source, target = moving(redis_nodes, mid)
    refusals: list[StoreError] = []

    async def offer() -> None:
        """Offer a message; where that is refused, nothing has come of it."""
        nonlocal placed
        try:
            [one] = await log.offer([message(mid, b"%d" % (placed + 1))])
        except StoreError as exc:
            refusals.append(exc)
        else:
            placed += 1
            assert one.id == placed

    await offer()
    assert placed == 1
    for one, other in ((source, target), (target, source)):
        redis_nodes.begin_move(slot, one, other)
        await offer()
        for _ in range(3):  # its keys are here and there
            redis_nodes.move_keys(slot, one, other, 1)
            await offer()
        redis_nodes.end_move(slot, one, other)
        before = placed
        await offer()
        assert placed == before + 1
    await log.open_cursor(mid, "k", "c", again=False)

    batch = await log.waiting(mid, "k", 0)
    assert batch is not None
    assert [kept.body for kept in batch.messages] == [b"%d" % number for number in range(1, placed + 1)]
    assert all("TRYAGAIN" in error.message for error in refusals)
