"""Room policies in a whole cluster: what clients see, over real sockets."""

from __future__ import annotations

import pytest

from protocol.aio import AuthRefusedError
from tests.imctl.comet.raw import eventually
from tests.imctl.hooks.clusters import HOOKS, Gate, cluster_with, connect, drops, push, user


@pytest.mark.parametrize("ws", [False, True])
async def test_who_may_not_be_in_a_room_never_gets_a_byte_of_it(ws):
    async with cluster_with(f"{HOOKS}:Gate") as cluster:
        with pytest.raises(AuthRefusedError):
            await connect(cluster, user(2, "vip://1"), ws=ws)
        async with await connect(cluster, user(2, "live://1"), ws=ws) as outsider:
            async with await connect(cluster, user(1, "vip://1"), ws=ws) as insider:
                await outsider.change_room("vip://1")
                await push(cluster, "room?type=vip&room=1&", b"secret")
                await push(cluster, "room?type=live&room=1&", b"open")

                assert (await insider.receive(5)).body == b"secret"
                # What comes to the outsider first is of the room where it still is.
                assert (await outsider.receive(5)).body == b"open"
                assert outsider.queued == 0
        assert drops(cluster) == {"hooks.Gate.room_refused": 2}
        assert cluster.stats()["comet-1"]["comet"]["counters"]["refused.room"] == 1


async def test_who_may_be_in_a_room_changes_into_it_and_out_again():
    async with cluster_with(f"{HOOKS}:Gate") as cluster:
        async with await connect(cluster, user(1)) as client:
            await client.change_room("vip://1")
            assert await client.heartbeat() == 1
            await push(cluster, "room?type=vip&room=1&", b"in")
            assert (await client.receive(5)).body == b"in"

            await client.change_room("")
            await push(cluster, "room?type=vip&room=1&", b"out")
            await push(cluster, "mids?mids=1&", b"mark")
            assert (await client.receive(5)).body == b"mark"


async def test_a_right_that_is_taken_away_ends_within_the_time_the_policy_has_set():
    async with cluster_with(f"{HOOKS}:Gate?again_s=0.1") as cluster:
        async with await connect(cluster, user(1, "vip://1")) as client:
            await eventually(lambda: len(Gate.asked) >= 3)  # it stays for as long as it may
            await push(cluster, "room?type=vip&room=1&", b"before")
            assert (await client.receive(5)).body == b"before"

            Gate.open = False
            comet = cluster.node("comet-1")
            await eventually(lambda: comet.stats()["counters"].get("room_taken"))
            await push(cluster, "room?type=vip&room=1&", b"after")
            await push(cluster, "mids?mids=1&", b"mark")

            assert (await client.receive(5)).body == b"mark"
            assert {event.moment.value for event in Gate.asked} == {"connect", "again"}


async def test_a_grant_comes_back_with_every_question():
    async with cluster_with(f"{HOOKS}:Tokens", f"{HOOKS}:Gate") as cluster:
        async with await connect(cluster, b"user 1") as client:
            await client.change_room("vip://1")

    assert [(event.mid, event.grant) for event in Gate.asked] == [(1, b"granted")]
