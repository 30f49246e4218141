from __future__ import annotations

import pytest

from imctl.link.contract import PeerError
from imctl.link.methods import CONNECT, DISCONNECT
from protocol.frame import pack_frame
from protocol.operation import Operation
from tests.imctl.comet.channels import AUTH_REPLY, Setup, Transport, connected
from tests.imctl.comet.raw import UPGRADE, auth


async def test_auth_asks_logic_and_the_reply_comes_first():
    setup = Setup()
    channel, transport = setup.connect()

    channel.data_received(auth(key="k") + pack_frame(Operation.HEARTBEAT, seq=2))

    ((method, request, _),) = setup.logic.calls
    assert (method, request.server, request.cookie) == (CONNECT, "c1", "")
    assert (transport.out, setup.sessions.hub.channels) == (b"", {})
    await setup.logic.answer(connected(room="live://1"))
    assert transport.out == AUTH_REPLY + pack_frame(Operation.HEARTBEAT_REPLY, b"\0\0\0\1", seq=2)
    assert setup.sessions.hub.channels == {"k": channel}
    assert (channel.key, channel.mid, channel.ip) == ("k", 4, "10.1.2.3")


async def test_cookie_of_the_upgrade_goes_to_logic():
    setup = Setup()
    channel, transport = setup.connect(is_ws=True)

    channel.data_received(UPGRADE.replace(b"\r\n\r\n", b"\r\nCookie: a=1; b\r\n\r\n"))
    message = auth(key="k")
    channel.data_received(bytes((0x82, len(message))) + message)

    assert transport.out.startswith(b"HTTP/1.1 101 ")
    assert setup.logic.named(CONNECT)[0].cookie == "a=1; b"


@pytest.mark.parametrize("error", [PeerError("no"), RuntimeError("bug")])
async def test_refused_client_is_closed_without_a_word(error):
    setup = Setup()
    channel, transport = setup.connect()
    channel.data_received(auth(key="k"))

    await setup.logic.answer(error)

    assert (transport.out, transport.closing) == (b"", True)
    assert (setup.counters["refused_auth"], setup.counters["closed.auth_refused"]) == (1, 1)


async def test_client_that_left_before_the_answer_has_its_session_taken_back():
    setup = Setup()
    channel, transport = setup.connect()
    channel.data_received(auth(key="k"))

    channel.connection_lost(None)
    await setup.logic.answer(connected(key="generated"))

    (request,) = setup.logic.named(DISCONNECT)
    assert (request.mid, request.key, request.server) == (4, "generated", "c1")
    assert (setup.counters["late_connects"], transport.out, setup.sessions.hub.channels) == (1, b"", {})


async def test_client_that_left_before_the_refusal_is_no_error():
    setup = Setup()
    channel, _ = setup.connect()
    channel.data_received(auth(key="k"))

    channel.connection_lost(None)
    await setup.logic.answer(PeerError("no"))

    assert setup.logic.named(DISCONNECT) == []
    assert "closed.auth_refused" not in setup.counters


async def test_auth_reply_that_cannot_be_written_ends_the_new_session(pair):
    setup = Setup()
    channel, transport = setup.connect(Transport(pair[0]))
    channel.data_received(auth(key="k"))
    pair[1].close()

    await setup.logic.answer(connected())

    assert (transport.aborted, setup.sessions.hub.channels) == (True, {})
    assert [request.key for request in setup.logic.named(DISCONNECT)] == ["k"]
    assert setup.counters["closed.write_error"] == 1


async def test_heartbeat_limit_of_zero_closes_after_the_auth_reply():
    setup = Setup()
    _, transport = await setup.login(heartbeat_s=0)

    assert (transport.out, transport.closing) == (AUTH_REPLY, True)
    assert len(setup.logic.named(DISCONNECT)) == 1


async def test_frames_before_auth_are_ignored_and_counted():
    setup = Setup()
    channel, transport = setup.connect()

    channel.data_received(pack_frame(2) + pack_frame(1000, b"x"))
    assert (transport.out, setup.logic.calls, transport.closing) == (b"", [], False)
    channel.connection_lost(None)

    assert setup.counters["ignored_before_auth"] == 2


async def test_full_comet_closes_further_clients_at_once():
    setup = Setup(max_connections=1)
    setup.connect()
    refused, transport = setup.connect()

    assert transport.aborted
    assert (setup.counters["refused.max_connections"], setup.counters["closed.refused"]) == (1, 1)
    refused.connection_lost(None)
    assert len(setup.sessions.open) == 1
