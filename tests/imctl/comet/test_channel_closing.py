from __future__ import annotations

import asyncio

from imctl.link.methods import CONNECT, DISCONNECT, HEARTBEAT, RECEIVE
from protocol.frame import pack_frame
from protocol.pb import logic as pb
from tests.imctl.comet.channels import Setup, connected
from tests.imctl.comet.raw import auth

# --- closing ---


async def test_close_ends_the_session_at_once_and_only_once():
    setup = Setup()
    channel, transport = await setup.login(room="live://1")

    channel.close("first")
    channel.close("second")
    channel.connection_lost(None)

    assert transport.closing
    assert len(setup.logic.named(DISCONNECT)) == 1
    assert (setup.sessions.hub.channels, setup.sessions.hub.rooms, setup.sessions.hub.ips) == ({}, {}, {})
    assert setup.counters["disconnected"] == 1
    assert "closed.second" not in setup.counters
    assert (len(setup.sessions.wheel), setup.sessions.open) == (0, set())


async def test_closed_client_that_does_not_read_its_last_bytes_is_aborted():
    setup = Setup()
    channel, transport = await setup.login()
    transport.stuck = True
    channel.write(b"last words")

    channel.close("test")
    assert len(setup.sessions.wheel) == 1
    for further_s, is_over in ((4.0, False), (2.0, True)):
        setup.run_for(further_s)
        assert transport.aborted is is_over
    assert setup.counters["lingering_aborted"] == 1


async def test_end_of_input_is_the_end_of_the_client():
    setup = Setup()
    channel, transport = await setup.login()

    assert channel.eof_received() is False
    assert (transport.closing, setup.counters["closed.client_eof"]) == (True, 1)


async def test_requests_of_a_client_that_left_are_not_carried_out():
    setup = Setup()
    channel, transport = await setup.login()
    transport.out = b""
    channel.data_received(pack_frame(1000) + pack_frame(1001))

    channel.eof_received()
    receive = next(future for method, _, future in setup.logic.calls if method is RECEIVE)
    receive.set_result(pb.ReceiveReply())
    await asyncio.sleep(0)

    assert len(setup.logic.named(RECEIVE)) == 1
    assert transport.out == b""
    assert setup.drops == {}


async def test_bad_frame_closes_after_the_requests_before_it_and_is_counted_by_reason():
    setup = Setup()
    channel, transport = await setup.login()
    transport.out = b""

    channel.data_received(pack_frame(2, seq=9) + b"\x7f\xff\xff\xff" + bytes(12))

    assert (transport.out, transport.closing) == (pack_frame(3, bytes(4), seq=9), True)
    assert setup.counters["closed.frame_length"] == 1
    assert len(setup.logic.named(DISCONNECT)) == 1


async def test_replaced_client_is_closed_and_logic_keeps_the_session():
    setup = Setup()
    old, old_transport = await setup.login(room="live://1")
    new, _ = await setup.login(room="live://1")

    assert (old_transport.closing, setup.counters["replaced"], setup.counters["closed.replaced"]) == (True, 1, 1)
    old.connection_lost(None)
    assert setup.logic.named(DISCONNECT) == []
    assert setup.sessions.hub.channels == {"k": new}
    assert len(setup.sessions.hub.rooms["live://1"]) == 1


async def test_session_that_a_late_disconnect_may_have_removed_is_written_again():
    setup = Setup()
    old, _ = await setup.login()
    new, _ = setup.connect()
    new.data_received(auth(key="k"))
    connect = setup.logic.calls[-1][2]
    old.connection_lost(None)  # its Disconnect follows the Connect of the new one
    connect.set_result(connected())
    await asyncio.sleep(0)
    assert setup.sessions.hub.channels == {"k": new}

    disconnect = next(future for method, _, future in setup.logic.calls if method is DISCONNECT)
    disconnect.set_result(pb.DisconnectReply(has=True))
    await asyncio.sleep(0)

    assert [request.key for request in setup.logic.named(HEARTBEAT)] == ["k"]


# --- the end of a comet ---


async def test_close_all_waits_for_logic_to_know():
    setup = Setup()
    _, transport = await setup.login()
    channel = transport.channel
    pending, _ = setup.connect()
    pending.data_received(auth(key="late"))

    stopping = asyncio.ensure_future(setup.sessions.close_all(5.0))
    await asyncio.sleep(0)
    for one in (channel, pending):
        one.connection_lost(None)
    await asyncio.sleep(0)
    assert not stopping.done()
    for method, _, future in list(setup.logic.calls):
        if not future.done():
            future.set_result(connected(key="late") if method is CONNECT else pb.DisconnectReply())
    await asyncio.sleep(0)
    assert not stopping.done()  # the late connect is taken back first
    await setup.logic.answer(pb.DisconnectReply())
    await asyncio.wait_for(stopping, 10)

    assert [request.key for request in setup.logic.named(DISCONNECT)] == ["k", "late"]
    refused, transport = setup.connect()
    assert transport.aborted
    refused.connection_lost(None)


async def test_close_all_aborts_who_does_not_leave_and_ends_in_its_time():
    setup = Setup()
    _, transport = await setup.login()

    async with asyncio.timeout(10):
        await setup.sessions.close_all(0.1)

    assert transport.aborted
