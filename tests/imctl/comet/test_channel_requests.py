from __future__ import annotations

from typing import Any

import pytest

from imctl.link.contract import PeerError
from imctl.link.methods import HEARTBEAT, RECEIVE
from protocol.frame import pack_frame
from protocol.pb import logic as pb
from protocol.state import State
from tests.imctl.comet.channels import Setup, connected
from tests.imctl.comet.raw import auth


async def test_requests_behind_one_that_is_with_logic_wait_for_it():
    setup = Setup()
    channel, transport = await setup.login()
    transport.out = b""

    channel.data_received(pack_frame(1000, b"a", seq=1) + pack_frame(2, seq=2) + pack_frame(1001, b"b", seq=3))

    (first,) = setup.logic.named(RECEIVE)
    assert (first.mid, first.proto.op, first.proto.seq, first.proto.body, transport.out) == (4, 1000, 1, b"a", b"")
    await setup.logic.answer(pb.ReceiveReply())
    assert transport.out == pack_frame(1000, seq=1) + pack_frame(3, bytes(4), seq=2)
    assert len(setup.logic.named(RECEIVE)) == 2
    await setup.logic.answer(PeerError("no"))
    assert transport.out.endswith(pack_frame(1001, seq=3))
    assert setup.counters["receive_errors"] == 1


@pytest.mark.parametrize("state", [State.AUTHENTICATING, State.BUSY])
async def test_client_that_floods_while_logic_thinks_is_not_read_any_more(state):
    setup = Setup()
    if state is State.BUSY:
        channel, transport = await setup.login()
        channel.data_received(pack_frame(1000))
        reply: Any = pb.ReceiveReply()
    else:
        channel, transport = setup.connect()
        channel.data_received(auth(key="k"))
        reply = connected()
    transport.out = b""
    heartbeats = pack_frame(2) * 1024

    fed = 0
    while not transport.paused:
        channel.data_received(heartbeats)
        fed += 1
        assert fed < 10

    assert channel.connection.state is state
    assert transport.out == b""
    await setup.logic.answer(reply)
    assert not transport.paused
    assert transport.out.count(pack_frame(3, bytes(4))) == fed * 1024


async def test_heartbeat_moves_the_deadline_and_other_requests_do_not():
    setup = Setup()
    channel, _ = await setup.login(heartbeat_s=10.0)
    before = channel.deadline
    setup.now_s += 5.0

    channel.data_received(pack_frame(14, b"1"))
    assert channel.deadline == before
    channel.data_received(pack_frame(2))
    assert channel.deadline == before + 5.0


async def test_a_client_is_not_ended_for_what_its_comet_stood_still():
    setup = Setup()
    _, transport = await setup.login(heartbeat_s=1.0)
    setup.run_for(0.5)

    setup.now_s += 60.0
    setup.run_for(0.3)
    assert not transport.closing

    setup.run_for(0.5)
    assert setup.counters["closed.heartbeat_timeout"] == 1


async def test_session_is_refreshed_with_a_heartbeat_once_it_is_due():
    setup = Setup()
    channel, _ = await setup.login()

    channel.data_received(pack_frame(2))
    assert setup.logic.named(HEARTBEAT) == []
    channel.refresh_at = 0.0
    channel.data_received(pack_frame(2) * 2)

    (request,) = setup.logic.named(HEARTBEAT)
    assert (request.mid, request.key, request.server) == (4, "k", "c1")
    await setup.logic.answer(PeerError("away"))
    assert setup.counters["refresh_errors"] == 1
    channel.data_received(pack_frame(2))
    assert len(setup.logic.named(HEARTBEAT)) == 2  # again at the next one


async def test_operations_over_the_limit_are_echoed_and_have_no_effect():
    setup = Setup()
    channel, transport = await setup.login()

    for first in range(0, 6000, 500):
        body = b",".join(b"%d" % op for op in range(first, first + 500))
        transport.out = b""
        channel.data_received(pack_frame(14, body))
        assert transport.out == pack_frame(15, body)

    assert len(channel.accepts) == 4000
    assert setup.counters["refused.max_accepts"] == 4


async def test_equal_sets_of_operations_are_shared_and_large_ones_not_kept():
    setup = Setup()

    small = [setup.sessions.intern_accepts([1, 2, 3]) for _ in range(2)]
    large = [setup.sessions.intern_accepts(range(100)) for _ in range(2)]

    assert small[0] is small[1]
    assert large[0] is not large[1]


async def test_one_room_too_many_is_refused_and_counted():
    setup = Setup(max_rooms=1)
    channel, _ = await setup.login(room="live://1")
    other, transport = await setup.login(key="o", room="live://2")

    assert (other.room, setup.counters["refused.max_rooms"]) == (None, 1)
    other.data_received(pack_frame(12, b"live://3"))
    assert transport.out.endswith(pack_frame(13, b"live://3"))
    assert (other.room, setup.counters["refused.max_rooms"]) == (None, 2)
    assert channel.room is not None
