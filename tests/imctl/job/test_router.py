from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.bus.contract import Record
from imctl.job.config import JobConfig
from imctl.job.router import Router, split_speed
from imctl.link.local import LocalPeer
from imctl.link.methods import BROADCAST, BROADCAST_ROOM, PUSH_MSG
from imctl.node import Counters
from imctl.trace import TraceLog
from protocol.pb import comet, logic
from protocol.pb.protocol import Proto
from protocol.trace import Place, TracePoint
from tests.imctl.link.fakes import eventually

PushMsg = logic.PushMsg


class FakeComet:
    """Answers at once and writes down the calls."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.peer = LocalPeer(
            "comet",
            {
                PUSH_MSG: self.answer(comet.PushMsgReply),
                BROADCAST: self.answer(comet.BroadcastReply),
                BROADCAST_ROOM: self.answer(comet.BroadcastRoomReply),
            },
        )

    def answer(self, reply: Any) -> Any:
        def handler(request: Any) -> Any:
            self.requests.append(request)
            return reply()

        return handler


class Bench:
    def __init__(self, *hostnames: str, **settings: Any) -> None:
        self.comets = {hostname: FakeComet() for hostname in hostnames}
        self.counters = Counters("push", "broadcast", "room", "room_batches", "room_messages", "calls", "answered")
        self.drops = Counters()
        self.done: list[Record] = []
        self.traces = TraceLog("job-1")
        self.router = Router(JobConfig(**settings), self.counters, self.drops, self.done.extend, self.traces)
        self.router.set_comets({hostname: fake.peer for hostname, fake in self.comets.items()})

    def take(self, *messages: Any, now_s: float = 0.0) -> list[Record]:
        values: Iterable[Any] = (m if isinstance(m, bytes) else m.SerializeToString() for m in messages)
        records = [Record("key", value, position) for position, value in enumerate(values)]
        self.router.take(records, now_s)
        return records


async def test_push_goes_to_the_comet_it_names_as_goim_sends_it():
    bench = Bench("comet01", "comet02")

    # goim's own bytes: PUSH, op 1000, comet01, [k1], {"test":1}
    records = bench.take(bytes.fromhex("10e8072207636f6d6574303132026b313a0a7b2274657374223a317d"))

    body = bytes.fromhex("0000001a00100001000003e8000000007b2274657374223a317d")
    assert bench.comets["comet01"].requests == [
        comet.PushMsgReq(keys=["k1"], proto=Proto(ver=1, op=9, body=body), protoOp=1000)
    ]
    assert bench.comets["comet02"].requests == []
    assert bench.done == records
    assert bench.counters.values["push"] == 1


async def test_broadcast_goes_to_every_comet_and_the_speed_is_shared():
    bench = Bench("a", "b")

    bench.take(bytes.fromhex("080210e80718643a0a7b2274657374223a317d"))  # speed 100

    body = bytes.fromhex("0000001a00100001000003e8000000007b2274657374223a317d")
    expected = comet.BroadcastReq(protoOp=1000, proto=Proto(ver=1, op=9, body=body), speed=50)
    assert bench.comets["a"].requests == bench.comets["b"].requests == [expected]
    assert len(bench.done) == 1


async def test_room_messages_that_are_ready_together_are_one_call_to_every_comet():
    bench = Bench("a", "b")
    one = bytes.fromhex("080110e8072a08746573743a2f2f313a0a7b2274657374223a317d")  # ROOM, op 1000, test://1

    records = bench.take(one, PushMsg(type=PushMsg.ROOM, operation=1001, room="test://1", msg=b"x"))

    body = bytes.fromhex("0000001a00100001000003e8000000007b2274657374223a317d0000001100100001000003e90000000078")
    expected = comet.BroadcastRoomReq(roomID="test://1", proto=Proto(ver=1, op=9, body=body))
    assert bench.comets["a"].requests == bench.comets["b"].requests == [expected]
    assert bench.done == records
    assert bench.counters.values["room_batches"] == 1
    assert bench.counters.values["room_messages"] == 2


async def test_room_messages_that_follow_wait_until_they_are_due():
    bench = Bench("a", room_delay_s=0.01)
    message = PushMsg(type=PushMsg.ROOM, operation=1, room="r", msg=b"x")
    bench.take(message, now_s=5.0)

    bench.take(message, message, now_s=5.002)
    assert len(bench.comets["a"].requests) == 1
    assert bench.router.next_due_s() == 5.01
    bench.router.flush_due(5.01)

    assert len(bench.comets["a"].requests) == 2
    assert len(bench.done) == 3


async def test_with_compat_goim_a_lone_room_message_waits_a_second():
    bench = Bench("a", compat_goim=True)

    bench.take(PushMsg(type=PushMsg.ROOM, operation=1, room="r", msg=b"x"), now_s=5.0)

    assert bench.comets["a"].requests == []
    assert bench.router.next_due_s() == 6.0
    bench.router.flush_due(6.0)
    assert len(bench.comets["a"].requests) == 1


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (PushMsg(operation=1, server="nobody", keys=["k"]), "job.unknown_server"),
        (PushMsg(type=7), "job.bad_record"),
        (b"\xff\xff", "job.bad_record"),
    ],
)
async def test_what_cannot_be_routed_is_a_counted_drop_and_done(message, reason):
    bench = Bench("a")

    records = bench.take(message)

    assert bench.drops.nonzero() == {reason: 1}
    assert bench.done == records


async def test_without_comets_everything_is_a_counted_drop():
    bench = Bench()

    records = bench.take(
        PushMsg(type=PushMsg.BROADCAST, operation=1, speed=5),
        PushMsg(type=PushMsg.ROOM, operation=1, room="r"),
        PushMsg(type=PushMsg.ROOM, operation=1, room="r"),
    )

    assert bench.drops.nonzero() == {"job.no_comet": 3}
    assert sorted(bench.done, key=lambda r: r.position) == records


async def test_a_record_for_several_comets_is_done_when_the_last_has_answered():
    bench = Bench("a")
    gate = asyncio.Event()

    async def slow(request: Any) -> Any:
        await gate.wait()
        return comet.BroadcastReply()

    slow_peer = LocalPeer("slow", {BROADCAST: slow})
    bench.router.set_comets({"a": bench.comets["a"].peer, "slow": slow_peer})

    bench.take(PushMsg(type=PushMsg.BROADCAST, operation=1))
    assert len(bench.comets["a"].requests) == 1
    assert bench.done == []
    gate.set()
    await eventually(lambda: bench.done)
    await slow_peer.close()


async def test_a_comet_that_moved_keeps_its_queue_and_one_that_left_loses_it():
    bench = Bench("a", "b")
    before = dict(bench.router.queues)
    moved = FakeComet()

    bench.router.set_comets({"a": moved.peer})
    bench.take(PushMsg(operation=1, server="a", keys=["k"]), PushMsg(operation=1, server="b", keys=["k"]))

    assert bench.router.queues == {"a": before["a"]}
    assert len(moved.requests) == 1
    assert bench.comets["a"].requests == []
    assert before["b"].closed
    assert bench.drops.nonzero() == {"job.unknown_server": 1}


@given(speed=st.integers(1, 2**31 - 1), comets=st.integers(1, 300))
def test_parts_of_a_speed_are_never_0_and_add_up(speed, comets):
    parts = split_speed(speed, comets)

    assert len(parts) == comets
    assert min(parts) >= 1
    assert max(parts) - min(parts) <= 1
    assert sum(parts) == max(speed, comets)


def test_speed_of_0_is_unthrottled_and_no_comet_is_no_error():
    assert split_speed(0, 2) == [0, 0]
    assert split_speed(-5, 2) == [0, 0]
    assert split_speed(5, 0) == []
    assert split_speed(5, 0, compat_goim=True) == []
    assert split_speed(5, 2, compat_goim=True) == [2, 2]
    assert split_speed(1, 2, compat_goim=True) == [0, 0]
    assert split_speed(-5, 2, compat_goim=True) == [-2, -2]


def places(bench: Bench, trace: int) -> list[tuple[Place, str, int]]:
    points = [TracePoint.load(point) for point in bench.traces.read(trace)]
    return [(point.place, point.server, point.messages) for point in points]


async def test_a_followed_push_is_noted_and_goes_on_with_its_id():
    bench = Bench("a", "b")

    bench.take(PushMsg(operation=1, server="a", keys=["k"], trace=7), PushMsg(operation=1, server="a", keys=["k"]))
    bench.take(PushMsg(type=PushMsg.BROADCAST, operation=1, trace=8))

    assert [list(request.traces) for request in bench.comets["a"].requests] == [[7], [], [8]]
    assert [list(request.traces) for request in bench.comets["b"].requests] == [[8]]
    assert places(bench, 7) == [(Place.READ, "a", 0), (Place.ROUTED, "a", 1), (Place.SENT, "comet", 1)]
    assert places(bench, 8) == [
        *((Place.READ, "", 0), (Place.ROUTED, "", 1), (Place.SENT, "comet", 1), (Place.SENT, "comet", 1))
    ]


async def test_what_waits_for_a_rooms_batch_is_routed_when_it_leaves():
    bench = Bench("a", room_delay_s=0.01)
    plain = PushMsg(type=PushMsg.ROOM, operation=1, room="r", msg=b"x")
    followed = PushMsg(type=PushMsg.ROOM, operation=1, room="r", msg=b"x", trace=7)
    other = PushMsg(type=PushMsg.ROOM, operation=1, room="s", msg=b"x", trace=9)
    bench.take(plain, now_s=5.0)
    bench.take(followed, plain, other, now_s=5.002)
    assert places(bench, 7) == [(Place.READ, "", 0)]

    bench.router.flush_due(5.01)

    assert places(bench, 7) == [(Place.READ, "", 0), (Place.ROUTED, "", 2), (Place.SENT, "comet", 2)]
    assert [list(request.traces) for request in bench.comets["a"].requests] == [[], [9], [7]]
    assert places(bench, 9)[1] == (Place.ROUTED, "", 1)


async def test_a_followed_message_is_read_when_its_record_came_from_the_bus():
    bench = Bench("a")

    value = PushMsg(operation=1, server="a", keys=["k"], trace=7).SerializeToString()
    bench.router.take([Record("key", value, 0)], 0.0, read_ns=123)

    assert TracePoint.load(bench.traces.read()[0]).at_ns == 123


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (PushMsg(operation=1, server="gone", keys=["k"], trace=7), "job.unknown_server"),
        (PushMsg(type=PushMsg.BROADCAST, operation=1, trace=7), "job.no_comet"),
        (PushMsg(type=PushMsg.ROOM, operation=1, room="r", trace=7), "job.no_comet"),
    ],
)
async def test_a_followed_message_that_is_given_up_says_why(message, reason):
    bench = Bench()

    bench.take(message)

    last = TracePoint.load(bench.traces.read(7)[-1])
    assert (last.place, last.reason, last.server) == (Place.DROPPED, reason, message.server)
    assert bench.drops.nonzero() == {reason: 1}
