"""What hooks of a whole cluster are told of sessions and messages, and what they deliver."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imctl.cluster.inprocess import LocalCluster
from imctl.hooks.context import Delivery, Message
from imctl.hooks.contract import ClientEvent, PushTarget
from protocol.aio import Client
from tests.imctl.comet.raw import eventually
from tests.imctl.hooks.clusters import HOOKS, Witness, cluster_with, connect, push, user


async def test_a_session_is_told_of_from_connect_to_disconnect():
    async with cluster_with(f"{HOOKS}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")):
            await eventually(lambda: len(Witness.told) == 2)
        await eventually(lambda: len(Witness.told) == 3)

    event = ClientEvent(1, "k", "comet-1", session=Witness.told[0][1].session)
    ended = replace(event, reason="client_eof")
    assert Witness.told == [("connected", event), ("registered", event), ("disconnected", ended)]
    assert 0 < event.session < 2**61


async def test_a_key_that_comes_back_is_told_of_as_another_session():
    async with cluster_with(f"{HOOKS}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")):
            await eventually(lambda: len(Witness.told) == 2)
            async with await connect(cluster, user(1, key="k")):
                await eventually(lambda: len(Witness.told) == 5)
        await eventually(lambda: len(Witness.told) == 6)

    first, second = (event.session for what, event in Witness.told if what == "connected")
    assert first != second
    for session in (first, second):
        told = [what for what, event in Witness.told if event.session == session]
        assert told == ["connected", "registered", "disconnected"]
    reasons = {event.session: event.reason for what, event in Witness.told if what == "disconnected"}
    assert reasons == {first: "replaced", second: "client_eof"}


async def test_a_hook_can_find_a_connection():
    async with cluster_with(f"{HOOKS}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")):
            await eventually(lambda: len(Witness.told) == 2)
            deliverer = Witness.context.deliverer

            found = await deliverer.find("comet-1", "k", mid=1)
            others = [
                await deliverer.find("comet-1", "k", mid=2),
                await deliverer.find("comet-1", "other"),
                await deliverer.find("comet-9", "k"),
            ]

    assert found == (Delivery.TAKEN, Witness.told[0][1].session)
    assert others == [(Delivery.UNKNOWN, 0), (Delivery.UNKNOWN, 0), (Delivery.UNREACHABLE, 0)]


async def test_a_client_can_send_a_message_up():
    async with cluster_with(f"{HOOKS}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")) as client:
            answer = await client.request(4321, b"hello")

    assert (answer.op, answer.body) == (4321, b"")
    assert [(e.mid, e.key, e.operation, e.body) for e in Witness.received] == [(1, "k", 4321, b"hello")]


async def test_a_store_sees_pushes_before_the_bus_and_can_serve_users_itself():
    async with cluster_with(f"{HOOKS}:Witness") as cluster:
        async with await connect(cluster, user(1, key="a")) as one, await connect(cluster, user(9, key="b")) as nine:
            await push(cluster, "mids?mids=1&mids=9&", b"x")
            assert (await one.receive(5)).body == b"x"
            await push(cluster, "keys?keys=b&", b"y")
            assert (await nine.receive(5)).body == b"y"  # and not x, which the store has handled
            await push(cluster, "room?type=live&room=1&", b"z")
            await push(cluster, "all?", b"w")

    mids, keys, room, everybody = Witness.kept
    assert (mids.target, mids.mids, mids.sessions) == (
        PushTarget.MIDS,
        (1, 9),
        {1: {"a": "comet-1"}, 9: {"b": "comet-1"}},
    )
    assert (keys.target, keys.keys) == (PushTarget.KEYS, ("b",))
    assert (room.target, room.room) == (PushTarget.ROOM, "live://1")
    assert everybody.target is PushTarget.ALL


async def test_a_push_that_cannot_be_stored_is_answered_with_the_reason_and_goes_nowhere():
    async with cluster_with(f"{HOOKS}:Witness") as cluster:
        async with await connect(cluster, user(1)) as client:
            reply = await push(cluster, "mids?mids=1&", b"full")
            await push(cluster, "mids?mids=1&", b"mark")
            assert (await client.receive(5)).body == b"mark"

    assert reply["code"] == -500
    assert reply["message"] == "hook Witness.store_message: the disk is full"


@pytest.mark.parametrize("ws", [False, True])
async def test_messages_are_delivered_past_the_bus_in_order_with_their_numbers(ws):
    messages = [Message(1000, b"one", 1), Message(2000, b"not accepted", 2), Message(1000, b"three", 3)]
    async with cluster_with(f"{HOOKS}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k"), ws=ws) as client:
            await eventually(lambda: len(Witness.told) == 2)
            deliverer = Witness.context.deliverer
            assert await deliverer.deliver("comet-1", "k", messages) is Delivery.TAKEN
            frames = [await client.receive(5) for _ in range(2)]

            assert [(f.op, f.seq, f.body) for f in frames] == [(1000, 1, b"one"), (1000, 3, b"three")]
            assert await deliverer.deliver("comet-1", "nobody", messages) is Delivery.UNKNOWN
            assert await deliverer.deliver("comet-1", "k", messages, mid=2) is Delivery.UNKNOWN  # somebody else's now
            assert await deliverer.deliver("comet-9", "k", messages) is Delivery.UNREACHABLE
            assert await deliverer.sessions((1, 2)) == {1: {"k": "comet-1"}}


async def test_a_client_that_does_not_read_is_full_and_loses_nothing():
    settings = {
        "logic": {"hooks": (f"{HOOKS}:Witness",)},
        "comet": {"write_buffer_bytes": 4096, "send_buffer_bytes": 4096},
    }
    async with LocalCluster(settings=settings) as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        client = await Client.connect_tcp(host, int(port), user(1, key="k"), queue_frames=1)
        await eventually(lambda: len(Witness.told) == 2)
        deliverer, taken = Witness.context.deliverer, 0
        while await deliverer.deliver("comet-1", "k", [Message(1000, b"x" * 30_000, taken + 1)]) is Delivery.TAKEN:
            taken += 1
            assert taken < 1000

        seqs = [(await client.receive(5)).seq for _ in range(taken)]

        assert seqs == list(range(1, taken + 1))
        assert "comet.slow_client" not in cluster.stats()["comet-1"]["comet"]["drops"]
        await client.close()
