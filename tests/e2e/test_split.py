"""Every node in a process of its own, over a bus and a store that processes share."""

from __future__ import annotations

import asyncio
import itertools
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.aio.client import Client
from protocol.bodies import AuthToken
from tests.conftest import require_program
from tests.e2e.conftest import Imctl
from tests.services.brokers import mosquitto, until
from tests.services.kafka import KafkaBroker


def address(up: dict[str, Any], node: str, name: str) -> tuple[str, int]:
    found = next(item for item in up["nodes"] if item["name"] == node)["addresses"][name]
    host, _, port = found.rpartition(":")
    return host, int(port)


def post(url: str, body: bytes) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=60) as reply:
        return json.load(reply)


def shared(redis_url: str) -> tuple[str, ...]:
    return ("--bus", f"{redis_url}?lease_s=1", "--store", redis_url, "--any-port", "--detach")


@pytest.fixture
def mqtt_bus(tmp_path: Path) -> Iterator[str]:
    server = mosquitto(require_program("mosquitto", "mosquitto"), tmp_path)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def kafka_bus() -> Iterator[str]:
    server = KafkaBroker()
    yield server.url
    server.end()


@pytest.fixture
def redis_bus(redis_url: str) -> str:
    return f"{redis_url}?lease_s=1"


@pytest.mark.parametrize("bus", ["redis", "kafka", "mqtt"])
async def test_split_cluster_delivers_between_its_processes(
    imctl: Imctl, redis_url: str, bus: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{bus}_bus")

    up = imctl.json("up", "--split", "--bus", url, "--store", redis_url, "--any-port", "--detach")

    assert [node["name"] for node in up["nodes"]] == ["registry", "logic-1", "job-1", "comet-1"]
    listening = imctl.start("listen", "--mid", "1", "-n", "1", "--timeout", "80s", "--json")
    assert listening.stdout is not None
    await until(lambda: imctl.json("push", "--mid", "1", "hi")["receivers"][0]["online"])
    assert '"hi"' in await asyncio.to_thread(listening.stdout.readline)

    counters = {node["name"]: node["parts"] for node in imctl.json("stats")["nodes"]}
    assert counters["logic-1"]["bus"]["counters"]["published"] >= 1
    assert counters["job-1"]["job"]["counters"]["push"] >= 1
    assert imctl.run("down").returncode == 0
    assert imctl.processes() == []


@pytest.mark.parametrize("servers", [None, ("mqtt", "valkey"), ("valkey", "valkey")], ids=["redis", "mqtt", "valkey"])
async def test_any_logic_reaches_a_client_through_any_job(
    imctl: Imctl, request: pytest.FixtureRequest, servers: tuple[str, str] | None
) -> None:
    if servers is None:
        options = shared(request.getfixturevalue("redis_url"))
    else:  # brought along
        options = ("--bus", servers[0], "--store", servers[1], "--any-port", "--detach")
    up = imctl.json("up", "--logic", "2", "--job", "2", "--comet", "2", *options)
    logics = [f"http://{node['addresses']['http']}" for node in up["nodes"] if node["kind"] == "logic"]

    assert len(logics) == 2
    token = AuthToken(mid=1, room_id="live://1", accepts=(1000,))
    async with await Client.connect_tcp(*address(up, "comet-2", "tcp"), token) as client:
        got = set()
        for i, logic in enumerate(logics * 10):
            post(f"{logic}/goim/push/room?operation=1000&type=live&room=1", b"room %d" % i)
            post(f"{logic}/goim/push/mids?operation=1000&mids=1", b"mid %d" % i)
        while len(got) < 40:
            got.add((await client.receive(20)).body)

    assert got == {b"%s %d" % (kind, i) for kind in (b"room", b"mid") for i in range(20)}
    assert {node["kind"] for node in up["nodes"]} >= set(servers or ())
    assert imctl.run("down").returncode == 0
    assert imctl.processes() == []


async def test_a_job_that_is_killed_under_load_loses_nothing_that_was_accepted(imctl: Imctl, redis_url: str) -> None:
    up = imctl.json("up", "--job", "2", *shared(redis_url))
    host, port = address(up, "logic-1", "http")
    url = f"http://{host}:{port}/goim/push/room?operation=1000&type=live&room="
    accepted: set[bytes] = set()
    stop = asyncio.Event()

    async def publish(room: int) -> None:
        for i in itertools.count():
            body = b"%d/%d" % (room, i)
            if (await asyncio.to_thread(post, f"{url}{room}", body))["code"] == 0:
                accepted.add(body)
            if stop.is_set():
                return

    tokens = [AuthToken(mid=room, room_id=f"live://{room}", accepts=(1000,)) for room in range(4)]
    clients = [await Client.connect_tcp(*address(up, "comet-1", "tcp"), token) for token in tokens]
    got: list[list[bytes]] = [[] for _ in clients]

    async def listen(index: int) -> None:
        while True:
            got[index].append((await clients[index].receive(60)).body)

    listening = [asyncio.create_task(listen(index)) for index in range(4)]
    publishing = [asyncio.create_task(publish(room)) for room in range(4)]
    async with asyncio.timeout(60):
        for job in ("job-1", "job-2"):
            seen = len(accepted)
            await until(lambda before=seen: len(accepted) >= before + 200)
            await asyncio.to_thread(imctl.json, "kill", job)
        seen = len(accepted)
        await until(lambda: len(accepted) >= seen + 200)
        stop.set()
        await asyncio.gather(*publishing)
        await until(lambda: accepted <= set(itertools.chain(*got)))

    for task in listening:
        task.cancel()
    await asyncio.wait(listening)
    for client in clients:
        await client.close()
    for room, bodies in enumerate(got):
        first = list(dict.fromkeys(bodies))
        assert first == sorted(first, key=lambda body: int(body.split(b"/")[1])), f"room {room}"
