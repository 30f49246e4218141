"""What the router does when nodes send it on, refuse, or go away; on a real cluster it is in the contract suites."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest

from imctl.bus.contract import BusError
from imctl.redis_cluster.nodes import ClusterNodes
from imctl.redis_cluster.router import ClusterRouter
from imctl.redis_cluster.slots import SLOTS, key_slot
from tests.imctl.redis_cluster.fakes import FakeCluster, FakeNode, bulk, cluster
from tests.services.brokers import until

# Keys of the lower and of the upper half of the slots.
LOW = [name for name in map(str, range(200)) if key_slot(name.encode()) < SLOTS // 2]
HIGH = [name for name in map(str, range(200)) if key_slot(name.encode()) >= SLOTS // 2]


@asynccontextmanager
async def router_to(
    node: FakeNode, *, timeout_s: float = 5.0, repeatable: bool = False
) -> AsyncIterator[ClusterRouter]:
    router = ClusterRouter(ClusterNodes([node.address]), what="store", timeout_s=timeout_s, repeatable=repeatable)
    try:
        yield router
    finally:
        await router.close()


async def get(router: ClusterRouter, *keys: str) -> list[Any]:
    return await router.call([("GET", key) for key in keys])


def once(reply: Callable[[], bytes | None], then: bytes) -> Callable[[list[str]], bytes | None]:
    """Return an answer that differs the first time."""
    first = itertools.chain([True], itertools.repeat(False))
    return lambda command: reply() if next(first) else then


async def test_each_command_goes_to_the_node_of_its_key_and_replies_keep_their_order():
    async with cluster() as (_made, a, b), router_to(a) as router:
        replies = await router.call(
            [
                ("GET", HIGH[0]),
                ("EVAL", "return 1", 1, LOW[0], HIGH[1]),
                (b"EVALSHA", b"0", 1, HIGH[1].encode()),
                ("GET", LOW[1]),
            ]
        )

    assert replies == [b"b", b"a", b"b", b"a"]
    assert [command[0] for command in a.commands] == ["EVAL", "GET"]
    assert [command[0] for command in b.commands] == ["GET", "EVALSHA"]


async def test_a_slot_that_has_moved_is_followed_and_then_known():
    async with cluster() as (made, a, b), router_to(a) as router:
        await get(router, LOW[0])
        moved = b"-MOVED %d 127.0.0.1:%d\r\n" % (key_slot(LOW[0].encode()), b.address.port)
        a.answer = lambda command: moved
        made.ranges = [(0, SLOTS - 1, b)]

        replies = await get(router, LOW[0], HIGH[0])
        again = await get(router, LOW[0])

    assert (replies, again) == ([b"b", b"b"], [b"b"])
    assert len(a.commands) == 2


async def test_a_redirection_is_followed_although_the_map_is_behind():
    async with cluster() as (_made, a, b), router_to(a) as router:
        a.answer = lambda command: b"-MOVED 1 127.0.0.1:%d\r\n" % b.address.port

        assert await get(router, LOW[0]) == [b"b"]


async def test_while_a_slot_is_moved_its_commands_ask_the_new_node_which_need_not_have_any():
    async with cluster() as (made, a, b):
        new = FakeNode("new", made)
        await new.start()
        async with router_to(a) as router:
            ask = b"-ASK 1 127.0.0.1:%d\r\n" % new.address.port
            a.answer = lambda command: ask if command[1] == LOW[0] else bulk("a")

            replies = await asyncio.gather(*(get(router, LOW[0], LOW[1]) for _ in range(4)))
            looks = a.looks + b.looks
        await new.stop()

    assert replies == [[b"new", b"a"]] * 4
    assert new.commands == [["ASKING"], ["GET", LOW[0]]] * 4
    assert len(a.commands) == 8
    assert looks == 1


async def test_a_command_whose_keys_are_here_and_there_is_tried_again():
    async with cluster() as (_made, a, _b), router_to(a) as router:
        a.answer = once(lambda: b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", bulk("a"))

        assert await get(router, LOW[0]) == [b"a"]


async def test_what_is_refused_for_long_is_an_error_of_its_command():
    async with cluster() as (_made, a, _b), router_to(a) as router:
        a.answer = lambda command: b"-TRYAGAIN Multiple keys\r\n" if command[1] == LOW[0] else bulk("a")

        refused, taken = await get(router, LOW[0], LOW[1])

    assert isinstance(refused, hiredis.ReplyError)
    assert str(refused).startswith("TRYAGAIN")
    assert taken == b"a"
    assert [command[1] for command in a.commands].count(LOW[1]) == 1


async def test_an_error_of_a_command_is_its_own():
    async with cluster() as (_made, a, _b), router_to(a) as router:
        a.answer = once(lambda: b"-WRONGTYPE no\r\n", bulk("a"))

        wrong, right = await get(router, LOW[0], LOW[1])

    assert str(wrong) == "WRONGTYPE no"
    assert right == b"a"
    assert len(a.commands) == 2


async def test_a_node_that_is_away_costs_the_commands_for_its_keys_only():
    async with cluster() as (_made, a, b), router_to(b) as router:
        await a.stop()

        away, there = await get(router, LOW[0], HIGH[0])
        await a.start()
        back = await get(router, LOW[0])

    assert isinstance(away, BusError)
    assert f"store: redis {a.address}: " in away.message
    assert away.hint
    assert (there, back) == (b"b", [b"a"])
    assert len(b.commands) == 1


@pytest.mark.parametrize("repeatable", [False, True])
async def test_what_was_not_sent_goes_to_the_node_that_has_the_slot_now(repeatable):
    async with cluster() as (made, a, b), router_to(b, repeatable=repeatable) as router:
        assert await get(router, LOW[0], HIGH[0]) == [b"a", b"b"]
        await a.stop()
        await until(lambda: not router._links[a.address].connected)
        made.ranges = [(0, SLOTS - 1, b)]

        assert await get(router, LOW[0], HIGH[0]) == [b"b", b"b"]


@pytest.mark.parametrize("repeatable", [False, True])
async def test_a_command_whose_reply_was_lost_is_sent_again_only_where_that_does_no_harm(repeatable):
    async with cluster() as (_made, a, _b), router_to(a, repeatable=repeatable) as router:
        a.answer = once(lambda: None, bulk("a"))

        lost, other = await get(router, LOW[0], HIGH[0])

    if repeatable:
        assert lost == b"a"
    else:
        assert isinstance(lost, BusError)
        assert "the connection is gone" in lost.message
    assert other == b"b"
    assert len(a.commands) == 1 + repeatable


async def test_a_node_that_does_not_answer_is_not_asked_again():
    async with cluster() as (_made, a, b), router_to(b, timeout_s=0.2, repeatable=True) as router:
        await get(router, LOW[0], HIGH[0])
        a.is_mute = True

        silent, there = await get(router, LOW[0], HIGH[0])

    assert isinstance(silent, BusError)
    assert f"redis {a.address}: no answer within 0.2 s" in silent.message
    assert there == b"b"


async def test_a_connection_that_was_closed_while_it_was_idle_is_made_anew():
    async with cluster() as (_made, a, _b), router_to(a) as router:
        await get(router, LOW[0])
        a.hang_up()
        await until(lambda: not router._links[a.address].connected)

        assert await get(router, LOW[0]) == [b"a"]


async def test_a_connection_that_was_idle_for_long_is_tried_before_it_is_used():
    async with cluster() as (_made, a, b), router_to(b, timeout_s=0.2) as router:
        await get(router, LOW[0], HIGH[0])
        a.is_mute = True
        router._links[a.address].used_s -= 60

        [unsent] = await get(router, LOW[0])
        a.is_mute = False
        sent = await get(router, LOW[0])

    assert isinstance(unsent, BusError)
    assert "no answer within 0.2 s" in unsent.message
    assert sent == [b"a"]
    assert len(a.commands) == 2


async def test_what_is_not_sent_yet_when_its_caller_gives_up_is_not_sent_any_more():
    async with cluster() as (_made, a, b), router_to(a) as router:
        a.is_mute = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await get(router, LOW[0], HIGH[0])  # nobody has said yet where

        a.is_mute = False
        a.hang_up()
        replies = await get(router, LOW[1], HIGH[1])

    assert replies == [b"a", b"b"]
    assert a.commands == [["GET", LOW[1]]]
    assert b.commands == [["GET", HIGH[1]]]


async def test_no_node_at_all_is_an_error_of_every_command():
    async with cluster() as (_made, a, b), router_to(a) as router:
        await a.stop()
        await b.stop()

        first, second = await get(router, LOW[0], HIGH[0])

    assert first is second
    assert isinstance(first, BusError)
    assert first.message.startswith("store: no node of the cluster can be used: ")


async def test_a_slot_that_nobody_has_is_an_error_of_its_commands():
    async with cluster() as (made, a, b), router_to(a) as router:
        made.ranges = [(SLOTS // 2, SLOTS - 1, b)]

        nobody, there = await get(router, LOW[0], HIGH[0])

    assert isinstance(nobody, BusError)
    assert "no node has slot" in nobody.message
    assert there == b"b"


async def test_a_caller_that_is_cancelled_leaves_the_replies_of_others_alone():
    async with cluster() as (_made, a, _b), router_to(a) as router:
        await get(router, LOW[0])
        a.answer = lambda command: bulk(command[1])
        calls = [asyncio.ensure_future(get(router, key)) for key in LOW[:10]]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()

        replies = await asyncio.gather(*calls[1::2])

    assert replies == [[key.encode()] for key in LOW[1:10:2]]


async def test_closing_fails_what_is_under_way_and_what_comes_later():
    async with cluster() as (_made, a, _b), router_to(a) as router:
        await get(router, LOW[0])
        arrived = asyncio.Event()
        a.answer = lambda command: arrived.set() or b""  # type: ignore[func-returns-value]  # no reply
        waiting = asyncio.ensure_future(get(router, LOW[0]))
        await arrived.wait()

        await router.close()

        [reply] = await waiting
        assert isinstance(reply, BusError)
        with pytest.raises(BusError, match="is closed"):
            await get(router, LOW[0])


async def test_nodes_that_have_left_the_cluster_are_forgotten():
    async with cluster() as (made, a, b), router_to(a) as router:
        await get(router, LOW[0], HIGH[0])
        made.ranges = [(0, SLOTS - 1, a)]
        await b.stop()

        await get(router, HIGH[0])
        await get(router, HIGH[0])

    assert list(router._links) == [a.address]


def test_fakes_deal_out_all_slots() -> None:
    assert [(first, last) for first, last, _ in FakeCluster(3).ranges] == [(0, 5460), (5461, 10921), (10922, 16383)]
