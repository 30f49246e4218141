from __future__ import annotations

import asyncio

import pytest

from imctl.bus.contract import BusError, Record
from imctl.bus.inbox import Inbox


def record(number: int, size: int = 0) -> Record:
    return Record("k", bytes(size), number)


async def test_what_is_put_is_got_at_most_1000_together():
    inbox = Inbox()
    inbox.put(record(i) for i in range(1500))

    assert [len(await inbox.get()), len(await inbox.get())] == [1000, 500]


@pytest.mark.parametrize("bound", ["max_records", "max_bytes"])
async def test_a_full_inbox_has_no_room_until_it_is_received(bound):
    inbox = Inbox(**{bound: 2})
    inbox.put([record(1, 10), record(2, 10)])
    waiting = asyncio.ensure_future(inbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()

    await inbox.get()

    await asyncio.wait_for(waiting, 5)


async def test_what_is_discarded_is_not_got_and_makes_room():
    inbox = Inbox(max_records=3)
    inbox.put(record(i) for i in range(4))

    gone = inbox.discard(lambda found: found.position in (1, 2))

    assert [found.position for found in gone] == [1, 2]
    await asyncio.wait_for(inbox.room(), 5)
    assert [found.position for found in await inbox.get()] == [0, 3]


async def test_close_wakes_the_receiver_and_gives_back_what_is_left():
    inbox = Inbox()
    waiting = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)

    assert inbox.close("over") == []

    with pytest.raises(BusError, match="over"):
        await waiting
    inbox.put([record(1)])
    assert len(inbox) == 0
    with pytest.raises(BusError, match="over"):
        await inbox.get()


async def test_a_second_receiver_is_refused():
    inbox = Inbox()
    waiting = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)

    with pytest.raises(BusError, match="another receive"):
        await inbox.get()

    waiting.cancel()
    await asyncio.wait((waiting,))
