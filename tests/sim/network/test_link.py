import asyncio
import socket
import ssl
import subprocess
from time import monotonic_ns

import pytest

from sim.network.link import Link
from sim.scenario.scenario import EventKind, Network, Side
from tests.conftest import require_program
from tests.sim.kit import until
from tests.sim.network.links import joined
from tests.sim.network_kit import MS, Client, way_of


async def test_without_a_fault_bytes_and_ends_pass_as_they_are():
    async with joined() as (way, client, comet):
        client.transport.write(b"up")
        await comet.send(b"down")
        await until(lambda: client.data)
        assert (await comet.read(), client.data) == (b"up", b"down")

        comet.sock.close()
        await until(lambda: client.ends)

    assert client.ends == [None]
    assert way.troubles == {}


async def test_latency_is_on_both_directions_and_on_the_end():
    async with joined(Network(latency_s=0.06)) as (_, client, comet):
        begin_ns = monotonic_ns()
        client.transport.write(b"up")
        assert await comet.read() == b"up"
        up_ns = monotonic_ns() - begin_ns
        begin_ns = monotonic_ns()
        await comet.send(b"down")
        comet.sock.close()
        await until(lambda: client.data)
        down_ns = monotonic_ns() - begin_ns
        await until(lambda: client.ends)

    assert min(up_ns, down_ns) >= 59 * MS
    assert (client.data, client.ends) == (b"down", [None])


async def test_a_bandwidth_slows_the_sender_and_keeps_little():
    async with joined(Network(bandwidth_bytes_per_s=400_000)) as (way, client, comet):
        sent = 3_000_000
        comet.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)  # or the system keeps megabytes
        sending = asyncio.create_task(comet.send(bytes(sent)))
        await until(lambda: client.data)
        begin_ns, first = monotonic_ns(), len(client.data)
        await until(lambda: len(client.data) - first >= 200_000)
        rate = (len(client.data) - first) / ((monotonic_ns() - begin_ns) / 1e9)
        link = client.transport

        # What is in it is what may be on its way, and one read.
        assert link._down.queued <= way.conditions.window_bytes + 256 * 1024
        assert len(client.data) < sent // 2
        assert not sending.done()
        sending.cancel()

    assert 200_000 <= rate <= 600_000


