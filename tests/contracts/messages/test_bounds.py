"""What imctl.messages.contract promises of bounds: counts, bytes, ages, batches."""

from __future__ import annotations

from imctl.messages.contract import Offer
from tests.contracts.messages.kit import bodies, hand_over, place, take


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
