from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imctl.bus.offsets import OffsetTracker


def test_the_position_is_the_first_that_is_not_done():
    tracker = OffsetTracker(10)
    for offset in (10, 11, 12, 15):
        assert tracker.add(offset)

    assert tracker.position == 10
    assert tracker.done(11)
    assert tracker.position == 10
    assert tracker.done(10)
    assert tracker.position == 12
    assert tracker.done(12)
    assert tracker.done(15)
    assert tracker.position == 16
    assert len(tracker) == 0


def test_what_is_known_or_done_already_changes_nothing():
    tracker = OffsetTracker(0)
    tracker.add(0)

    assert not tracker.add(0)
    assert tracker.done(0)
    assert not tracker.done(0)
    assert not tracker.done(7)
    assert tracker.position == 1


@given(st.permutations(range(20)), st.integers(0, 20))
def test_nothing_before_the_position_is_open_whatever_the_order(order: list[int], count: int):
    tracker = OffsetTracker(0)
    for offset in range(20):
        tracker.add(offset)

    for offset in order[:count]:
        tracker.done(offset)

    left = sorted(set(range(20)) - set(order[:count]))
    assert sorted(tracker) == left
    assert tracker.position == (left[0] if left else 20)
