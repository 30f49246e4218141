from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from imctl.comet.channel import Channel
from imctl.comet.config import CometConfig
from imctl.comet.sessions import TICK_S, Sessions
from imctl.comet.timers import RunningClock
from imctl.link.contract import PeerError
from imctl.link.methods import CONNECT, DISCONNECT, HEARTBEAT, RECEIVE
from protocol.frame import pack_frame
from protocol.operation import Operation
from protocol.pb import logic as pb
from protocol.state import State
from tests.imctl.comet.raw import UPGRADE, auth

AUTH_REPLY = pack_frame(Operation.AUTH_REPLY, seq=1)


class Transport:
    """A transport whose kernel takes nothing while `stuck`; direct when it has a socket."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        self.sock = sock
        self.out = b""
        self.waiting = b""
        self.stuck = False
        self.closing = False
        self.aborted = False
        self.paused = False
        self.limits: int | None = None
        self.channel: Channel

    def get_extra_info(self, name: str) -> Any:
        tls = object() if self.sock is None else None
        return {"socket": self.sock, "sslcontext": tls, "peername": ("10.1.2.3", 5)}.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        self.limits = high

    def write(self, data: bytes) -> None:
        if not self.stuck:
            self.out += data
            return
        self.waiting += data
        self.channel.pause_writing()

    def unstick(self) -> None:
        self.stuck = False
        self.out, self.waiting = self.out + self.waiting, b""
        self.channel.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class Logic:
    """Stands for the PeerPool: every call is a future the test completes."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, asyncio.Future[Any]]] = []

    def call(self, method: Any, request: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.calls.append((method, request, future))
        return future

    def named(self, method: Any) -> list[Any]:
        return [request for called, request, _ in self.calls if called is method]

    async def answer(self, reply: Any) -> None:
        future = self.calls[-1][2]
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)
        await asyncio.sleep(0)  # the callbacks of a future run in the next turn


class Setup:
    def __init__(self, **settings: Any) -> None:
        self.logic = Logic()
        self.sessions = Sessions(CometConfig(hostname="c1", **settings), self.logic)
        self.now_s = 1000.0
        self.sessions.clock = RunningClock(lambda: self.now_s, TICK_S)

    def run_for(self, seconds: float) -> None:
        """Let time pass, with the comet looking at its clients every tick."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            self.sessions.end_overdue()

    def connect(self, transport: Transport | None = None, *, is_ws: bool = False) -> tuple[Channel, Transport]:
        transport = transport or Transport()
        channel = transport.channel = Channel(self.sessions, is_ws=is_ws)
        channel.connection_made(transport)
        return channel, transport

    async def login(
        self, transport: Transport | None = None, *, key: str = "k", room: str = "", heartbeat_s: float = 60.0
    ) -> tuple[Channel, Transport]:
        channel, transport = self.connect(transport)
        channel.data_received(auth(key=key, mid=4))
        await self.logic.answer(connected(key=key, room=room, heartbeat_s=heartbeat_s))
        return channel, transport

    @property
    def counters(self) -> dict[str, int]:
        return self.sessions.counters.values

    @property
    def drops(self) -> dict[str, int]:
        return self.sessions.drops.values


def connected(*, key: str = "k", room: str = "", heartbeat_s: float = 60.0, accepts: tuple[int, ...] = ()) -> Any:
    return pb.ConnectReply(mid=4, key=key, roomID=room, accepts=accepts, heartbeat=int(heartbeat_s * 1e9))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


# --- authentication


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


# --- requests


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


# --- writing


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


# --- closing


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


# --- the end of a comet


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
