"""What imctl.messages.contract promises of the place where each connection of a user is."""

from __future__ import annotations

import pytest

from imctl.messages.contract import Offer
from tests.contracts.messages.kit import bodies, hand_over, place, take

# --- connections ---


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


# --- sessions ---


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
