"""A whole cluster in one event loop: real sockets, real frames."""

from __future__ import annotations

import asyncio
import gc
import urllib.request

import pytest

from imctl.cluster.assemble import Assembly
from imctl.cluster.inprocess import LocalCluster
from imctl.cluster.spec import ProcessSpec
from imctl.errors import ConfigError, PortInUseError
from protocol.aio.client import Client
from protocol.bodies import AuthToken
from protocol.trace import Place, follow


async def push(http: str, query: str, body: bytes, **headers: str) -> None:
    url = f"http://{http}/goim/push/{query}"
    request = urllib.request.Request(url, data=body, method="POST", headers=headers)
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=60).read())


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


async def test_a_push_goes_all_the_way_to_clients_of_every_comet() -> None:
    async with LocalCluster(comets=2) as cluster:
        first, second = [
            await Client.connect_tcp(*split(address), AuthToken(mid=mid, room_id="live://1", accepts=(1000,)))
            for mid, address in enumerate(cluster.tcp_all, 1)
        ]
        async with first, second:
            await push(cluster.http, "mids?operation=1000&mids=2", b"to mid")
            to_mid = await second.receive(5)
            await push(cluster.http, "all?operation=1000&speed=0", b"to all")
            to_all = [await client.receive(5) for client in (first, second)]

    assert to_mid.body == b"to mid"
    assert [frame.body for frame in to_all] == [b"to all", b"to all"]


async def test_addresses_nodes_and_stats_are_at_hand() -> None:
    async with LocalCluster() as cluster:
        stats = cluster.stats()

        assert len({cluster.http, cluster.tcp, cluster.ws}) == 3
        assert cluster.node("comet-1").kind == "comet"
        assert cluster.node("logic").kind == "logic"
        with pytest.raises(KeyError):
            cluster.node("comet-2")

    assert {process: sorted(parts) for process, parts in stats.items()} == {
        "core": ["bus", "job", "logic", "registry"],
        "comet-1": ["comet"],
    }


async def test_a_comet_that_is_added_takes_clients() -> None:
    async with LocalCluster() as cluster:
        added = await cluster.add_comet()
        address = added.addresses["tcp"]
        assert address is not None
        async with await Client.connect_tcp(*split(address), AuthToken(mid=5, accepts=(1000,))) as client:
            await push(cluster.http, "mids?operation=1000&mids=5", b"hi")
            assert (await client.receive(5)).body == b"hi"


async def test_settings_reach_the_nodes() -> None:
    async with LocalCluster(settings={"comet": {"handshake_timeout_s": 0.2}}) as cluster:
        reader, writer = await asyncio.open_connection(*split(cluster.tcp))
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_two_clusters_at_once_share_nothing() -> None:
    async with LocalCluster() as one, LocalCluster() as two:
        async with await Client.connect_tcp(*split(two.tcp), AuthToken(mid=1, accepts=(1000,))) as client:
            await push(one.http, "all?operation=1000&speed=0", b"one")
            await push(two.http, "all?operation=1000&speed=0", b"two")
            assert (await client.receive(5)).body == b"two"


async def test_stop_leaves_no_task_and_is_safe_twice() -> None:
    before = asyncio.all_tasks()

    async with LocalCluster() as cluster:
        pass
    await cluster.stop()
    gc.collect()  # what was left open warns now, and a warning fails the test

    assert asyncio.all_tasks() == before


async def test_an_assembly_that_cannot_start_leaves_nothing_listening() -> None:
    async with LocalCluster() as cluster:
        port = split(cluster.tcp)[1]
        second = Assembly(
            ProcessSpec("x", "comet", {"comet": {"hostname": "x", "tcp_port": port, "ws_port": 0, "grpc_port": 0}})
        )

        with pytest.raises(PortInUseError, match=f"comet tcp: address 127.0.0.1:{port}"):
            await second.start(cluster.registry)

    assert second.nodes == {}


def test_an_unknown_part_or_setting_is_told_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="unknown kind of node"):
        Assembly(ProcessSpec("x", "x", {"broker": {}}))
    with pytest.raises(ConfigError, match="comet.color: unknown setting"):
        Assembly(ProcessSpec("x", "comet", {"comet": {"color": 1}}))


async def test_a_followed_push_is_seen_by_every_node_on_its_way() -> None:
    async with LocalCluster(comets=2) as cluster:
        token = AuthToken(mid=2, room_id="live://1", accepts=(1000,))
        async with await Client.connect_tcp(*split(cluster.tcp_all[1]), token) as client:
            for trace, query in ((0xA1, "room?operation=1000&type=live&room=1"), (0xA2, "mids?operation=1000&mids=2")):
                await push(cluster.http, query, b"x", **{"X-Imctl-Trace": f"{trace:x}"})
                await client.receive(5)
            await push(cluster.http, "mids?operation=1000&mids=2", b"x")
            await client.receive(5)
        room, mid = (follow(cluster.traces(trace)) for trace in (0xA1, 0xA2))
        everything = cluster.traces()

    assert room.is_over
    assert mid.is_over
    assert {way.server: way.written.clients for way in room.ways if way.written} == {"comet-1": 0, "comet-2": 1}
    [way] = mid.ways
    stops = [mid.accepted, way.published, way.read, way.routed, way.sent, way.written]
    assert [stop.node for stop in stops if stop] == ["logic-1", "logic-1", "job-1", "job-1", "job-1", "comet-2"]
    times = [stop.at_ns for stop in stops if stop]
    assert times == sorted(times)
    assert {point.trace for point in everything} == {0xA1, 0xA2}
    assert not any(point.place is Place.DROPPED for point in everything)
