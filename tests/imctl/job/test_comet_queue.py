from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from imctl.job.comet_queue import CometQueue
from imctl.job.config import JobConfig
from imctl.job.push import Push
from imctl.link.contract import PeerError, PeerGoneError, PeerUnavailableError
from imctl.link.methods import BROADCAST_ROOM, PUSH_MSG, Method
from imctl.link.unary import UnaryPeer
from imctl.node import Counters
from imctl.trace import TraceLog
from protocol.pb import comet
from protocol.pb.protocol import Proto
from protocol.trace import Place, TracePoint
from tests.imctl.link.fakes import eventually


class FakePeer:
    """Calls end when the test says so, or at once when an outcome is prepared."""

    def __init__(self) -> None:
        self.name = "comet-1"
        self.calls: list[int] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.outcomes: deque[Exception | None] = deque()

    def call(self, method: Method, request: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self.calls.append(int(request.keys[0]))
        self.futures.append(future)
        if self.outcomes:
            self.end(future, self.outcomes.popleft())
        return future

    def end(self, future: asyncio.Future[Any], outcome: Exception | None = None) -> None:
        if outcome is None:
            future.set_result(comet.PushMsgReply())
        else:
            future.set_exception(outcome)

    async def close(self) -> None:
        pass


class FakeUnaryPeer(FakePeer, UnaryPeer):
    def __init__(self) -> None:
        FakePeer.__init__(self)

    call = FakePeer.call
    close = FakePeer.close


class Bench:
    """A queue, its peer and what became of its pushes."""

    def __init__(self, peer: FakePeer | None = None, **settings: Any) -> None:
        self.peer = peer if peer is not None else FakePeer()
        self.counters = Counters("calls", "answered", "retries")
        self.drops = Counters()
        self.done: list[int] = []
        self.traces = TraceLog("job-1")
        self.queue = CometQueue(self.peer, JobConfig(**settings), self.counters, self.drops, self.traces)

    def put(self, *numbers: int, key: str = "k", size: int = 0) -> None:
        for number in numbers:
            request = comet.PushMsgReq(keys=[str(number)], proto=Proto(body=bytes(size)))
            self.queue.put(Push(PUSH_MSG, request, key, 1, lambda number=number: self.done.append(number)))

    async def calls(self, count: int) -> list[int]:
        await eventually(lambda: len(self.peer.calls) >= count)
        return self.peer.calls


def gone() -> PeerUnavailableError:
    return PeerUnavailableError("gone")


async def test_pushes_are_called_in_order_up_to_the_window():
    bench = Bench(comet_window=2)

    bench.put(1, 2, 3)
    assert bench.peer.calls == [1, 2]
    assert (bench.queue.waiting, bench.queue.in_flight) == (1, 2)
    bench.peer.end(bench.peer.futures[0])

    assert await bench.calls(3) == [1, 2, 3]
    assert bench.done == [1]


async def test_an_answer_that_is_there_at_once_needs_no_turn_of_the_loop():
    bench = Bench(comet_window=1)
    bench.peer.outcomes.extend([None] * 3)

    bench.put(1, 2, 3)

    assert bench.done == [1, 2, 3]
    assert bench.counters.values["answered"] == 3


async def test_a_refusal_is_a_counted_drop_and_the_rest_goes_on():
    bench = Bench()
    bench.peer.outcomes.extend([None, PeerError("signal channel full, msg dropped"), None])

    bench.put(1, 2, 3)

    assert bench.done == [1, 2, 3]
    assert bench.drops.nonzero() == {"job.comet_error": 1}


async def test_what_failed_is_tried_again_in_order_before_anything_newer():
    bench = Bench()
    bench.put(1, 2, 3, 4)
    bench.peer.end(bench.peer.futures[0])
    for future in bench.peer.futures[1:]:
        bench.peer.end(future, gone())
    await asyncio.sleep(0)
    bench.put(5)
    assert bench.peer.calls == [1, 2, 3, 4]

    bench.peer.outcomes.extend([gone(), None, None, None, None])

    # The first of them alone, until it gets through.
    assert await bench.calls(9) == [1, 2, 3, 4, 2, 2, 3, 4, 5]
    assert bench.done == [1, 2, 3, 4, 5]
    assert bench.drops.nonzero() == {}
    assert bench.counters.values["retries"] == 2


async def test_what_cannot_be_delivered_within_the_retry_time_is_dropped_and_counted():
    bench = Bench(comet_retry_s=0.05)
    bench.peer.outcomes.extend([gone()] * 100)

    bench.put(1, 2)
    await eventually(lambda: len(bench.done) == 2)

    assert bench.done == [1, 2]
    assert bench.drops.nonzero() == {"job.comet_unavailable": 2}
    bench.peer.outcomes.clear()
    bench.put(3)
    bench.peer.end(bench.peer.futures[-1])
    await asyncio.sleep(0)
    assert bench.done == [1, 2, 3]


async def test_a_call_without_an_answer_is_not_made_twice():
    bench = Bench()
    bench.peer.outcomes.append(PeerUnavailableError("no answer", 4))

    bench.put(1)

    assert bench.done == [1]
    assert bench.peer.calls == [1]
    assert bench.drops.nonzero() == {"job.comet_timeout": 1}


@pytest.mark.parametrize("settings", [{"comet_queue": 3}, {"comet_queue_bytes": 30}])
async def test_a_full_queue_drops_what_comes_and_counts_it(settings):
    bench = Bench(comet_window=1, **settings)

    bench.put(*range(6), size=10)

    assert bench.done == [4, 5]
    assert bench.drops.nonzero() == {"job.comet_queue_full": 2}
    assert bench.queue.waiting == 3


async def test_a_comet_that_left_the_registry_takes_its_queue_along():
    bench = Bench(comet_window=1)
    bench.put(1, 2, 3)

    bench.queue.close(drop=True)
    bench.peer.end(bench.peer.futures[0], gone())
    await asyncio.sleep(0)

    assert sorted(bench.done) == [1, 2, 3]
    assert bench.drops.nonzero() == {"job.comet_unavailable": 3}
    assert bench.queue.waiting == bench.queue.waiting_bytes == bench.queue.in_flight == 0


@pytest.mark.parametrize("outcome", [None, gone(), PeerError("no")], ids=["answered", "gone", "refused"])
async def test_what_has_gathered_behind_the_last_call_to_a_comet_that_left_is_done_too(outcome):
    bench = Bench(RoomPeer())
    for number in range(2):
        bench.queue.put(room_push(done=lambda number=number: bench.done.append(number)))

    bench.queue.close(drop=True)
    bench.peer.end(bench.peer.futures[0], outcome)
    await asyncio.sleep(0)

    assert sorted(bench.done) == [0, 1]
    assert bench.drops.nonzero()["job.comet_unavailable"] >= 1
    assert bench.queue.waiting == bench.queue.in_flight == 0


async def test_a_job_that_stops_leaves_undone_what_waits():
    bench = Bench(comet_window=1)
    bench.put(1, 2, 3)

    bench.queue.close(drop=False)
    bench.peer.end(bench.peer.futures[0], gone())
    await asyncio.sleep(0)

    assert bench.done == []
    assert bench.drops.nonzero() == {}


async def test_what_is_for_a_comet_that_has_ended_is_done_at_once_and_called_when_it_is_back():
    bench = Bench(comet_window=1)
    bench.put(1, 2)

    bench.peer.end(bench.peer.futures[0], PeerGoneError("connection refused"))
    await eventually(lambda: bench.done)
    bench.put(3)
    done = list(bench.done)
    bench.peer.outcomes.extend([PeerGoneError("connection refused"), None, None, None])

    assert (done, bench.drops.nonzero()) == ([1, 2, 3], {})
    assert await bench.calls(5) == [1, 1, 1, 2, 3]
    assert bench.done == [1, 2, 3]  # and not once more
    bench.put(4)
    assert bench.done == [1, 2, 3]  # it lives: its answer is waited for


async def test_what_was_done_for_a_comet_that_has_ended_is_lost_with_the_job_and_counted():
    bench = Bench(comet_window=1)
    bench.put(1, 2)
    bench.peer.end(bench.peer.futures[0], PeerGoneError("connection refused"))
    await eventually(lambda: bench.done)

    bench.queue.close(drop=False)

    assert bench.done == [1, 2]
    assert bench.drops.nonzero() == {"job.comet_unavailable": 2}


async def test_what_cannot_be_reached_and_may_live_is_not_done():
    bench = Bench(comet_window=1)
    bench.put(1, 2)

    bench.peer.outcomes.extend([gone()] * 3)
    bench.peer.end(bench.peer.futures[0], gone())

    await bench.calls(4)
    assert bench.done == []


async def test_room_messages_for_a_comet_that_has_ended_are_done_while_they_gather():
    bench = Bench(RoomPeer())
    for number in range(3):
        bench.queue.put(room_push(done=lambda number=number: bench.done.append(number)))

    bench.peer.end(bench.peer.futures[0], PeerGoneError("connection refused"))
    await eventually(lambda: len(bench.done) == 3)
    bench.queue.put(room_push(done=lambda: bench.done.append(3)))

    assert bench.done == [0, 1, 2, 3]
    bench.queue.close(drop=False)
    assert bench.drops.nonzero() == {"job.comet_unavailable": 4}


async def test_unary_calls_go_one_at_a_time_for_each_key():
    bench = Bench(FakeUnaryPeer())

    bench.put(1, 2, key="a")
    for i in range(40):
        bench.put(100 + i, key=f"key-{i}")

    assert 2 not in bench.peer.calls
    # 41 keys share 32 lanes.
    assert len(bench.peer.calls) > 10
    bench.peer.end(bench.peer.futures[0])
    assert 2 in await bench.calls(len(bench.peer.calls) + 1)


class RoomPeer(FakePeer):
    """Writes down the traces of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.traces: list[list[int]] = []

    def call(self, method: Method, request: Any) -> asyncio.Future[Any]:
        self.traces.append(list(request.traces))
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        return future


def room_push(*traces: int, done: Callable[[], None] = lambda: None) -> Push:
    request = comet.BroadcastRoomReq(roomID="r", proto=Proto(ver=1, op=9, body=b"x"), traces=traces)
    return Push(BROADCAST_ROOM, request, "r", 1, done, traces)


async def test_followed_messages_that_gather_leave_in_one_call_with_all_ids():
    peer = RoomPeer()
    bench = Bench(peer)
    for traces in ((), (7,), (), (8,)):
        bench.queue.put(room_push(*traces))
    assert peer.traces == [[]]

    peer.end(peer.futures[0])
    await asyncio.sleep(0)

    assert peer.traces == [[], [7, 8]]
    points = [TracePoint.load(point) for point in bench.traces.read()]
    assert [(point.trace, point.place, point.server, point.messages) for point in points] == [
        *((7, Place.SENT, "comet-1", 3), (8, Place.SENT, "comet-1", 3))
    ]


async def test_a_followed_message_that_finds_the_queue_full_says_so():
    bench = Bench(comet_window=1, comet_queue=1)
    request = comet.PushMsgReq(keys=["9"], proto=Proto(body=b""), traces=[7])

    bench.put(1, 2)
    bench.queue.put(Push(PUSH_MSG, request, "k", 1, lambda: None, (7,)))

    [point] = [TracePoint.load(point) for point in bench.traces.read()]
    assert (point.place, point.server, point.reason) == (Place.DROPPED, "comet-1", "job.comet_queue_full")
