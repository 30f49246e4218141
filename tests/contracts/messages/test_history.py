"""What imctl.messages.contract promises of histories."""

from __future__ import annotations

from imctl.messages.contract import Entry, KeptMessage, mid_scope, room_scope
from tests.contracts.messages.kit import bodies, place


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
