"""What imctl.messages.contract promises, on every backend; a new log is a fixture that opens one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from imctl.messages.contract import Batch, Cursor, Entry, KeptMessage, Limits, MessageLog, Offer, mid_scope, room_scope
from imctl.messages.factory import open_messages

_names = itertools.count()

OpenLog = Callable[..., MessageLog]


@pytest.fixture
def sqlite_log(tmp_path: Path) -> OpenLog:
    return lambda **limits: open_messages(f"sqlite:///{tmp_path}/messages.db", Limits(**limits))


@pytest.fixture
def fakeredis_log() -> OpenLog:
    pytest.importorskip("lupa", reason="fakeredis:// needs lupa")
    url = f"fakeredis://contract-{next(_names)}"
    return lambda **limits: open_messages(url, Limits(**limits))


@pytest.fixture
def redis_log(redis_url: str) -> OpenLog:
    return lambda **limits: open_messages(redis_url, Limits(**limits))


@pytest.fixture
def redis_cluster_log(redis_cluster_url: str) -> OpenLog:
    return lambda **limits: open_messages(redis_cluster_url, Limits(**limits))


@pytest.fixture(params=["sqlite", "fakeredis", "redis", "redis_cluster"])
async def open_log(request: pytest.FixtureRequest) -> AsyncIterator[OpenLog]:
    opener: OpenLog = request.getfixturevalue(f"{request.param}_log")
    opened: list[MessageLog] = []

    def opening(**limits: object) -> MessageLog:
        opened.append(opener(**limits))
        return opened[-1]

    yield opening
    for log in opened:
        await log.close()


@pytest.fixture
def log(open_log: OpenLog) -> MessageLog:
    return open_log()


async def place(
    log: MessageLog, mid: int, *bodies: str, time_ms: int = 1, live: dict[str, str] | None = None
) -> list[int]:
    """Offer messages one after the other; return their ids."""
    return [(await log.offer([Offer(mid, 1000, body.encode(), time_ms, live or {})]))[0].id for body in bodies]


async def take(log: MessageLog, mid: int, key: str = "k", oldest_ms: int = 0) -> Batch:
    batch = await log.waiting(mid, key, oldest_ms)
    assert batch is not None
    return batch


def bodies(messages: Batch | list[KeptMessage]) -> list[str]:
    return [message.body.decode() for message in (messages.messages if isinstance(messages, Batch) else messages)]


async def hand_over(log: MessageLog, mid: int, key: str = "k") -> list[str]:
    """Take everything that waits for a connection and move its cursor."""
    handed: list[str] = []
    while (batch := await take(log, mid, key)).messages:
        assert await log.advance(batch.cursor, batch.messages[-1].id)
        handed += bodies(batch)
    return handed


# --- queues ---------------------------------------------------------------------


async def test_ids_count_from_one_for_each_user(log):
    assert await place(log, 1, "a", "b", "c") == [1, 2, 3]
    assert await place(log, 2, "a") == [1]


async def test_a_message_comes_back_as_it_was_placed(log):
    every_byte = bytes(range(256)) + b"\n\r\n\x00"
    await log.offer([Offer(-(2**62), -7, every_byte, 1_700_000_000_123), Offer(-(2**62), 2**31 - 1, b"", 5)])
    await log.open_cursor(-(2**62), "k", "c", again=False)

    batch = await take(log, -(2**62))

    assert batch.messages == (
        KeptMessage(1, -7, every_byte, 1_700_000_000_123),
        KeptMessage(2, 2**31 - 1, b"", 5),
    )


async def test_ids_go_on_after_everything_was_acknowledged_deleted_or_reopened(open_log):
    log = open_log()
    await place(log, 1, "a", "b")
    await log.acknowledge(1, 2)

    assert await place(log, 1, "c") == [3]
    await log.delete(1)
    assert await place(log, 1, "d") == [4]
    if log.url.startswith("fakeredis"):
        return
    await log.close()
    assert await place(open_log(), 1, "e") == [5]


async def test_an_acknowledgement_is_cumulative(log):
    await place(log, 1, "a", "b", "c", "d")

    assert await log.acknowledge(1, 3) == 3
    assert await log.acknowledge(1, 3) == 0
    assert await log.acknowledge(1, 2) == 0

    await log.open_cursor(1, "k", "c", again=False)
    assert bodies(await take(log, 1)) == ["d"]
    assert (await log.queue(1)).messages == 1


@pytest.mark.parametrize("sequence", [0, -1, -(2**31), 5, 2**31 - 1])
async def test_an_acknowledgement_of_what_was_never_sent_has_no_effect(log, sequence):
    await place(log, 1, "a", "b", "c", "d")

    assert await log.acknowledge(1, sequence) == 0
    assert (await log.queue(1)).messages == 4


async def test_acknowledging_for_a_user_nobody_wrote_to_has_no_effect(log):
    assert await log.acknowledge(77, 1) == 0
    assert await place(log, 77, "a") == [1]


async def test_the_queue_tells_what_waits(log):
    await place(log, 1, "old", time_ms=1000)
    await place(log, 1, "newer", time_ms=2000)
    await log.open_cursor(1, "k", "comet-1", again=False)

    queue = await log.queue(1)

    assert (queue.mid, queue.messages, queue.bytes, queue.oldest_ms, queue.last_id) == (1, 2, 8, 1000, 2)
    assert [(c.mid, c.key, c.server, c.handed) for c in queue.cursors] == [(1, "k", "comet-1", 0)]
    empty = await log.queue(2)
    assert (empty.messages, empty.bytes, empty.oldest_ms, empty.last_id, empty.cursors) == (0, 0, None, 0, ())


async def test_one_call_places_for_many_users(log):
    placed = await log.offer([Offer(mid, 1000, b"x", 1) for mid in (1, 2, 1, 3)])

    assert [p.id for p in placed] == [1, 1, 2, 1]
    assert await log.offer([]) == []


# --- bounds ---------------------------------------------------------------------


async def test_over_the_count_the_oldest_goes_and_is_reported(open_log):
    log = open_log(max_messages=3)
    await log.open_cursor(1, "k", "c", again=False)
    reported = [(await log.offer([Offer(1, 1000, body, 1)]))[0].over_count for body in (b"a", b"b", b"c", b"d", b"e")]

    assert reported == [0, 0, 0, 1, 1]
    assert bodies(await take(log, 1)) == ["c", "d", "e"]
    assert ((await log.queue(1)).messages, (await log.queue(1)).bytes) == (3, 3)


async def test_over_the_bytes_the_oldest_go_and_the_newest_stays(open_log):
    log = open_log(max_bytes=10)
    await log.open_cursor(1, "k", "c", again=False)
    reported = [
        (await log.offer([Offer(1, 1000, body, 1)]))[0].over_bytes
        for body in (b"1111", b"2222", b"333", b"x" * 9, b"y" * 50)
    ]

    assert reported == [0, 0, 1, 2, 1]
    assert (await log.queue(1)).bytes == 50
    assert await hand_over(log, 1) == ["y" * 50]
    assert await log.acknowledge(1, 5) == 1
    assert (await log.queue(1)).bytes == 0


async def test_a_batch_has_at_most_100_messages(log):
    await log.offer([Offer(1, 1000, str(i).encode(), 1) for i in range(250)])
    await log.open_cursor(1, "k", "c", again=False)

    sizes = []
    while (batch := await take(log, 1)).messages:
        sizes.append(len(batch.messages))
        await log.advance(batch.cursor, batch.messages[-1].id)

    assert sizes == [100, 100, 50]


async def test_a_batch_has_at_most_32_kb_and_a_larger_message_goes_alone(log):
    sizes = (20_000, 12_768, 1, 40_000, 1)
    await log.offer([Offer(1, 1000, b"x" * size, 1) for size in sizes])
    await log.open_cursor(1, "k", "c", again=False)

    found = []
    while (batch := await take(log, 1)).messages:
        found.append([len(message.body) for message in batch.messages])
        await log.advance(batch.cursor, batch.messages[-1].id)

    assert found == [[20_000, 12_768], [1], [40_000], [1]]


async def test_what_is_too_old_is_not_handed_over(log):
    await place(log, 1, "old", time_ms=1000)
    await place(log, 1, "new", time_ms=3000)
    await log.open_cursor(1, "k", "c", again=False)

    assert bodies(await take(log, 1, oldest_ms=2000)) == ["new"]
    assert (await take(log, 1, oldest_ms=4000)).messages == ()


async def test_sweeping_deletes_what_is_too_old_and_reports_it(open_log):
    log = open_log(max_age_s=10)
    for time_ms, body in ((1000, b"old"), (1000, b"old too"), (9000, b"new")):
        await log.offer([Offer(mid, 1000, body, time_ms) for mid in range(1, 31)])

    over_age = 0
    for _ in range(30):
        over_age += (await log.sweep(12_000, 7)).over_age

    assert over_age == 60
    assert {(await log.queue(mid)).messages for mid in range(1, 31)} == {1}
    assert (await log.queue(1)).oldest_ms == 9000
    assert await place(log, 1, "next") == [4]


async def test_sweeping_finds_connections_with_something_to_hand_over(log):
    await place(log, 1, "a")
    await log.open_cursor(1, "behind", "c", again=False)
    await place(log, 2, "a")
    await log.open_cursor(2, "done", "c", again=False)
    await hand_over(log, 2, "done")
    await log.open_cursor(3, "nothing", "c", again=False)

    found = {cursor.key for _ in range(3) for cursor in (await log.sweep(1, 100)).behind}

    assert found == {"behind"}


# --- connections ----------------------------------------------------------------


async def test_without_a_cursor_there_is_nothing_to_hand_over(log):
    await place(log, 1, "a")

    assert await log.waiting(1, "k", 0) is None


async def test_opening_tells_whether_something_waits(log):
    assert await log.open_cursor(1, "k", "c", again=False) is None

    await place(log, 1, "a")

    cursor = await log.open_cursor(1, "k", "c", again=False)
    assert cursor is not None
    assert (cursor.mid, cursor.key, cursor.server, cursor.handed) == (1, "k", "c", 0)


async def test_messages_are_handed_over_in_order_each_once(log):
    await place(log, 1, "a", "b")
    await log.open_cursor(1, "k", "c", again=False)

    first = await hand_over(log, 1)
    await place(log, 1, "c", "d")

    assert first == ["a", "b"]
    assert await hand_over(log, 1) == ["c", "d"]
    assert await hand_over(log, 1) == []


async def test_a_new_registration_begins_at_the_oldest_that_is_not_acknowledged(log):
    await place(log, 1, "a", "b", "c")
    await log.open_cursor(1, "k", "c", again=False)
    await hand_over(log, 1)
    await log.acknowledge(1, 1)

    assert await log.open_cursor(1, "k", "c", again=False) is not None

    assert await hand_over(log, 1) == ["b", "c"]


async def test_what_one_connection_acknowledges_is_still_handed_to_the_others_that_are_there(log):
    await log.open_cursor(1, "quick", "c", again=False)
    await log.open_cursor(1, "slow", "c", again=False)
    await place(log, 1, "a", "b", "c")
    await hand_over(log, 1, "quick")

    assert await log.acknowledge(1, 2) == 2

    assert (await log.queue(1)).messages == 3
    await log.open_cursor(1, "new", "c", again=False)
    assert await hand_over(log, 1, "new") == ["c"]
    assert await hand_over(log, 1, "slow") == ["a", "b", "c"]
    assert (await log.queue(1)).messages == 1


async def test_a_connection_that_leaves_no_longer_keeps_what_is_acknowledged(log):
    await log.open_cursor(1, "quick", "c", again=False)
    await log.open_cursor(1, "slow", "c", again=False)
    await place(log, 1, "a", "b")
    await hand_over(log, 1, "quick")
    await log.acknowledge(1, 2)

    await log.close_cursor(1, "slow", "c")

    assert (await log.queue(1)).messages == 0


async def test_a_registration_told_again_goes_on_where_it_was(log):
    await place(log, 1, "a", "b")
    await log.open_cursor(1, "k", "c", again=False)
    await hand_over(log, 1)

    assert await log.open_cursor(1, "k", "c", again=True) is None
    await place(log, 1, "c")
    assert await log.open_cursor(1, "k", "c", again=True) is not None

    assert await hand_over(log, 1) == ["c"]


@pytest.mark.parametrize("known", [False, True])
async def test_told_again_of_an_unknown_or_moved_connection_begins_anew(log, known):
    await place(log, 1, "a")
    if known:
        await log.open_cursor(1, "k", "comet-1", again=False)
        await hand_over(log, 1)

    await log.open_cursor(1, "k", "comet-2", again=True)

    batch = await take(log, 1)
    assert (batch.cursor.server, bodies(batch)) == ("comet-2", ["a"])


async def test_a_cursor_that_was_opened_anew_is_not_moved_by_who_read_the_old_one(log):
    await place(log, 1, "a")
    await log.open_cursor(1, "k", "c", again=False)
    old = await take(log, 1)
    await log.open_cursor(1, "k", "c", again=False)

    assert await log.advance(old.cursor, 1) is False
    await log.drop_cursor(old.cursor)

    assert bodies(await take(log, 1)) == ["a"]


async def test_a_cursor_is_not_moved_twice_from_one_place(log):
    await place(log, 1, "a")
    await log.open_cursor(1, "k", "c", again=False)
    batch = await take(log, 1)

    assert await log.advance(batch.cursor, 1) is True
    assert await log.advance(batch.cursor, 1) is False


async def test_a_closed_connection_is_forgotten_unless_it_has_moved(log):
    await log.open_cursor(1, "k", "comet-2", again=False)

    await log.close_cursor(1, "k", "comet-1")
    assert await log.waiting(1, "k", 0) is not None

    await log.close_cursor(1, "k", "comet-2")
    assert await log.waiting(1, "k", 0) is None


async def test_a_dropped_cursor_is_forgotten(log):
    await log.open_cursor(1, "k", "c", again=False)

    await log.drop_cursor((await take(log, 1)).cursor)

    assert await log.waiting(1, "k", 0) is None


async def test_a_key_under_another_user_belongs_to_that_user_alone(log):
    await place(log, 1, "secret of 1")
    await log.open_cursor(1, "k", "c", again=False)

    await log.open_cursor(2, "k", "c", again=False)

    assert await log.waiting(1, "k", 0) is None
    assert (await log.offer([Offer(1, 1000, b"x", 1)]))[0].cursors == ()
    assert (await take(log, 2)).messages == ()
    await log.close_cursor(1, "k", "c")
    assert await log.waiting(2, "k", 0) is not None


async def test_placing_tells_which_connections_there_are(log):
    await log.open_cursor(1, "a", "comet-1", again=False)
    await log.open_cursor(1, "b", "comet-2", again=False)

    [placed] = await log.offer([Offer(1, 1000, b"x", 1)])

    assert {(c.key, c.server, c.handed) for c in placed.cursors} == {("a", "comet-1", 0), ("b", "comet-2", 0)}


@pytest.mark.parametrize("key", ["", "a b", "键", "a:b/c?d", "x" * 500, "\n"])
async def test_any_text_is_a_key_and_a_server(log, key):
    await place(log, 1, "a")
    await log.open_cursor(1, key, key, again=False)

    batch = await take(log, 1, key)

    assert (batch.cursor.key, batch.cursor.server) == (key, key)
    assert await log.advance(batch.cursor, 1)


# --- sessions ---------------------------------------------------------------------


async def test_closing_late_the_session_before_changes_nothing(log):
    await log.open_cursor(1, "k", "c", again=False, session=11)
    await log.open_cursor(1, "k", "c", again=False, session=12)

    await log.close_cursor(1, "k", "c", session=11)
    assert await log.waiting(1, "k", 0) is not None

    await log.close_cursor(1, "k", "c", session=12)
    assert await log.waiting(1, "k", 0) is None


@pytest.mark.parametrize(("opened", "closed"), [(0, 11), (11, 0), (0, 0), (2**61 - 1, 2**61 - 1)])
async def test_a_session_that_is_not_known_may_be_any(log, opened, closed):
    await log.open_cursor(1, "k", "c", again=False, session=opened)

    await log.close_cursor(1, "k", "c", session=closed)

    assert await log.waiting(1, "k", 0) is None


async def test_the_same_session_goes_on_where_it_is(log):
    await place(log, 1, "a", "b")
    await log.open_cursor(1, "k", "c", again=False, session=11)
    assert await hand_over(log, 1) == ["a", "b"]

    assert await log.open_cursor(1, "k", "c", again=False, session=11) is None

    assert await hand_over(log, 1) == []
    assert (await take(log, 1)).cursor.epoch == 11


async def test_another_session_begins_anew_even_when_told_again(log):
    await place(log, 1, "a")
    await log.open_cursor(1, "k", "c", again=False, session=11)
    await hand_over(log, 1)

    assert await log.open_cursor(1, "k", "c", again=True, session=12) is not None

    assert await hand_over(log, 1) == ["a"]


# --- acknowledged, and not yet handed to all ----------------------------------------


async def test_sweeping_deletes_what_is_held_back_by_ignored_servers_alone(log):
    await place(log, 1, "a", "b", "c")
    await log.open_cursor(1, "k1", "comet-1", again=False)
    await log.open_cursor(1, "k2", "comet-2", again=False)
    await hand_over(log, 1, "k1")
    await log.acknowledge(1, 2)
    await log.sweep(1, 100, ["comet-3"])
    held_back = (await log.queue(1)).messages

    await log.sweep(1, 100, ["comet-2"])

    assert held_back == 3
    assert ((await log.queue(1)).messages, (await log.queue(1)).bytes) == (1, 1)
    assert await hand_over(log, 1, "k2") == ["c"]


async def test_sweeping_tells_who_is_registered_for_whom_something_waits(log):
    await place(log, 1, "a")
    await place(log, 2, "a")
    await log.open_cursor(2, "k", "c", again=False)
    await log.open_cursor(3, "nothing waits", "c", again=False)

    found: dict[int, tuple[Cursor, ...]] = {}
    for _ in range(3):
        found |= (await log.sweep(1, 100)).cursors

    assert {mid: [cursor.key for cursor in cursors] for mid, cursors in found.items()} == {1: [], 2: ["k"]}


async def test_what_is_acknowledged_is_not_reported_as_deleted_unread(open_log):
    log = open_log(max_messages=3, max_bytes=10, max_age_s=10)
    await log.open_cursor(1, "slow", "c", again=False)
    await place(log, 1, "a", "b", "c")
    await log.acknowledge(1, 2)

    [one] = await log.offer([Offer(1, 1000, b"d", 1)])
    [two] = await log.offer([Offer(1, 1000, b"x" * 8, 1)])
    await log.acknowledge(1, 4)
    aged = [(await log.sweep(60_000, 100)).over_age for _ in range(3)]

    assert (one.over_count, one.over_bytes) == (0, 0)
    assert (two.over_count, two.over_bytes) == (0, 0)
    assert sum(aged) == 1
    assert (await log.queue(1)).messages == 0


# --- over the bus -----------------------------------------------------------------


async def test_a_push_goes_over_the_bus_when_a_registered_session_waits_for_nothing(log):
    await log.open_cursor(1, "k", "c", again=False)

    assert await place(log, 1, "x", live={"k": "c"}) == [0]
    assert (await log.queue(1)).messages == 0


@pytest.mark.parametrize("live", [{}, {"other": "c"}, {"k": "other"}])
async def test_a_push_is_kept_when_no_session_that_can_get_it_is_registered(log, live):
    await log.open_cursor(1, "k", "c", again=False)

    assert await place(log, 1, "x", live=live) == [1]


async def test_a_push_is_kept_behind_what_waits_until_that_is_acknowledged(log):
    await place(log, 1, "a")
    await log.open_cursor(1, "k", "c", again=False)
    await hand_over(log, 1)

    assert await place(log, 1, "b", live={"k": "c"}) == [2]
    await hand_over(log, 1)
    await log.acknowledge(1, 2)
    assert await place(log, 1, "c", live={"k": "c"}) == [0]
    assert await place(log, 1, "d") == [3]


# --- deleted when taken ---------------------------------------------------------------


async def test_taken_messages_are_deleted_when_every_connection_has_them(open_log):
    log = open_log(delete_taken=True)
    await place(log, 1, "a", "b")
    await log.open_cursor(1, "k1", "c", again=False)
    await log.open_cursor(1, "k2", "c", again=False)

    await hand_over(log, 1, "k1")
    assert (await log.queue(1)).messages == 2
    assert await hand_over(log, 1, "k2") == ["a", "b"]
    assert (await log.queue(1)).messages == 0


async def test_a_connection_on_an_ignored_server_holds_nothing_up(open_log):
    log = open_log(delete_taken=True)
    await place(log, 1, "a", "b")
    await log.open_cursor(1, "k1", "comet-1", again=False)
    await log.open_cursor(1, "k2", "comet-2", again=False)

    batch = await take(log, 1, "k1")
    await log.advance(batch.cursor, 2, {"comet-2"})

    assert (await log.queue(1)).messages == 0


@pytest.mark.parametrize("how", ["close", "drop"])
async def test_a_connection_that_goes_holds_nothing_up_any_more(open_log, how):
    log = open_log(delete_taken=True)
    await place(log, 1, "a", "b")
    await log.open_cursor(1, "k1", "c", again=False)
    await log.open_cursor(1, "k2", "c", again=False)
    await hand_over(log, 1, "k1")

    await (log.close_cursor(1, "k2", "c") if how == "close" else log.drop_cursor((await take(log, 1, "k2")).cursor))

    assert (await log.queue(1)).messages == 0


async def test_the_last_connection_that_goes_takes_nothing_along(open_log):
    log = open_log(delete_taken=True)
    await place(log, 1, "a", "b")
    await log.open_cursor(1, "k", "c", again=False)

    await log.close_cursor(1, "k", "c")

    assert (await log.queue(1)).messages == 2


# --- history --------------------------------------------------------------------


async def test_a_users_history_has_every_push_whatever_became_of_it(log):
    await log.open_cursor(1, "k", "c", again=False)
    await place(log, 1, "live", live={"k": "c"}, time_ms=1)
    await place(log, 1, "kept", time_ms=2)
    await log.acknowledge(1, 1)

    assert await log.history(mid_scope(1), 10, 0, 0) == [
        KeptMessage(1, 1000, b"live", 1),
        KeptMessage(2, 1000, b"kept", 2),
    ]


async def test_a_history_is_read_backwards_in_pages(log):
    for i in range(1, 11):
        await log.record(Entry(room_scope("live://1"), 7, str(i).encode(), i))

    newest = await log.history(room_scope("live://1"), 4, 0, 0)
    before = await log.history(room_scope("live://1"), 4, newest[0].id, 0)

    assert bodies(newest) == ["7", "8", "9", "10"]
    assert bodies(before) == ["3", "4", "5", "6"]
    assert await log.history(room_scope("live://2"), 4, 0, 0) == []


async def test_a_history_keeps_its_last_pushes_only(open_log):
    log = open_log(history=3)
    for i in range(1, 8):
        await log.record(Entry("room:a", 7, str(i).encode(), i))

    assert bodies(await log.history("room:a", 100, 0, 0)) == ["5", "6", "7"]


async def test_a_history_is_bounded_in_bytes_and_keeps_the_newest(open_log):
    log = open_log(max_bytes=10)
    for body in (b"1111", b"2222", b"333"):
        await log.record(Entry("room:a", 7, body, 1))
    assert bodies(await log.history("room:a", 100, 0, 0)) == ["2222", "333"]

    await log.record(Entry("room:a", 7, b"x" * 50, 1))

    assert bodies(await log.history("room:a", 100, 0, 0)) == ["x" * 50]


async def test_a_history_shows_nothing_older_than_asked_for(log):
    await log.record(Entry("room:a", 7, b"old", 1000))
    await log.record(Entry("room:a", 7, b"new", 3000))

    assert bodies(await log.history("room:a", 10, 0, 2000)) == ["new"]


async def test_without_history_nothing_is_entered(open_log):
    log = open_log(history=0)
    await place(log, 1, "a")
    await log.record(Entry("room:a", 7, b"x", 1))

    assert await log.history(mid_scope(1), 10, 0, 0) == []
    assert await log.history("room:a", 10, 0, 0) == []


async def test_deleting_takes_queue_and_history_of_one_user(log):
    await place(log, 1, "a", "b")
    await place(log, 2, "c")

    assert await log.delete(1) == 2

    assert (await log.queue(1)).messages == 0
    assert await log.history(mid_scope(1), 10, 0, 0) == []
    assert bodies(await log.history(mid_scope(2), 10, 0, 0)) == ["c"]
    assert await log.delete(99) == 0


# --- many at once -----------------------------------------------------------------


async def test_calls_made_at_once_take_effect_in_their_order(log):
    results = await asyncio.gather(
        *(log.offer([Offer(1, 1000, str(i).encode(), 1)]) for i in range(300)),
        log.open_cursor(1, "k", "c", again=False),
        log.offer([Offer(1, 1000, b"300", 1)]),
    )

    assert [placed.id for [placed] in results[:300]] == list(range(1, 301))
    assert isinstance(results[300], Cursor)
    assert [cursor.key for cursor in results[301][0].cursors] == ["k"]
    assert await hand_over(log, 1) == [str(i) for i in range(301)]


async def test_two_processes_sharing_a_log_lose_nothing(open_log):
    one, two = open_log(), open_log()

    async def work(log: MessageLog, name: str) -> None:
        for i in range(50):
            await place(log, 1, f"{name}{i}")

    await asyncio.gather(work(one, "a"), work(two, "b"))
    await one.open_cursor(1, "k", "c", again=False)

    handed = await hand_over(two, 1)
    assert sorted(handed) == sorted(f"{name}{i}" for name in "ab" for i in range(50))
    assert [text for text in handed if text[0] == "a"] == [f"a{i}" for i in range(50)]


async def test_closing_twice_is_fine(log):
    await log.check()

    await log.close()
    await log.close()
