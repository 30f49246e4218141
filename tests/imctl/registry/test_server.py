import asyncio
import json
import socket

import aiohttp
import pytest

from imctl.errors import PortInUseError, StartError
from imctl.registry.config import LeaseRules, RegistryConfig
from imctl.registry.node import RegistryServer
from tests.imctl.registry.test_registry_contract import Seen, comet, until

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def started():
    servers = []

    async def start(**config):
        server = RegistryServer(RegistryConfig(port=0, **config))
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()
        await server.stop()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as opened:
        yield opened


def url(server, path):
    return f"http://{server.addresses['registry.http']}/discovery/{path}"


async def raw(server, data):
    """Send bytes and return all that comes back until the server closes."""
    host, port = server.addresses["registry.http"].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


async def answers(server, session):
    async with session.get(url(server, "nodes")) as response:
        return (await response.json())["code"] == 0


async def test_port_in_use_names_the_address():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        server = RegistryServer(RegistryConfig(port=port))

        with pytest.raises(PortInUseError, match=f"registry http: address 127.0.0.1:{port} is in use"):
            await server.start()
        await server.stop()


async def test_address_of_another_machine_is_a_start_error():
    server = RegistryServer(RegistryConfig(host="192.0.2.1", port=0))

    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1"):
        await server.start()
    await server.stop()


async def test_its_own_entry_is_there_with_the_advertised_address(started, session):
    server = await started(advertise="registry.example:7171", hostname="r1")

    async with session.get(url(server, "fetch?env=dev&appid=infra.discovery&status=1")) as response:
        answer = await response.json()

    (own,) = answer["data"]["instances"]["sh001"]
    assert (own["hostname"], own["addrs"]) == ("r1", ["http://registry.example:7171"])


@pytest.mark.parametrize(
    "data", [b"\x00\x00\x00\x10 no http\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000 + b"\r\n\r\n"]
)
async def test_garbage_costs_only_its_sender_and_is_counted(started, session, caplog, data):
    server = await started()

    assert (await raw(server, data)).startswith(b"HTTP/1.")

    assert await answers(server, session)
    assert server.stats()["counters"]["bad_requests"] >= 1
    assert "Error handling request" not in caplog.text


async def test_body_over_the_limit_is_refused_and_counted(started, session):
    server = await started(max_body_bytes=1000)

    async with session.post(url(server, "register"), data=b"x" * 1_000_000, headers=FORM) as response:
        assert response.status == 413

    assert server.stats()["counters"]["bad_requests"] == 1
    assert await answers(server, session)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_body_that_is_not_in_its_coding_is_refused_and_counted(started, session, caplog, coding):
    server = await started()
    head = f"POST /discovery/register HTTP/1.1\r\nHost: x\r\nContent-Encoding: {coding}\r\nContent-Length: 5\r\n\r\n"

    assert (await raw(server, head.encode() + b"hello")).startswith(b"HTTP/1.1 400 ")

    assert server.stats()["counters"]["bad_requests"] == 1
    assert "Error handling request" not in caplog.text
    assert await answers(server, session)


async def test_body_that_nobody_wanted_and_is_not_in_its_coding_is_counted_too(started, session, caplog):
    server = await started()
    head = b"POST /discovery/nope HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"

    assert (await raw(server, head + b"hello")).startswith(b"HTTP/1.1 404 ")

    assert server.stats()["counters"]["bad_requests"] == 2
    assert "Unhandled exception" not in caplog.text
    assert await answers(server, session)


async def test_body_that_does_not_come_is_given_up(started, session):
    server = await started(body_timeout_s=0.1)

    head = b"POST /discovery/register HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
    answer = await raw(server, head + b"Content-Type: application/x-www-form-urlencoded\r\n\r\nab")

    assert answer.startswith(b"HTTP/1.1 413")
    assert await answers(server, session)


@pytest.mark.parametrize("sent", [b"", b"GET /discovery/nodes HTTP/1.1\r\nHost: x\r\nX-More"])
async def test_a_request_that_does_not_come_ends_its_connection(started, session, sent):
    server = await started(idle_timeout_s=0.2)

    assert await raw(server, sent) == b""

    assert await answers(server, session)


async def test_connections_over_the_limit_are_closed_and_counted(started):
    server = await started(max_connections=2)
    host, port = server.addresses["registry.http"].rsplit(":", 1)
    held = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /discovery/nodes HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}")
        held.append(writer)

    assert await raw(server, b"") == b""

    assert server.stats()["drops"] == {"registry.connections_over_limit": 1}
    for writer in held:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(("expect", "status"), [("200-ok", 417), ("100-Continue", 100), ("100-continue", 100)])
