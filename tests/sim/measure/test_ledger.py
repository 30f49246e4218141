from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.measure.ledger import Cursor, Delivery, Stay, StreamLog, StreamSummary

PHASES = 3
SECOND = 1_000_000_000


@dataclass
class Story:
    """What one stream published, and what reached one client."""

    log: StreamLog
    arrivals: list[int]
    joined_ns: int
    left_ns: int | None
    by_will: bool = False


@st.composite
def stories(draw):
    length = draw(st.integers(0, 25))
    log = StreamLog()
    now = 100
    # Mostly closer together than the second that one who leaves by its own will is spared, sometimes not.
    step_ns = draw(st.sampled_from([1, 1, 400_000_000]))
    phase = 0
    for _ in range(length):
        phase = min(phase + draw(st.sampled_from([0, 0, 0, 0, 1])), PHASES - 1)
        now += draw(st.integers(0, 5)) * step_ns
        log.phase.append(phase)
        log.sent_ns.append(now)
        log.done_ns.append(now + draw(st.integers(1, 20)) * step_ns)
        log.accepted.append(draw(st.sampled_from([1, 1, 1, 1, 0])))
    # In order at first; then some are lost, repeated and moved, as a bad cluster would do it.
    arrivals = list(range(length))
    for _ in range(draw(st.integers(0, 6))):
        if not arrivals:
            break
        at = draw(st.integers(0, len(arrivals) - 1))
        to = draw(st.integers(0, len(arrivals) - 1))
        match draw(st.sampled_from(["lose", "repeat", "move", "late join", "early leave", "beyond"])):
            case "lose":
                del arrivals[at]
            case "repeat":
                arrivals.insert(to, arrivals[at])
            case "move":
                arrivals.insert(to, arrivals.pop(at))
            case "late join":
                del arrivals[:at]
            case "early leave":
                del arrivals[at:]
            case "beyond":
                arrivals.insert(to, length + draw(st.integers(0, 3)))
    joined_ns = draw(st.integers(80, now + 2))
    left_ns = draw(st.one_of(st.none(), st.integers(joined_ns, now + 2)))
    return Story(log, arrivals, joined_ns, left_ns, left_ns is not None and draw(st.booleans()))


def told_slowly(story):
    """The rules of sim/measure/ledger.py, word for word, without any cleverness."""
    log, deliveries = story.log, [Delivery() for _ in range(PHASES)]
    first_copies = list(dict.fromkeys(story.arrivals))
    for sequence in range(len(log)):
        begun = log.sent_ns[sequence]
        end = None if story.left_ns is None else story.left_ns - (SECOND if story.by_will else 0)
        is_member = story.joined_ns <= begun and (end is None or begun < end)
        if is_member and log.accepted[sequence]:
            delivery = deliveries[log.phase[sequence]]
            delivery.expected += 1
            if sequence not in story.arrivals:
                delivery.lost += 1
    for sequence, copies in Counter(story.arrivals).items():
        if sequence < len(log):
            deliveries[log.phase[sequence]].duplicated += copies - 1
    for at, sequence in enumerate(first_copies):
        if sequence >= len(log):
            deliveries[-1].unexpected += 1
            continue
        acknowledged = log.done_ns[sequence] if log.accepted[sequence] else None
        before = [log.sent_ns[other] for other in first_copies[:at] if other < len(log)]
        if acknowledged is not None and any(begun >= acknowledged for begun in before):
            deliveries[log.phase[sequence]].reordered += 1
    return deliveries


def told_by_cursor(story):
    """As a client does it: a cursor while messages come, the log at the end."""
    log, deliveries = story.log, [Delivery() for _ in range(PHASES)]
    summary = StreamSummary(log, PHASES)
    cursor = None
    for sequence in story.arrivals:
        if cursor is None:
            cursor = Cursor()
        highest = cursor.next - 1
        if not cursor.take(sequence):
            if sequence < len(log):
                deliveries[log.phase[sequence]].duplicated += 1
        elif sequence < highest:
            phase = summary.reordered(sequence, highest)
            if phase is not None:
                deliveries[phase].reordered += 1
    summary.judge(cursor, Stay(0, story.joined_ns, story.left_ns, story.by_will), deliveries)
    if cursor is not None:
        deliveries[-1].unexpected += cursor.beyond(len(log))
    return deliveries


@settings(max_examples=500)
@given(stories())
def test_every_count_of_every_phase_is_what_the_rules_say(story):
    by_cursor, slowly = told_by_cursor(story), told_slowly(story)
    if any(sequence >= len(story.log) for sequence in story.arrivals):
        # Order is judged by the highest number seen, and of that one nobody knows when it was pushed.
        for delivery in (*by_cursor, *slowly):
            delivery.reordered = 0

    assert by_cursor == slowly


