"""What a peer did wrong is not kept: its connection is freed at once, not by the next garbage collection."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from imctl.comet.channel import Channel
from imctl.logic.http_api import HttpApi
from imctl.logic.http_connection import Connection, HttpLimits
from imctl.logic.http_server import HttpServer
from imctl.node import Counters
from protocol.frame import pack_frame
from tests.imctl.comet.raw import UPGRADE, Raw, Rig, auth, eventually


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(kind: type) -> int:
    return sum(type(one) is kind for one in gc.get_objects())


@pytest.fixture
def before(without_collector: None) -> int:
    """Connections of either kind that other tests have left."""
    return alive(Channel) + alive(Connection)


async def freed(before: int) -> None:
    await eventually(lambda: alive(Channel) + alive(Connection) <= before)


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x00" * 20, pack_frame(7, b"[")], ids=["header", "empty", "token"])
@pytest.mark.parametrize("is_ws", [False, True])
async def test_a_client_of_a_comet(before, data, is_ws):
    async with Rig() as rig:
        async with await Raw.connect(rig.ws if is_ws else rig.tcp, is_ws=is_ws) as client:
            client.send(data)
            client.writer.write_eof()
            await client.read_to_end()

        await freed(before)


async def test_a_client_that_has_gone_before_its_bad_frame_was_its_turn(before):
    async with Rig() as rig:
        rig.logic.hold = asyncio.Event()
        async with await Raw.connect(rig.tcp) as client:
            client.write(auth(key="k") + b"\xff" * 20)
            await eventually(lambda: rig.logic.named("Connect"))
            client.writer.write_eof()
            await client.read_to_end()
        rig.logic.hold.set()

        await freed(before)


async def test_a_client_whose_upgrade_is_none(before):
    async with Rig() as rig:
        async with await Raw.connect(rig.ws) as client:
            client.write(UPGRADE.replace(b"GET", b"PUT"))
            await client.read_to_end()

        await freed(before)


@pytest.mark.parametrize(
    "data",
    [b"no http\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n"],
)
async def test_a_caller_of_logic(before, data):
    api = HttpApi.__new__(HttpApi)
    api._counters, api._drops = Counters(), Counters()
    server = HttpServer(
        api, host="127.0.0.1", port=0, limits=HttpLimits(max_body_bytes=1000, linger_s=0.01), drops=Counters()
    )
    await server.start()
    host, port = server.address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)

    await reader.read()
    writer.close()
    await writer.wait_closed()

    await freed(before)
    await server.stop()