async def test_a_client_that_asks_first_is_told_and_one_that_expects_else_is_counted(started, expect, status):
    server = await started()
    head = f"POST /discovery/renew HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: {expect}\r\n"

    answer = await raw(server, head.encode() + b"Content-Length: 2\r\n\r\nhi")

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    counters = server.stats()["counters"]
    assert (counters["requests"], counters["bad_requests"]) == (1, 1)


async def test_client_that_leaves_takes_its_poll_along(started, session):
    server = await started()
    host, port = server.addresses["registry.http"].rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /discovery/polls?env=dev&appid=a&hostname=h&latest_timestamp=0 HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: server.stats()["gauges"]["polls_held"] == 1)

    writer.close()
    await writer.wait_closed()

    await until(lambda: server.stats()["gauges"]["polls_held"] == 0)


async def test_polls_over_the_limit_are_refused_and_counted(started, session):
    server = await started(max_polls=1)
    poll = url(server, "polls?env=dev&appid=a&hostname=h&latest_timestamp=0")
    first = asyncio.create_task(session.get(poll))
    await until(lambda: server.stats()["gauges"]["polls_held"] == 1)

    async with session.get(poll) as response:
        assert (await response.json())["code"] == -500

    assert server.stats()["drops"] == {"registry.polls_over_limit": 1}
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_successive_polls_of_one_connection_lose_no_set(started):
    server = await started()
    await server.local.register(comet("comet-1"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        polls = url(server, "polls?env=dev&appid=goim.comet&hostname=h&latest_timestamp=")
        async with session.get(polls + "0") as response:
            latest = (await response.json())["data"]["goim.comet"]["latest_timestamp"]

        await server.local.set_metadata("goim.comet", "comet-1", {"conn_count": "5"})
        async with session.get(f"{polls}{latest}", timeout=aiohttp.ClientTimeout(5)) as response:
            answer = await response.json()

    (found,) = answer["data"]["goim.comet"]["instances"]["sh001"]
    assert found["metadata"]["conn_count"] == "5"


async def test_stop_ends_held_polls_at_once(started, session):
    server = await started()
    poll = asyncio.create_task(
        session.get(url(server, "poll?env=dev&appid=infra.discovery&hostname=h&latest_timestamp=9" + "0" * 18))
    )
    await until(lambda: server.stats()["gauges"]["polls_held"] == 1)

    async with asyncio.timeout(5):
        await server.stop()
        response = await poll

    assert json.loads(await response.text())["code"] == -500


async def test_silent_instance_is_taken_out_while_own_entry_and_local_ones_stay(started, session):
    server = await started(
        lease=LeaseRules(silent_s=0.15, evict_every_s=0.02, self_preservation=False), renew_every_s=0.02
    )
    await server.local.register(comet("comet-local"))
    seen = Seen(server.local)
    form = "zone=sh001&env=dev&appid=goim.comet&hostname=comet-silent&status=1&addrs=grpc%3A%2F%2F127.0.0.1%3A1"
    async with session.post(url(server, "register"), data=form, headers=FORM) as response:
        assert (await response.json())["code"] == 0
    await seen.hostnames("comet-local", "comet-silent")

    await seen.hostnames("comet-local")

    assert server.stats()["counters"]["evicted"] == 1
    assert server.stats()["gauges"]["instances"] == 2
