"""What imctl.messages.contract promises of messages that not all connections of a user have yet."""

from __future__ import annotations

import pytest

from imctl.messages.contract import Cursor, Offer
from tests.contracts.messages.kit import hand_over, place, take

# --- acknowledged, and not yet handed to all ---


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


# --- deleted when taken ---


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
