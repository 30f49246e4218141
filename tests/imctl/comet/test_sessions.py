"""What logic is told, and what a client sees, when something ends or is not there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imctl.cluster.inprocess import LocalCluster
from imctl.link.methods import PUSH_MSG
from protocol.frame import Frame, pack_frame
from protocol.pb import comet as pb
from protocol.pb.protocol import Proto
from tests.imctl.comet.raw import Raw, Rig, auth, eventually, http_post

LINKS = pytest.mark.parametrize("link", ["local", "batched", "unary"])


def keys(requests: list[Any]) -> list[str]:
    return sorted(request.key for request in requests)


async def push_key(cluster: LocalCluster, key: str, body: bytes) -> None:
    await http_post(cluster.http, f"/goim/push/keys?operation=1000&keys={key}", body)


@LINKS
async def test_stop_tells_logic_of_every_session_and_closes_every_client(link):
    async with Rig(link=link) as rig:
        clients = [
            await Raw.login(rig.tcp, key="a"),
            await Raw.login(rig.ws, is_ws=True, key="b"),
            await Raw.connect(rig.tcp),
        ]

        await rig.comet.stop(3.0)

        assert keys(rig.logic.named("Disconnect")) == ["a", "b"]
        assert {request.server for request in rig.logic.named("Disconnect")} == {"comet-1"}
        for client in clients:
            await client.read_to_end()
            assert client.closed == "eof"
            await client.close()
        assert rig.counters["closed.comet_stops"] == 3
        assert rig.gauges["connections"] == rig.gauges["sessions"] == 0
        await rig.comet.stop(3.0)


async def test_stopped_comet_takes_no_more_clients():
    async with Rig() as rig:
        tcp, ws = rig.tcp, rig.ws
        await rig.comet.stop(1.0)

        for address in (tcp, ws):
            with pytest.raises(ConnectionRefusedError):
                await Raw.connect(address)


@LINKS
async def test_disconnect_while_connect_is_under_way_takes_the_session_back(link):
    async with Rig(link=link) as rig:
        rig.logic.hold = asyncio.Event()
        async with await Raw.connect(rig.tcp) as client:
            client.send(auth(key="k", mid=5))
            await eventually(lambda: rig.logic.named("Connect"))
        await eventually(lambda: rig.gauges["connections"] == 0)
        assert rig.logic.named("Disconnect") == []

        rig.logic.hold.set()

        await eventually(lambda: rig.logic.named("Disconnect"))
        (request,) = rig.logic.named("Disconnect")
        assert (request.mid, request.key, request.server) == (5, "k", "comet-1")
        assert (rig.counters["late_connects"], rig.gauges["sessions"]) == (1, 0)


@LINKS
async def test_stop_waits_for_a_connect_under_way_and_takes_it_back(link):
    async with Rig(link=link) as rig:
        rig.logic.hold = asyncio.Event()
        async with await Raw.connect(rig.tcp) as client:
            client.send(auth(key="k"))
            await eventually(lambda: rig.logic.named("Connect"))
            stopping = asyncio.ensure_future(rig.comet.stop(5.0))
            await client.read_to_end()

            rig.logic.hold.set()
            await stopping

        assert keys(rig.logic.named("Disconnect")) == ["k"]


@LINKS
async def test_handshake_timer_runs_while_logic_thinks(link):
    async with Rig(link=link, handshake_timeout_s=0.2) as rig:
        rig.logic.hold = asyncio.Event()
        async with await Raw.connect(rig.tcp) as client:
            client.send(auth(key="k"))
            assert await client.read_to_end() == b""
        assert rig.counters["closed.handshake_timeout"] == 1

        rig.logic.hold.set()
        await eventually(lambda: keys(rig.logic.named("Disconnect")) == ["k"])


@LINKS
async def test_without_logic_new_clients_are_refused_at_once_and_old_ones_stay(link):
    async with Rig(link=link, handshake_timeout_s=3600.0) as rig:
        async with await Raw.login(rig.tcp, key="old", accepts=(1000,), room_id="r") as old:
            await rig.stop_logic()

            async with await Raw.connect(rig.tcp) as new:
                new.send(auth(key="new"))
                assert await new.read_to_end() == b""
            assert rig.counters["refused_auth"] == 1

            assert await old.heartbeat() == 1
            old.request(1234, b"for logic")
            assert await old.frame() == Frame(1, 1234, 5)  # goim echoes it all the same
            await old.change_room("r2")
            rig.call(PUSH_MSG, pb.PushMsgReq(keys=["old"], protoOp=1000, proto=Proto(ver=1, op=1000, body=b"x")))
            assert (await old.frame()).body == b"x"
        await eventually(lambda: rig.counters.get("disconnect_errors") == 1)
        assert rig.counters["receive_errors"] == 1


async def test_same_key_on_two_comets_stays_with_the_newer():
    async with LocalCluster(comets=2) as cluster:
        first, second = cluster.tcp_all
        async with await Raw.login(first, key="k", mid=3, accepts=(1000,)) as old:
            async with await Raw.login(second, key="k", mid=3, accepts=(1000,)) as new:
                await push_key(cluster, "k", b"one")
                assert (await new.frame()).body == b"one"
                await old.no_frame()

                await old.close()
                await eventually(lambda: cluster.node("comet-1").stats()["counters"]["disconnected"] == 1)
                await eventually(lambda: cluster.node("logic").stats()["counters"].get("disconnects") == 1)
                # The older comet's Disconnect did not take the newer session.
                await push_key(cluster, "k", b"two")
                assert (await new.frame()).body == b"two"


async def test_client_that_comes_back_with_its_key_before_the_old_connection_ends_stays_reachable():
    async with LocalCluster() as cluster:
        for attempt in range(5):
            old = await Raw.login(cluster.tcp, key="k", mid=3, accepts=(1000,))
            async with await Raw.connect(cluster.tcp) as new:
                new.send(auth(key="k", mid=3, accepts=(1000,)))
                old.abort()
                assert (await new.frame()).op == 8
                await eventually(lambda: cluster.node("comet-1").stats()["gauges"]["connections"] == 1)

                await push_key(cluster, "k", b"%d" % attempt)
                assert (await new.frame()).body == b"%d" % attempt
            await eventually(lambda: cluster.node("comet-1").stats()["gauges"]["connections"] == 0)


async def test_killed_and_started_again_comet_serves_its_clients_again():
    async with LocalCluster() as cluster:
        async with await Raw.login(cluster.tcp, key="k", mid=3, accepts=(1000,)) as client:
            await cluster.assemblies[1].stop(1.0)
            await client.read_to_end()
        logic = cluster.node("logic")
        await eventually(lambda: logic.stats()["counters"].get("disconnects") == 1)
        assert logic.stats()["gauges"]["comets"] == 0

        again = await cluster.add_comet(hostname="comet-1")
        address = again.addresses["tcp"]
        assert address is not None
        async with await Raw.login(address, key="k", mid=3, accepts=(1000,)) as client:
            await eventually(lambda: logic.stats()["gauges"]["comets"] == 1)
            await push_key(cluster, "k", b"again")
            assert (await client.frame()).body == b"again"


async def test_flood_behind_a_slow_logic_is_answered_in_order_and_bounded():
    async with Rig() as rig:
        hold = asyncio.Event()

        async def later() -> Any:
            from protocol.pb.logic import ReceiveReply

            await hold.wait()
            return ReceiveReply()

        rig.logic.receive = lambda request: later()
        async with await Raw.login(rig.tcp, key="k") as client:
            count = 50_000
            client.write(pack_frame(1000, seq=0) + b"".join(pack_frame(2, seq=i) for i in range(1, count)))
            await eventually(lambda: rig.logic.named("Receive"))
            channel = rig.comet.sessions.hub.channels["k"]
            await eventually(lambda: not channel.transport.is_reading())
            assert channel.backlog < 65536 + 300_000  # one read more than the bound

            hold.set()
            assert [(await client.frame()).seq for _ in range(count)] == list(range(count))
            assert channel.transport.is_reading()
            await client.no_frame()
