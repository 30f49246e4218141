from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.comet.hub import Hub, Wire, write_all
from imctl.node import Counters
from protocol.frame import Frame, pack_frame
from protocol.pb.protocol import Proto
from protocol.raw import pack_batch, wrap_batch
from protocol.websocket import serialize_message


class FakeChannel:
    """What the hub needs of a channel; `got` is what went through the transport."""

    def __init__(self, key: str = "k", *, ip: str = "127.0.0.1", is_ws: bool = False, accepts: tuple[int, ...] = ()):
        self.key, self.ip, self.is_ws = key, ip, is_ws
        self.accepts = frozenset(accepts)
        self.room = None
        self.fd = -1
        self.indirect = True
        self.got: list[bytes] = []
        self.is_slow = False
        self.is_gone = False

    def write_indirect(self, data: bytes) -> bool:
        if self.is_slow or self.is_gone:
            return False
        self.got.append(data)
        return True

    def write_rest(self, data: bytes, done: int) -> None:
        self.got.append(data[done:])
        self.indirect = True

    def abort(self, reason: str) -> None:
        self.got.append(reason.encode())
        self.indirect = self.is_gone = True


class Counted:
    def __init__(self, max_rooms: int = 100) -> None:
        self.counters, self.drops = Counters(), Counters()
        self.hub = Hub(self.counters, self.drops, max_rooms=max_rooms)


def raw(*bodies: bytes) -> Proto:
    return Proto(ver=1, op=9, body=pack_batch(Frame(1, 1000, 0, body) for body in bodies))


# --- Wire


def test_wire_of_a_container_is_bare_on_tcp_and_wrapped_on_ws():
    proto = raw(b"a", b"", b"ccc")

    wire = Wire(proto)

    assert wire.tcp == proto.body
    assert wire.ws == serialize_message(wrap_batch(proto.body))
    assert wire.ws is wire.ws
    assert wire.count == 3


def test_wire_of_another_op_is_framed_with_its_own_header():
    wire = Wire(Proto(ver=-2, op=1001, seq=-7, body=b"x"))

    assert wire.tcp == pack_frame(1001, b"x", ver=-2, seq=-7)
    assert wire.ws == serialize_message(wire.tcp)
    assert wire.count == 1


@pytest.mark.parametrize(
    ("body", "count"),
    [(b"", 0), (b"short", 0), (pack_frame(1, b"ab") + b"cut", 1), (bytes(16) * 3, 3), (b"\xff" * 16 + bytes(16), 2)],
)
def test_wire_counts_whole_headers_of_a_broken_batch(body, count):
    assert Wire(Proto(op=9, body=body)).count == count


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_wire_counts_the_frames_of_a_batch(bodies):
    assert Wire(raw(*bodies)).count == len(bodies)


# --- tables


def test_add_and_remove_keep_channels_and_ips():
    hub = Counted().hub
    a, b, c = FakeChannel("a", ip="10.0.0.1"), FakeChannel("b", ip="10.0.0.1"), FakeChannel("c", ip="10.0.0.2")

    assert [hub.add(one) for one in (a, b, c)] == [None, None, None]
    assert (hub.channels, hub.ips) == ({"a": a, "b": b, "c": c}, {"10.0.0.1": 2, "10.0.0.2": 1})
    assert (hub.remove(a), hub.remove(a), hub.remove(c)) == (True, False, True)
    assert (hub.channels, hub.ips) == ({"b": b}, {"10.0.0.1": 1})


def test_same_key_replaces_and_the_old_one_leaves_its_room():
    hub = Counted().hub
    old, new = FakeChannel("k", ip="1"), FakeChannel("k", ip="2", is_ws=True)
    hub.add(old)
    hub.join(old, "live://1")

    assert hub.add(new) is old
    assert (hub.channels, hub.ips, hub.rooms, old.room) == ({"k": new}, {"2": 1}, {}, None)
    assert hub.remove(old) is False
    assert hub.channels == {"k": new}


def test_rooms_are_made_by_the_first_and_end_with_the_last_member():
    hub = Counted().hub
    a, b = FakeChannel("a"), FakeChannel("b", is_ws=True)

    assert hub.join(a, "live://1")
    assert hub.join(b, "live://1")
    room = hub.rooms["live://1"]
    assert (list(room.tcp), list(room.ws), len(room), a.room is room) == ([a], [b], 2, True)
    assert hub.join(a, "live://2")
    assert (len(room), set(hub.rooms)) == (1, {"live://1", "live://2"})
    assert hub.join(b, "")
    assert (b.room, set(hub.rooms)) == (None, {"live://2"})
    hub.leave(a)
    hub.leave(a)
    assert hub.rooms == {}


def test_joining_the_same_room_changes_nothing():
    hub = Counted().hub
    a = FakeChannel("a")
    hub.join(a, "live://1")
    room = hub.rooms["live://1"]
    hub.rooms_changed = False

    assert hub.join(a, "live://1")
    assert hub.rooms == {"live://1": room}
    assert hub.rooms_changed is False


def test_one_room_too_many_is_refused_and_the_client_stays_where_it_is():
    hub = Counted(max_rooms=1).hub
    a, b = FakeChannel("a"), FakeChannel("b")
    hub.join(a, "live://1")

    assert hub.join(b, "live://2") is False
    assert hub.join(b, "live://1") is True
    assert hub.join(b, "live://2") is False
    assert b.room is hub.rooms["live://1"]


def test_online_is_the_clusters_count_or_else_the_own_one():
    hub = Counted().hub
    a = FakeChannel("a")
    hub.join(a, "live://1")

    assert hub.room_online(None) == 0
    assert hub.room_online(a.room) == 1
    hub.online = {"live://1": 40}
    assert hub.room_online(a.room) == 40
    hub.online = {"live://1": 0}
    assert hub.room_online(a.room) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "join"]), st.integers(0, 7), st.sampled_from(["", "r1", "r2", "r3"])),
    max_size=60,
)


