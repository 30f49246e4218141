from __future__ import annotations

import asyncio

from imctl.decode.traffic import Side
from imctl.tap import Accepted, Backlog, Gone, Left, Passed, Refused, TapEvent

CLIENT, COMET = ("10.0.0.1", 1), ("10.0.0.2", 2)


def accepted(number: int = 1) -> Accepted:
    return Accepted(0, number, CLIENT, COMET)


def passed(size: int, number: int = 1) -> Passed:
    return Passed(0, number, Side.CLIENT, bytes(size))


class Rig:
    """A backlog whose reader is ready when the test says so."""

    def __init__(self, max_bytes: int = 10_000, *, ready: bool = True) -> None:
        self.taken: list[TapEvent] = []
        self.failures: list[Exception] = []
        self.is_ready = ready
        self.backlog = Backlog(self.taken.append, lambda: self.is_ready, self.failures.append, max_bytes=max_bytes)

    async def drain(self) -> list[TapEvent]:
        self.is_ready = True
        assert await self.backlog.drain(10)
        return self.taken


async def test_events_are_taken_in_order_and_not_within_watch():
    rig = Rig()
    events = [accepted(), passed(3), Gone(0, 1, Side.CLIENT, False)]

    for event in events:
        rig.backlog.watch(event)
    at_once = list(rig.taken)

    assert (at_once, await rig.drain()) == ([], events)


async def test_data_without_room_is_left_out_and_told_where_it_was():
    rig = Rig(ready=False)

    for event in [accepted(), passed(5000), passed(8000), passed(7000)]:
        rig.backlog.watch(event)
    await rig.drain()
    rig.backlog.watch(passed(1))

    assert await rig.drain() == [accepted(), passed(5000), Left(0, 1, Side.CLIENT, 15000), passed(1)]
    assert rig.backlog.bytes_left_out == 15000


async def test_what_was_left_out_last_is_told_at_the_end():
    rig = Rig(ready=False)
    gone = Gone(0, 1, None, False)

    for event in [accepted(), passed(9000), passed(9000), gone]:
        rig.backlog.watch(event)

    assert await rig.drain() == [accepted(), passed(9000), Left(0, 1, Side.CLIENT, 9000), gone]


async def test_more_than_all_the_room_is_taken_when_nothing_waits():
    rig = Rig(max_bytes=100)

    rig.backlog.watch(passed(5000))

    assert await rig.drain() == [passed(5000)]


async def test_connections_that_begin_without_room_are_left_out_whole():
    rig = Rig(max_bytes=1000, ready=False)

    for event in [
        accepted(),
        passed(0),
        accepted(2),
        passed(7, 2),
        Gone(0, 2, None, False),
        Refused(0, 3, CLIENT, "", ""),
    ]:
        rig.backlog.watch(event)
    await rig.drain()
    rig.backlog.watch(accepted(4))

    assert await rig.drain() == [accepted(), passed(0), accepted(4)]
    assert (rig.backlog.connections_left_out, rig.backlog.bytes_left_out) == (2, 7)


async def test_a_reader_that_is_not_ready_is_waited_for_only_so_long():
    rig = Rig(ready=False)

    for event in [accepted(), passed(7), Gone(0, 1, None, False)]:
        rig.backlog.watch(event)

    assert await rig.backlog.drain(0.01) is False
    assert rig.taken == []
    assert (rig.backlog.connections_left_out, rig.backlog.bytes_left_out) == (1, 7)


async def test_each_turn_of_the_loop_does_a_bounded_piece_of_work():
    times = iter(range(0, 10**9, 600_000))  # each event takes 0.6 ms
    taken: list[int] = []
    backlog = Backlog(
        lambda event: taken.append(event.number), lambda: True, lambda exc: None, clock_ns=lambda: next(times)
    )
    turns: list[int] = []

    for number in range(20):
        backlog.watch(passed(1, number))
    while len(taken) < 20:
        before = len(taken)
        await asyncio.sleep(0)
        turns.append(len(taken) - before)

    assert max(turns) == 2


async def test_a_failure_ends_the_work_and_is_told():
    failures: list[Exception] = []

    def fail(event: TapEvent) -> None:
        raise OSError("disk full")

    backlog = Backlog(fail, lambda: True, failures.append)
    backlog.watch(accepted())
    backlog.watch(passed(1))
    assert await backlog.drain(10)
    backlog.watch(passed(1))

    assert [str(exc) for exc in failures] == ["disk full"]
    assert await backlog.drain(10)
