"""The hook in a whole cluster: real sockets, real clients, one event loop."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from imctl.cli.logic_http import LogicHttp, LogicRefusedError
from imctl.cluster.inprocess import LocalCluster
from protocol.aio import Client
from protocol.bodies import AuthToken
from protocol.operation import MESSAGES_ACK
from protocol.push_api import Offline, PushMids
from protocol.raw import flatten

_names = itertools.count()
MID = 7


@pytest.fixture
async def cluster():
    async with LocalCluster(messages=f"memory://cluster-{next(_names)}") as cluster:
        yield cluster


@pytest.fixture
async def logic(cluster):
    async with LogicHttp(cluster.http) as logic:
        yield logic


async def connect(cluster: LocalCluster, *, ws: bool = False, key: str = "") -> Client:
    host, _, port = (cluster.ws if ws else cluster.tcp).rpartition(":")
    token = AuthToken(mid=MID, key=key, accepts=(1000,))
    return await (Client.connect_ws if ws else Client.connect_tcp)(host, int(port), token)


async def push(logic: LogicHttp, *bodies: str) -> None:
    for body in bodies:
        await logic.call(PushMids(1000, (MID,)), body.encode())


async def receive(client: Client, count: int) -> list[tuple[int, str]]:
    """Return messages as (seq, body), in containers or not."""
    found: list[tuple[int, str]] = []
    while len(found) < count:
        frame = await client.receive(10)
        frames = flatten(frame)
        found += [(frame.seq, frame.body.decode()) for frame in frames if frame.op == 1000]
    return found


async def acknowledge(client: Client, seq: int) -> None:
    """Acknowledge and wait for the confirmation."""
    await client.send(MESSAGES_ACK, seq=seq)
    while (await client.receive(10)).op != MESSAGES_ACK:
        pass


async def until_registered(logic: LogicHttp) -> None:
    async with asyncio.timeout(10):
        while not (await logic.call(Offline(MID)))["connections"]:  # noqa: ASYNC110  # nobody here is told
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("ws", [False, True])
async def test_a_client_that_was_away_gets_what_was_pushed_and_acknowledges_it(cluster, logic, ws):
    bodies = [str(i) for i in range(120)]
    await push(logic, *bodies)

    client = await connect(cluster, ws=ws)
    got = await receive(client, 120)
    await acknowledge(client, 100)

    assert got == [(i + 1, body) for i, body in enumerate(bodies)]
    assert (await logic.call(Offline(MID)))["messages"] == 20
    await client.close()


async def test_a_client_that_is_there_gets_pushes_over_the_bus(cluster, logic):
    client = await connect(cluster)
    await until_registered(logic)

    await push(logic, "a", "b")

    assert await receive(client, 2) == [(0, "a"), (0, "b")]
    assert (await logic.call(Offline(MID)))["last_id"] == 0
    await client.close()


async def test_pushes_meet_a_client_that_connects_at_any_moment(cluster, logic):
    bodies = [str(i) for i in range(60)]
    pushing = asyncio.create_task(push(logic, *bodies))
    await asyncio.sleep(0)

    client = await connect(cluster)
    got = await receive(client, 60)
    await pushing

    assert [body for _, body in got] == bodies
    await client.close()


async def test_after_logic_was_restarted_a_connected_client_gets_the_rest_and_nothing_twice(tmp_path):
    # The comet keeps its clients, and a new logic learns from it who is there.
    store = f"sqlite:///{tmp_path}/messages.db?keep=all"
    async with LocalCluster(messages=store) as cluster:
        async with LogicHttp(cluster.http) as logic:
            await push(logic, "a", "b")
            client = await connect(cluster)
            first = await receive(client, 2)
            await push(logic, "c")
            first += await receive(client, 1)

        node = cluster.node("logic")
        await node.stop()
        core = cluster.assemblies[0]
        again = type(node)(
            node._config,
            registry=cluster.registry,
            bus=core.bus,
            store=core.store,
        )
        core.nodes["logic"] = again
        await again.start()
        async with LogicHttp(cluster.http) as logic:
            await push(logic, "d")
            rest = await receive(client, 1)

        assert first + rest == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
        await client.close()


async def test_a_store_that_is_full_answers_the_push_with_an_error(tmp_path):
    async with LocalCluster(messages=f"sqlite:///{tmp_path}/messages.db?max_file_bytes=100000") as cluster:
        async with LogicHttp(cluster.http) as logic:
            with pytest.raises(LogicRefusedError, match="is full") as error:
                await push(logic, *["x" * 5000] * 100)
            kept = (await logic.call(Offline(MID)))["messages"]

    assert error.value.code == -500
    assert 0 < kept < 20