async def test_when_the_network_is_well_again_everything_comes_in_order():
    async with joined() as (way, client, comet):
        better = way.add(Network(latency_s=0.03, jitter_s=0.03, bandwidth_bytes_per_s=1e6))
        sent = bytes(range(256)) * 200
        for at in range(0, len(sent) // 2, 1000):
            await comet.send(sent[at : min(at + 1000, len(sent) // 2)])
        better()
        await comet.send(sent[len(sent) // 2 :])
        await until(lambda: len(client.data) == len(sent))

    assert client.data == sent


async def test_a_reset_is_a_rst_on_both_sides():
    async with joined(Network(latency_s=1.5)) as (way, client, comet):
        await comet.send(b"on its way")
        await until(lambda: client.transport._down.queued)

        assert way.end(EventKind.RESET, lasts=False) is not None

        assert await comet.read() is None
        [error] = client.ends
        await asyncio.sleep(1.51)
        assert (client.data, len(client.ends)) == (b"", 1)

    assert isinstance(error, ConnectionResetError)
    assert way.troubles[client].place == "network.reset"
    assert way.troubles[client].late_ns >= 1500 * MS


async def test_a_cut_is_a_fin_on_both_sides_also_with_bytes_unread():
    async with joined() as (way, client, comet):
        client.transport.pause_reading()
        await comet.send(bytes(100_000))

        assert way.end(EventKind.CUT, lasts=False) is not None

        assert client.ends == [None]
        assert await comet.read() == b""  # a RST would be None
        await comet.send(b"still")  # and it stays one, until comet closes too
        comet.sock.close()
        await until(lambda: not way._common.sockets)

    assert way.troubles[client].place == "network.cut"
    assert client.data == b""


async def test_in_a_black_hole_nothing_arrives_and_nobody_hears_of_it_until_its_end():
    async with joined() as (way, client, comet):
        over = way.open_hole()
        client.transport.write(b"up")
        await comet.send(b"down")
        await asyncio.sleep(0.05)
        assert not comet.hears()
        assert (client.data, client.ends) == (b"", [])

        over()

        assert await comet.read() is None
        assert [type(end) for end in client.ends] == [ConnectionResetError]

    assert client.data == b""
    assert way.troubles[client].place == "network.black_hole"


async def test_comet_can_write_into_a_black_hole_until_the_system_takes_no_more():
    async with joined() as (way, _, comet):
        way.open_hole()

        taken = comet.fill()
        await asyncio.sleep(0.05)

        assert taken > 0
        assert comet.fill() < 1_000_000  # nobody reads: in the end it is full, as with a real one
        assert comet.fill() == 0


async def test_a_client_that_gives_up_in_a_black_hole_is_gone_and_comet_does_not_hear_of_it():
    async with joined() as (way, client, comet):
        over = way.open_hole()

        client.transport.abort()
        await until(lambda: client.ends)
        await asyncio.sleep(0.02)
        assert not comet.hears()
        assert len(way._common.sockets) == 1
        over()

        assert await comet.read() is None
        await until(lambda: not way._common.sockets)
    assert client.ends == [None]


async def test_when_the_clients_side_is_gone_comet_keeps_the_connection():
    async with joined() as (way, client, comet):
        over = way.lose_side(Side.CLIENT)

        assert [type(end) for end in client.ends] == [ConnectionResetError]
        await comet.send(b"to nobody")
        await asyncio.sleep(0.05)
        assert not comet.hears()
        over()

        assert await comet.read() is None
    assert len(client.ends) == 1
    assert (client.data, way.troubles[client].place) == (b"", "network.half_open")


async def test_when_comets_side_is_gone_the_client_keeps_the_connection():
    async with joined() as (way, client, comet):
        over = way.lose_side(Side.COMET)

        assert await comet.read() is None
        client.transport.write(b"to nobody")
        await asyncio.sleep(0.05)
        assert client.ends == []
        over()

    assert [type(end) for end in client.ends] == [ConnectionResetError]
    assert way.troubles[client].place == "network.half_open"


async def test_a_client_that_gives_up_a_connection_that_comet_does_not_have_hears_of_its_end():
    async with joined() as (way, client, comet):
        way.lose_side(Side.COMET)
        assert await comet.read() is None
        await asyncio.sleep(0.01)

        client.transport.abort()
        await until(lambda: client.ends)

    assert client.ends == [None]
    assert way._common.sockets == set()


async def test_an_end_that_was_caused_by_the_network_keeps_its_first_cause():
    async with joined() as (way, client, _):
        way.open_hole()
        way.end(EventKind.RESET, lasts=False)

    assert way.troubles[client].place == "network.black_hole"


async def test_a_way_without_a_connection_has_nothing_to_end():
    way = way_of()

    assert way.end(EventKind.RESET, lasts=False) is None
    assert way.lose_side(Side.COMET) is None


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """A server's context, and a client's that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [require_program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=cert)


@pytest.mark.parametrize("fault", ["reset", "cut", "half_open", "black_hole"])
async def test_an_encrypted_connection_has_the_same_faults(contexts, fault):
    server_side, client_side = contexts
    loop = asyncio.get_running_loop()
    way, client, comet = way_of(Network(latency_s=0.02)), Client(), Client()
    server = await loop.create_server(lambda: comet, "127.0.0.1", 0, ssl=server_side)
    host, port = server.sockets[0].getsockname()
    await loop.create_connection(lambda: Link(way, client), host, port, ssl=client_side)
    client.transport.write(b"up")
    await until(lambda: comet.data == b"up")
    comet.transport.write(b"down")
    await until(lambda: client.data == b"down")

    over = {
        "reset": lambda: way.end(EventKind.RESET, lasts=False),
        "cut": lambda: way.end(EventKind.CUT, lasts=False),
        "half_open": lambda: way.lose_side(Side.CLIENT),
        "black_hole": way.open_hole,
    }[fault]()
    comet.transport.write(b"lost")
    if fault in ("half_open", "black_hole"):
        client.transport.write(b"lost")
        await asyncio.sleep(0.05)
        assert (comet.data, comet.ends) == (b"up", [])
        over()
    await until(lambda: comet.ends)

    assert client.data == b"down"
    assert [type(end) for end in client.ends] == [type(None) if fault == "cut" else ConnectionResetError]
    assert isinstance(comet.ends[0], ConnectionResetError) == (fault != "cut")
    await until(lambda: not way._common.sockets)
    server.close()
    await server.wait_closed()
