"""What imctl.messages.contract promises of queues: ids, order, acknowledgements, what goes over the bus instead."""

from __future__ import annotations

import asyncio

import pytest

from imctl.messages.contract import Cursor, KeptMessage, MessageLog, Offer
from tests.contracts.messages.kit import bodies, hand_over, place, take

# --- queues ---


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


# --- over the bus ---


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


# --- many at once ---


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
