from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from imctl.doctor.contract import Status
from imctl.doctor.servers import check_address, check_file, check_server


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that answers a line with something."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("url", ["memory://", "memory://a", "fakeredis://"])
async def test_what_is_inside_the_cluster_is_always_reachable(url):
    assert (await check_server("bus", url)).status is Status.OK


@pytest.mark.parametrize("answer", [b"+PONG\r\n", b"-NOAUTH Authentication required.\r\n"])
async def test_a_redis_answers_also_when_it_wants_a_password(answer):
    async with answering(answer) as port:
        row = await check_server("session store", f"redis://user:***@127.0.0.1:{port}/1")

    assert row.status is Status.OK


async def test_what_does_not_speak_redis_fails():
    async with answering(b"HTTP/1.1 400 Bad Request\r\n") as port:
        row = await check_server("session store", f"redis://127.0.0.1:{port}")

    assert (row.status, row.found) == (Status.FAILED, f"redis://127.0.0.1:{port}: it is no Redis")
    assert "--store" in row.fix


async def test_a_server_that_does_not_answer_fails(monkeypatch):
    monkeypatch.setattr("imctl.doctor.servers._ANSWER_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        row = await check_server("bus", f"redis://127.0.0.1:{port}")

    assert row.found == f"redis://127.0.0.1:{port}: no answer within 0.05 s"


@pytest.mark.parametrize("scheme", ["mqtt", "kafka", "rediss"])
async def test_other_servers_have_to_take_connections(scheme):
    async with answering(b"") as port:
        there = await check_server("bus", f"{scheme}://127.0.0.1:{port}")
    gone = await check_server("bus", f"{scheme}://127.0.0.1:1")

    assert (there.status, gone.status) == (Status.OK, Status.FAILED)
    assert "refused" in gone.found


async def test_one_of_several_servers_away_is_a_warning():
    async with answering(b"+PONG\r\n") as port:
        row = await check_server("bus", f"redis+cluster://127.0.0.1:1,127.0.0.1:{port}")

    assert row.status is Status.WARNING
    assert row.found.startswith("127.0.0.1:1: ")


async def test_a_url_that_cannot_be_read_is_unknown():
    assert (await check_server("bus", "redis://127.0.0.1:port")).status is Status.UNKNOWN


async def test_a_socket_has_to_be_there(tmp_path):
    path = tmp_path / "r.sock"
    missing = await check_server("session store", f"unix://{path}?db=0")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        there = await check_server("session store", f"unix://{path}?db=0")

    assert (missing.status, there.status) == (Status.FAILED, Status.OK)


def test_a_file_can_be_written_when_its_nearest_folder_can(tmp_path, monkeypatch):
    path = tmp_path / "a" / "m.db"

    assert check_file("message store", path).status is Status.OK

    monkeypatch.setattr("os.access", lambda *args: False)
    row = check_file("message store", path)

    assert (row.status, row.fix) == (Status.FAILED, f"chmod u+w {tmp_path}")


async def test_an_address_takes_connections_or_not():
    async with answering(b"") as port:
        there = await check_address("comet tcp", f"127.0.0.1:{port}", "start it")
    gone = await check_address("comet tcp", "127.0.0.1:1", "start it")

    assert (there.status, there.found) == (Status.OK, f"127.0.0.1:{port}")
    assert (gone.status, gone.fix) == (Status.FAILED, "start it")