@given(steps=STEPS)
def test_tables_agree_with_each_other_whatever_happens(steps):
    hub = Counted(max_rooms=2).hub
    channels = [FakeChannel(f"k{i % 5}", ip=f"ip{i % 3}", is_ws=i % 2 == 0) for i in range(8)]

    for what, index, room in steps:
        channel = channels[index]
        if what == "add" and hub.channels.get(channel.key) is not channel:
            hub.add(channel)
        elif what == "remove":
            hub.remove(channel)
        elif what == "join" and hub.channels.get(channel.key) is channel:
            hub.join(channel, room)

        ips: dict[str, int] = {}
        for one in hub.channels.values():
            ips[one.ip] = ips.get(one.ip, 0) + 1
        assert hub.ips == ips
        assert len(hub.rooms) <= 2
        assert all(len(one) for one in hub.rooms.values())
        members = {one for r in hub.rooms.values() for one in [*r.tcp, *r.ws]}
        assert members == {one for one in hub.channels.values() if one.room is not None}
        assert all(hub.rooms[one.room.key] is one.room for one in members)


# --- pushes


def test_push_keys_honours_accepts_and_counts_what_is_not_delivered():
    counted = Counted()
    hub = counted.hub
    takes, refuses, ws = (
        FakeChannel("a", accepts=(1000,)),
        FakeChannel("b", accepts=(7,)),
        FakeChannel("c", is_ws=True, accepts=(1000,)),
    )
    for one in (takes, refuses, ws):
        hub.add(one)
    wire = Wire(raw(b"x", b"y"))

    assert hub.push_keys(["a", "b", "c", "nobody", "a"], 1000, wire) == 0

    assert (takes.got, refuses.got, ws.got) == ([wire.tcp] * 2, [], [wire.ws])
    assert counted.counters.values == {"not_accepted": 2, "delivered": 6}
    assert counted.drops.values == {"comet.unknown_key": 2}


def test_push_room_reaches_every_member_whatever_it_accepts():
    counted = Counted()
    hub = counted.hub
    inside, ws, outside = FakeChannel("a"), FakeChannel("b", is_ws=True), FakeChannel("c", accepts=(1000,))
    for one in (inside, ws, outside):
        hub.add(one)
    hub.join(inside, "live://1")
    hub.join(ws, "live://1")
    wire = Wire(raw(b"x"))

    assert hub.push_room("live://1", wire) == 0
    assert hub.push_room("live://none", wire) == 0

    assert (inside.got, ws.got, outside.got) == ([wire.tcp], [wire.ws], [])
    assert counted.counters.values == {"delivered": 2}


def test_push_some_honours_accepts():
    counted = Counted()
    takes, refuses = FakeChannel("a", accepts=(1,)), FakeChannel("b")

    assert counted.hub.push_some([takes, refuses], 1, Wire(raw(b"x"))) == 0
    assert (len(takes.got), len(refuses.got)) == (1, 0)


def test_messages_for_slow_and_for_gone_clients_are_counted_apart():
    counted = Counted()
    hub = counted.hub
    slow, gone, fine = FakeChannel("slow", accepts=(1,)), FakeChannel("gone", is_ws=True), FakeChannel("fine")
    slow.is_slow = gone.is_gone = True
    for one in (slow, gone, fine):
        hub.add(one)
        hub.join(one, "r")

    assert hub.push_room("r", Wire(raw(b"x", b"y", b"z"))) == 1

    assert counted.drops.values == {"comet.slow_client": 3, "comet.client_gone": 3}
    assert counted.counters.values == {"delivered": 3}


# --- write_all


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with near, far:
        yield near, far


def direct(sock: socket.socket) -> FakeChannel:
    channel = FakeChannel()
    channel.fd, channel.indirect = sock.fileno(), False
    return channel


def test_direct_write_goes_to_the_descriptor(pair):
    channel = direct(pair[0])

    assert write_all([channel], b"hello") == []
    assert (pair[1].recv(100), channel.got) == (b"hello", [])


def test_what_the_kernel_does_not_take_goes_to_the_transport(pair):
    channel = direct(pair[0])
    big = bytes(range(256)) * 4096

    assert write_all([channel], big) == []

    (rest,) = channel.got
    received = b""
    while len(received) < len(big) - len(rest):
        received += pair[1].recv(1 << 20)
    assert 0 < len(rest) < len(big)
    assert received + rest == big


def test_full_socket_hands_everything_to_the_transport(pair):
    channel = direct(pair[0])
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(channel.fd, bytes(4096))

    assert write_all([channel], b"next") == []
    assert channel.got == [b"next"]
    assert write_all([channel], b"after") == []  # through the transport from now on
    assert channel.got == [b"next", b"after"]


def test_broken_socket_is_aborted_and_the_others_are_written(pair):
    broken, fine = direct(pair[0]), FakeChannel()
    pair[1].close()

    assert write_all([broken, fine], b"x") == [broken]
    assert (broken.got, fine.got) == ([b"write_error"], [b"x"])


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE, errno.EBADF, errno.ETIMEDOUT])
def test_every_write_error_costs_only_its_own_client(monkeypatch, number):
    broken, fine = FakeChannel(), FakeChannel()
    broken.indirect = False

    def fail(fd, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("imctl.comet.hub.os_write", fail)

    assert write_all([broken, fine], b"x") == [broken]
    assert fine.got == [b"x"]


def test_empty_batch_writes_nothing(pair):
    channel = direct(pair[0])

    assert write_all([channel], b"") == []
    pair[0].close()
    assert pair[1].recv(10) == b""
