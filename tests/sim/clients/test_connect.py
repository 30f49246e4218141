import asyncio
import socket

import pytest

from sim.clients.connect import CLIENTS_PER_SOURCE, open_from, source_of
from tests.ports import free_port


def test_few_clients_and_clients_of_other_machines_are_left_to_the_system():
    assert source_of(0, CLIENTS_PER_SOURCE, "127.0.0.1") is None
    assert source_of(99_999, 100_000, "10.0.0.1") is None
    assert source_of(99_999, 100_000, "::1") is None


def test_many_clients_have_addresses_of_the_loopback_each_for_so_many():
    clients = 100_000

    sources = [source_of(client, clients, "127.0.0.1") for client in range(clients)]

    assert sources[0] == "127.0.1.1"
    assert sources[-1] == "127.0.1.10"
    assert [sources.count(source) for source in sorted(set(sources))] == [CLIENTS_PER_SOURCE] * 10


def test_every_address_is_one_of_the_loopback_however_many_there_are():
    clients = 20_000_000

    sources = [source_of(client, clients, "127.0.0.1") for client in range(0, clients, CLIENTS_PER_SOURCE)]

    assert len(set(sources)) == len(sources)
    for source in sources:
        assert socket.inet_aton(source)[0] == 127
        assert not source.endswith((".0", ".255"))


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


async def test_connections_come_from_the_address_asked_for(server):
    port = server.getsockname()[1]

    for source in ("127.0.1.1", "127.0.1.2", "127.0.1.2"):
        with await open_from(source, "127.0.0.1", port) as sock:
            accepted, peer = server.accept()
            with accepted:
                assert peer == sock.getsockname()
                assert peer[0] == source
                assert not sock.getblocking()
                accepted.sendall(b"hello")
                assert await asyncio.get_running_loop().sock_recv(sock, 10) == b"hello"


async def test_nobody_there_is_an_error_and_no_socket_is_left():
    with pytest.raises(ConnectionRefusedError):
        await open_from("127.0.1.1", "127.0.0.1", free_port())


async def test_on_loopback_a_connect_takes_no_turn_of_the_event_loop():
    with socket.create_server(("127.0.0.1", 0)) as server:
        connecting = open_from("127.0.1.1", "127.0.0.1", server.getsockname()[1])

        with pytest.raises(StopIteration) as done:
            connecting.send(None)

        with done.value.value as sock:
            assert sock.getpeername() == server.getsockname()
            assert sock.getsockname()[0] == "127.0.1.1"


async def test_sources_that_are_asked_for_are_taken_in_turn_wherever_it_goes():
    sources = ("10.0.0.1", "10.0.0.2", "10.0.0.3")

    assert [source_of(client, 5, "192.0.2.1", sources) for client in range(4)] == [*sources, sources[0]]


async def test_a_server_that_stands_still_does_not_stop_the_other_clients():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        opened = []
        try:
            for _ in range(8):  # until its queue is full
                async with asyncio.timeout(0.2):
                    opened.append(await open_from("127.0.1.1", "127.0.0.1", port))
        except TimeoutError:
            pass
        finally:
            for sock in opened:
                sock.close()

    assert len(opened) < 8
