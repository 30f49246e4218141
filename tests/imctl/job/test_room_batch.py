from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from imctl.job.room_batch import RoomBatch, RoomBatcher

DELAY_S = 0.010


def batcher(*, eager: bool = True, max_messages: int = 20, max_bytes: int = 65536) -> RoomBatcher[int]:
    return RoomBatcher(delay_s=DELAY_S if eager else 1.0, max_messages=max_messages, max_bytes=max_bytes, eager=eager)


def sources(batches: Sequence[RoomBatch[int]]) -> list[tuple[int, ...]]:
    return [batch.sources for batch in batches]


def test_a_quiet_room_sends_at_once_all_that_is_ready():
    rooms = batcher()
    for i in range(3):
        assert rooms.add("live://1", b"%d" % i, i, 5.0) is None

    assert rooms.due(5.0) == [RoomBatch("live://1", b"012", (0, 1, 2))]


def test_what_follows_waits_for_the_end_of_the_delay():
    rooms = batcher()
    rooms.add("r", b"a", 1, 5.0)
    rooms.due(5.0)

    rooms.add("r", b"b", 2, 5.001)
    rooms.add("r", b"c", 3, 5.009)

    assert rooms.due(5.0099) == []
    assert rooms.next_due_s() == 5.010
    assert sources(rooms.due(5.010)) == [(2, 3)]


def test_a_room_is_forgotten_when_it_has_been_quiet_for_the_delay():
    rooms = batcher()
    rooms.add("r", b"a", 1, 5.0)
    rooms.due(5.0)
    assert rooms.rooms == 1

    assert rooms.due(5.02) == []

    assert rooms.rooms == 0
    assert rooms.next_due_s() is None
    rooms.add("r", b"b", 2, 5.021)
    assert sources(rooms.due(5.021)) == [(2,)]


def test_a_full_batch_leaves_at_once():
    rooms = batcher(max_messages=3)

    full = [batch for i in range(7) if (batch := rooms.add("r", b"x", i, 5.0))]

    assert sources(full) == [(0, 1, 2), (3, 4, 5)]
    assert rooms.due(5.0) == []
    assert sources(rooms.due(5.01)) == [(6,)]


def test_a_batch_is_full_by_bytes():
    rooms = batcher(max_bytes=100)

    assert rooms.add("r", bytes(60), 1, 5.0) is None
    batch = rooms.add("r", bytes(60), 2, 5.0)

    assert batch is not None
    assert len(batch.body) == 120


def test_rooms_do_not_wait_for_each_other():
    rooms = batcher()
    rooms.add("a", b"", 1, 5.0)
    rooms.due(5.0)
    rooms.add("a", b"", 2, 5.004)

    rooms.add("b", b"", 3, 5.004)

    assert [(batch.room, batch.sources) for batch in rooms.due(5.004)] == [("b", (3,))]


def test_goims_rule_waits_from_the_first_message_of_a_batch():
    rooms = batcher(eager=False)
    rooms.add("r", b"", 1, 5.0)
    assert rooms.due(5.999) == []
    assert rooms.next_due_s() == 6.0

    assert sources(rooms.due(6.0)) == [(1,)]

    rooms.add("r", b"", 2, 6.5)
    assert rooms.next_due_s() == 7.5
    for i in range(3, 21):
        assert rooms.add("r", b"", i, 6.6) is None
    full = rooms.add("r", b"", 21, 6.6)
    assert full is not None
    assert len(full.sources) == 20
    assert rooms.rooms == 0


def test_flush_all_leaves_nothing():
    rooms = batcher()
    rooms.add("a", b"", 1, 5.0)
    rooms.due(5.0)
    rooms.add("a", b"", 2, 5.0)
    rooms.add("b", b"", 3, 5.0)

    assert sources(rooms.flush_all()) == [(2,), (3,)]
    assert rooms.rooms == 0
    assert rooms.next_due_s() is None


@given(
    eager=st.booleans(),
    max_messages=st.integers(1, 5),
    max_bytes=st.integers(1, 40),
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 15)), max_size=80),
)
def test_nothing_is_lost_order_is_kept_and_nobody_waits_longer_than_the_delay(eager, max_messages, max_bytes, steps):
    """The caller asks when it is told to, and after everything that is ready together."""
    delay = 10
    rooms: RoomBatcher[tuple[int, int]] = RoomBatcher(
        delay_s=delay, max_messages=max_messages, max_bytes=max_bytes, eager=eager
    )
    now = 0
    sent: dict[str, list[int]] = {"a": [], "b": [], "c": []}

    def take(batches: Sequence[RoomBatch[tuple[int, int]]]) -> None:
        for batch in batches:
            assert 1 <= len(batch.sources) <= max_messages
            assert batch.body == b"".join(b"%d," % number for number, _ in batch.sources)
            for number, added in batch.sources:
                assert now - added <= delay
                sent[batch.room].append(number)

    added: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for number, (room, pause) in enumerate(steps):
        until = now + pause
        if pause:
            take(rooms.due(now))
        while (due := rooms.next_due_s()) is not None and due <= until:
            now = max(now, int(due))
            take(rooms.due(now))
        now = until
        batch = rooms.add(room, b"%d," % number, (number, now), now)
        added[room].append(number)
        take([batch] if batch is not None else [])
    take(rooms.due(now))
    take(rooms.flush_all())

    assert sent == added
