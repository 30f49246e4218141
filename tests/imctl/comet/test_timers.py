from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.comet.timers import DeadlineWheel, RunningClock

TICK_S = 0.1


@dataclass(eq=False)
class Item:
    deadline: float
    tick: int = 0


def wheel_with(*items: Item) -> DeadlineWheel[Item]:
    wheel: DeadlineWheel[Item] = DeadlineWheel(TICK_S)
    for item in items:
        wheel.add(item)
    return wheel


def test_item_ends_once_its_deadline_has_passed():
    item = Item(5.0)
    wheel = wheel_with(item)

    assert wheel.expired(4.99) == []
    assert wheel.expired(5.0) == []  # its bucket is looked at when it is over
    assert wheel.expired(5.1) == [item]
    assert (wheel.expired(6.0), len(wheel), item.tick) == ([], 0, 0)


def test_deadline_moved_later_costs_nothing_until_the_old_one():
    item = Item(5.0)
    wheel = wheel_with(item)
    item.deadline = 7.0

    assert wheel.expired(6.9) == []
    assert len(wheel) == 1
    assert wheel.expired(7.1) == [item]


def test_deadline_moved_earlier_by_adding_again():
    item = Item(50.0)
    wheel = wheel_with(item)
    item.deadline = 1.0
    wheel.add(item)

    assert wheel.expired(1.1) == [item]
    assert wheel.expired(60.0) == []


def test_discarded_item_never_ends_and_can_be_added_again():
    item, other = Item(5.0), Item(5.0)
    wheel = wheel_with(item, other)

    wheel.discard(item)
    wheel.discard(item)

    assert len(wheel) == 1
    assert wheel.expired(9.0) == [other]
    item.deadline = 10.0
    wheel.add(item)
    assert wheel.expired(10.1) == [item]


def test_deadline_in_the_past_ends_with_the_next_tick():
    wheel = wheel_with()
    wheel.expired(100.0)
    late = Item(3.0)
    wheel.add(late)

    assert wheel.expired(100.0) == []
    assert wheel.expired(100.1) == [late]


def test_long_silence_is_caught_up_in_one_call():
    items = [Item(float(i)) for i in range(1, 200)]
    wheel = wheel_with(*items)

    assert wheel.expired(0.0) == []
    assert wheel.expired(1e6) == items
    assert len(wheel) == 0


def test_time_standing_still_or_going_back_ends_nothing_twice():
    item = Item(5.0)
    wheel = wheel_with(item)

    assert wheel.expired(5.2) == [item]
    assert [wheel.expired(5.2), wheel.expired(5.1), wheel.expired(0.0)] == [[], [], []]
    item.deadline = 5.25
    wheel.add(item)
    assert wheel.expired(5.4) == [item]


TIMES = st.floats(min_value=0.0, max_value=30.0, allow_nan=False)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 5), TIMES),
        st.tuples(st.just("later"), st.integers(0, 5), TIMES),
        st.tuples(st.just("discard"), st.integers(0, 5), st.just(0.0)),
        st.tuples(st.just("advance"), st.just(0), st.floats(min_value=0.0, max_value=5.0)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("tick_s", [0.1, 1.0, 0.03])
@given(steps=STEPS)
def test_every_item_ends_after_its_deadline_and_at_most_a_tick_late(tick_s, steps):
    wheel: DeadlineWheel[Item] = DeadlineWheel(tick_s)
    items = [Item(0.0) for _ in range(6)]
    end_by: dict[int, float] = {}  # of those in the wheel, when they have to have ended
    now = 0.0

    for what, index, value in [*steps, ("advance", 0, 100.0)]:
        item = items[index]
        if what == "add":
            item.deadline = value
            wheel.add(item)
            end_by[index] = max(value, now) + tick_s
        elif what == "later" and index in end_by:
            item.deadline += value
            end_by[index] = max(item.deadline, now) + tick_s
        elif what == "discard":
            wheel.discard(item)
            end_by.pop(index, None)
        elif what == "advance":
            now += value
            ended = [items.index(one) for one in wheel.expired(now)]
            assert all(items[one].deadline <= now for one in ended)
            assert len(set(ended)) == len(ended)
            for one in ended:
                del end_by[one]
            assert [one for one, limit in end_by.items() if limit + 1e-9 < now] == []
        assert len(wheel) == len(end_by)
    assert end_by == {}


class Clock:
    """Seconds as a test says, and a RunningClock over them."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.running = RunningClock(lambda: self.at, TICK_S)

    def tick_after(self, seconds: float) -> float:
        self.at += seconds
        return self.running.tick()


def test_a_standstill_is_left_out_of_the_running_time():
    clock = Clock()

    clock.tick_after(TICK_S)
    ended = clock.tick_after(TICK_S + 7.0)

    assert ended == pytest.approx(1000.0 + 2 * TICK_S)
    assert clock.tick_after(TICK_S) == pytest.approx(1000.0 + 3 * TICK_S)
    assert clock.running.now() == pytest.approx(1000.0 + 3 * TICK_S)


def test_ticks_that_are_a_little_late_are_no_standstill():
    clock = Clock()

    for _ in range(50):
        clock.tick_after(1.9 * TICK_S)

    assert clock.running.now() == pytest.approx(clock.at)


def test_running_time_never_falls_at_a_tick():
    clock = Clock()
    seen = [clock.tick_after(seconds) for seconds in (0.0, 5.0, TICK_S, 0.0, 60.0, 3 * TICK_S, 1.5 * TICK_S)]

    assert seen == sorted(seen)
