"""Login policies in a whole cluster: what clients see, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from protocol.aio import AuthRefusedError, Client
from protocol.aio.errors import ConnectionClosedError
from protocol.operation import Operation
from tests.imctl.comet.raw import eventually
from tests.imctl.hooks.clusters import HOOKS, Witness, cluster_with, connect, counters_of, drops, push, user


async def gone(client: Client) -> None:
    with pytest.raises(ConnectionClosedError):
        await client.receive(5)


async def kicked(client: Client) -> None:
    """Take the farewell of a kicked client, and see the end of its connection."""
    farewell = await client.receive(5)

    assert (farewell.op, farewell.body) == (Operation.DISCONNECT_REPLY, b"another login")
    await gone(client)


@pytest.mark.parametrize("same_key", [False, True])
async def test_kick_ends_the_session_on_another_comet_and_pushes_go_to_the_new_one(same_key):
    async with cluster_with("logins?duplicate=kick", comets=2) as cluster:
        old = await connect(cluster, user(1, key="a"), comet=0)
        new = await connect(cluster, user(1, key="a" if same_key else "b"), comet=1)

        await kicked(old)
        await push(cluster, "mids?mids=1&", b"hi")
        assert (await new.receive(5)).body == b"hi"
        assert cluster.node("logic").stats()["counters"]["kicked"] == 1
        await old.close()
        await new.close()


@pytest.mark.parametrize("comet", [0, 1])
@pytest.mark.parametrize("same_key", [False, True])
async def test_the_end_of_a_session_that_is_kicked_is_told_once(comet, same_key):
    async with cluster_with("logins?duplicate=kick", f"{HOOKS}:Witness", comets=2) as cluster:
        old = await connect(cluster, user(1, key="a"), comet=0)
        new = await connect(cluster, user(1, key="a" if same_key else "b"), comet=comet)
        await kicked(old)
        await old.close()
        await new.close()
        await eventually(lambda: counters_of(cluster)["disconnects"] == 2)
        assert counters_of(cluster)["kicked"] == 1
        await eventually(lambda: sum(what == "disconnected" for what, _ in Witness.told) == 2)

    first, second = (event.session for what, event in Witness.told if what == "connected")
    ended = {event.session: event.reason for what, event in Witness.told if what == "disconnected"}
    assert ended == {first: "kicked", second: "client_eof"}
    assert len(Witness.told) == 2 * 3


async def test_a_hook_can_end_a_session_that_has_just_begun():
    async with cluster_with(f"{HOOKS}:Bouncer", f"{HOOKS}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")) as client:
            farewell = await client.receive(5)
            assert (farewell.op, farewell.body) == (Operation.DISCONNECT_REPLY, b"banned")
            await gone(client)
        await eventually(lambda: "disconnected" in dict(Witness.told))
        assert (await Witness.context.deliverer.sessions((1,))) == {}

    assert dict(Witness.told)["disconnected"].reason == "kicked"


async def test_reject_keeps_the_old_session_and_refuses_the_new_one():
    async with cluster_with("logins?duplicate=reject", comets=2) as cluster:
        async with await connect(cluster, user(1), comet=0) as old:
            with pytest.raises(AuthRefusedError):
                await connect(cluster, user(1), comet=1)

            await push(cluster, "mids?mids=1&", b"hi")
            assert (await old.receive(5)).body == b"hi"
        await eventually(lambda: cluster.node("logic").stats()["counters"].get("disconnects"))
        async with await connect(cluster, user(1), comet=1):
            pass
        assert drops(cluster)["hooks.logins.session_rejected"] == 1


async def test_allow_lets_both_get_what_is_pushed():
    async with cluster_with("logins?duplicate=allow", comets=2) as cluster:
        async with await connect(cluster, user(1), comet=0) as old, await connect(cluster, user(1), comet=1) as new:
            await push(cluster, "mids?mids=1&", b"hi")

            assert (await old.receive(5)).body == b"hi"
            assert (await new.receive(5)).body == b"hi"


async def test_of_many_logins_at_once_one_is_left():
    async with cluster_with("logins?duplicate=kick", comets=2) as cluster:
        clients = await asyncio.gather(*(connect(cluster, user(1), comet=i % 2) for i in range(10)))

        def sessions() -> int:
            return sum(int(cluster.node(f"comet-{i}").stats()["gauges"]["sessions"]) for i in (1, 2))

        await eventually(lambda: sessions() == 1)
        await push(cluster, "mids?mids=1&", b"hi")
        first = [await client.receive(5) for client in clients]
        assert sorted(frame.op for frame in first) == [Operation.DISCONNECT_REPLY] * 9 + [1000]
        await asyncio.gather(*(client.close() for client in clients))


async def test_a_key_that_another_user_has_is_not_taken_from_him():
    async with cluster_with("logins?keys=unique") as cluster:
        async with await connect(cluster, user(1, key="k")) as first:
            async with await connect(cluster, user(2, key="k")):
                await push(cluster, "keys?keys=k&", b"hi")
                assert (await first.receive(5)).body == b"hi"