def log_of(count, *, took_ns=5, every_ns=10):
    log = StreamLog()
    for number in range(count):
        log.phase.append(0)
        log.sent_ns.append(100 + number * every_ns)
        log.done_ns.append(100 + number * every_ns + took_ns)
        log.accepted.append(1)
    return log


def judged(log, arrivals, *, joined_ns=0, left_ns=None, by_will=False):
    return told_by_cursor(Story(log, arrivals, joined_ns, left_ns, by_will))[0]


def test_a_member_that_got_nothing_has_lost_everything():
    assert judged(log_of(4), []) == Delivery(expected=4, lost=4)


def test_the_first_and_the_last_message_can_be_lost_too():
    assert judged(log_of(4), [1, 2]) == Delivery(expected=4, lost=2)


def test_a_message_pushed_before_the_auth_reply_was_read_may_come_or_not():
    assert judged(log_of(3), [1, 2], joined_ns=101) == Delivery(expected=2)
    assert judged(log_of(3), [0, 1, 2], joined_ns=101) == Delivery(expected=2)


def test_nothing_is_expected_by_who_has_left_and_what_was_on_its_way_is_lost_there():
    assert judged(log_of(4), [0], left_ns=111) == Delivery(expected=2, lost=1)


def test_who_leaves_by_its_own_will_need_not_get_what_was_pushed_in_the_second_before():
    log = log_of(4, every_ns=SECOND // 2)
    left_ns = log.sent_ns[3] + 1

    assert judged(log, [0], left_ns=left_ns, by_will=True) == Delivery(expected=2, lost=1)
    assert judged(log, [0, 1, 2, 3], left_ns=left_ns, by_will=True) == Delivery(expected=2)
    # To the nanosecond: what was pushed a second before had to come.
    assert judged(log, [], left_ns=log.sent_ns[2], by_will=True) == Delivery(expected=0)
    assert judged(log, [], left_ns=log.sent_ns[2] + 1, by_will=True) == Delivery(expected=1, lost=1)


def test_a_stay_shorter_than_that_second_expects_nothing():
    log = log_of(5)

    assert judged(log, [], joined_ns=100, left_ns=SECOND, by_will=True) == Delivery()


def test_a_message_that_was_not_acknowledged_may_come_or_not():
    log = log_of(3)
    log.accepted[1] = 0

    assert judged(log, [0, 2]) == judged(log, [0, 1, 2]) == judged(log, [0, 2, 1]) == Delivery(expected=2)


def test_an_order_is_broken_only_where_pushes_did_not_overlap():
    assert judged(log_of(2, took_ns=5), [1, 0]) == Delivery(expected=2, reordered=1)
    assert judged(log_of(2, took_ns=15), [1, 0]) == Delivery(expected=2)


def test_a_late_copy_is_a_duplicate_and_not_out_of_order():
    assert judged(log_of(3), [0, 1, 2, 0]) == Delivery(expected=3, duplicated=1)


def test_a_number_beyond_all_reason_is_refused_before_it_fills_memory():
    cursor = Cursor()

    with pytest.raises(ValueError, match="sequence 4000000000"):
        cursor.take(4_000_000_000)


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(0, 45), st.integers(0, 45))
def test_a_cursor_knows_what_it_has_seen_whatever_the_order(arrivals, low, high):
    cursor, seen = Cursor(), set()

    for sequence in arrivals:
        assert cursor.take(sequence) == (sequence not in seen)
        seen.add(sequence)

    unseen = [number for begin, end in cursor.unseen(low, high) for number in range(begin, end)]
    assert unseen == [number for number in range(low, high) if number not in seen]
    assert cursor.beyond(low) == len([number for number in seen if number >= low])


def test_a_long_absence_costs_no_more_memory_than_a_short_one():
    cursor = Cursor()

    for sequence in (0, 10_000_000, 20_000_000):
        cursor.take(sequence)

    assert cursor.missing == [1, 10_000_000, 10_000_001, 20_000_000]


def test_losses_by_message_are_those_of_all_receivers_together():
    log = log_of(6)
    log.accepted[4] = 0
    summary = StreamSummary(log, 1)
    gaps = Cursor()
    for sequence in (0, 2, 5):
        gaps.take(sequence)

    for cursor in (None, gaps):
        summary.judge(cursor, Stay(0, 0), [Delivery()])

    assert list(summary.losses()) == [(0, 1), (1, 2), (2, 1), (3, 2), (5, 1)]


def test_deliveries_add_up():
    total = Delivery(1, 2, 3, 4, 5)

    total.add(Delivery(10, 20, 30, 40, 50))

    assert total == Delivery(11, 22, 33, 44, 55)
