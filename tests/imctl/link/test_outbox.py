from __future__ import annotations

import asyncio

from imctl.link.limits import BATCH_BYTES
from imctl.link.outbox import Outbox


async def test_what_is_added_in_one_turn_is_one_batch():
    outbox = Outbox()
    taking = asyncio.ensure_future(outbox.take())
    await asyncio.sleep(0)

    for i in range(10):
        outbox.add_call(i, 11, b"x")

    assert [call.id for call in (await taking).calls] == list(range(10))
    assert (outbox.waiting, outbox.waiting_bytes, outbox.batches) == (0, 0, 1)


async def test_replies_keep_order_and_carry_errors():
    outbox = Outbox()
    outbox.add_reply(1, b"one")
    outbox.add_error(2, 2, "no")
    outbox.add_reply(3, b"")

    replies = (await outbox.take()).replies

    assert [(r.id, r.reply, r.code, r.details) for r in replies] == [
        (1, b"one", 0, ""),
        (2, b"", 2, "no"),
        (3, b"", 0, ""),
    ]


async def test_a_batch_is_bounded_in_bytes_and_messages():
    outbox = Outbox()
    for i in range(3):
        outbox.add_call(i, 1, bytes(BATCH_BYTES // 2))
    for i in range(3, 5003):
        outbox.add_call(i, 1, b"")

    batches = []
    while outbox.waiting:
        batches.append([call.id for call in (await outbox.take()).calls])

    assert batches[0] == [0, 1]
    assert max(map(len, batches)) <= 4096
    assert [i for batch in batches for i in batch] == list(range(5003))


async def test_a_message_over_the_batch_size_goes_alone():
    outbox = Outbox()
    outbox.add_call(1, 1, b"x")
    outbox.add_call(2, 1, bytes(2 * BATCH_BYTES))
    outbox.add_call(3, 1, b"x")

    assert [[call.id for call in (await outbox.take()).calls] for _ in range(3)] == [[1], [2], [3]]


async def test_forgotten_calls_leave():
    outbox = Outbox()
    for i in range(10):
        outbox.add_call(i, 1, b"12345")

    outbox.keep_calls({3, 7})

    assert (outbox.waiting, outbox.waiting_bytes) == (2, 10)
    assert [call.id for call in (await outbox.take()).calls] == [3, 7]
    outbox.add_call(1, 1, b"")
    outbox.keep_calls(())
    assert outbox.waiting == 0


async def test_below_waits_until_enough_was_taken():
    outbox = Outbox()
    for i in range(3):
        outbox.add_reply(i, bytes(BATCH_BYTES))
    waiting = asyncio.ensure_future(outbox.below(1, 10 * BATCH_BYTES))
    await asyncio.sleep(0)

    await outbox.take()
    await asyncio.sleep(0)
    assert not waiting.done()
    await outbox.take()

    await waiting
    outbox.clear()
    await outbox.below(0, 0)


async def test_a_cancelled_taker_leaves_the_next_one_in_working_order():
    outbox = Outbox()
    first = asyncio.ensure_future(outbox.take())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))

    outbox.add_call(1, 1, b"")

    assert [call.id for call in (await outbox.take()).calls] == [1]
