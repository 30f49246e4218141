from __future__ import annotations

import socket

import pytest

from protocol.frame import pack_frame
from tests.imctl.comet.channels import AUTH_REPLY, Setup, Transport


async def test_direct_write_while_nothing_waits(pair):
    setup = Setup()
    channel, transport = await setup.login(Transport(pair[0]))

    assert pair[1].recv(100) == AUTH_REPLY
    assert (transport.out, transport.limits, channel.indirect) == (b"", 0, False)


async def test_nothing_overtakes_what_the_transport_holds(pair):
    setup = Setup()
    channel, transport = await setup.login(Transport(pair[0]))
    pair[1].recv(100)
    transport.stuck = True
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    big = bytes(1_000_000)

    channel.write(big)
    assert channel.indirect
    assert channel.write_indirect(b"push") is False  # over the bound already
    channel.write(b"reply")
    transport.unstick()
    assert channel.indirect is False

    sent = 0
    while sent + len(transport.out) < len(big) + 5:
        sent += len(pair[1].recv(1 << 20))
    assert transport.out == big[sent:] + b"reply"


async def test_queue_of_pushes_is_bounded_and_takes_again_when_there_is_room():
    setup = Setup(write_buffer_bytes=100)
    channel, transport = await setup.login()
    transport.stuck = True

    assert [channel.write_indirect(bytes(40)) for _ in range(4)] == [True, True, False, False]
    assert transport.get_write_buffer_size() == 80
    assert channel.write_indirect(bytes(20))
    transport.unstick()
    assert channel.write_indirect(bytes(5000))  # one message of any size when nothing waits


@pytest.mark.parametrize("is_direct", [True, False], ids=["tcp", "tls"])
async def test_requests_of_a_client_that_does_not_read_its_replies_wait(pair, is_direct):
    setup = Setup()
    channel, transport = await setup.login(Transport(pair[0] if is_direct else None))
    transport.stuck = channel.indirect = True
    transport.out = b""

    fed = 0
    while not transport.paused:
        channel.data_received(pack_frame(2) * 100)
        fed += 100
        assert fed < 2000
    answered = len(transport.waiting) // 20
    assert (len(transport.waiting), channel.indirect) == (answered * 20, True)
    assert 16384 < len(transport.waiting) <= 16384 + 20

    transport.unstick()
    assert not transport.paused
    assert channel.indirect is not is_direct
    got = transport.out
    if is_direct:
        got += pair[1].recv(1 << 20).removeprefix(AUTH_REPLY)
    assert got == pack_frame(3, bytes(4)) * fed
    assert setup.drops == {}


async def test_tls_never_writes_to_the_descriptor():
    setup = Setup()
    channel, transport = await setup.login()

    channel.resume_writing()

    assert (channel.fd, channel.indirect, transport.limits) == (-1, True, 1)
    assert transport.out == AUTH_REPLY


async def test_write_to_a_closed_client_is_refused_and_is_no_slow_client():
    setup = Setup()
    channel, transport = await setup.login()

    channel.close("test")
    transport.out = b""
    channel.write(b"x")

    assert transport.out == b""
    assert channel.write_indirect(b"x") is False
    assert channel.is_gone
    assert setup.drops == {}


async def test_transport_that_empties_after_close_does_not_open_the_descriptor(pair):
    setup = Setup()
    channel, transport = await setup.login(Transport(pair[0]))
    transport.stuck = True
    channel.indirect = True
    channel.write(b"last words")

    channel.close("test")
    transport.unstick()

    assert channel.indirect
    assert transport.out == b"last words"
