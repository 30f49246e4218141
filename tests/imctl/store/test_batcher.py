from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from imctl.store.batcher import Batcher
from imctl.store.contract import StoreError


class Doubler:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: Sequence[int]) -> list[int | StoreError]:
        await self.gate.wait()
        self.batches.append(list(items))
        return [StoreError("no negatives") if item < 0 else 2 * item for item in items]


def new(process: Doubler, **limits: float) -> Batcher[int, int]:
    return Batcher(process, what="test", **{"timeout_s": 5.0} | limits)  # type: ignore[arg-type]  # as the test gives them


async def test_calls_of_one_turn_go_together_in_order():
    process = Doubler()
    batcher = new(process)

    results = await asyncio.gather(*map(batcher.call, range(5)))

    assert results == [0, 2, 4, 6, 8]
    assert process.batches == [[0, 1, 2, 3, 4]]


async def test_what_comes_while_a_batch_is_on_its_way_is_the_next_batch():
    process = Doubler()
    process.gate.clear()
    batcher = new(process, max_batch=2)
    calls = [asyncio.ensure_future(batcher.call(1))]
    await asyncio.sleep(0.01)
    calls += [asyncio.ensure_future(batcher.call(item)) for item in (2, 3, 4)]
    await asyncio.sleep(0)

    process.gate.set()
    await asyncio.gather(*calls)

    assert process.batches == [[1], [2, 3], [4]]


async def test_a_failed_call_fails_alone():
    batcher = new(Doubler())

    results = await asyncio.gather(batcher.call(1), batcher.call(-1), batcher.call(2), return_exceptions=True)

    assert results[::2] == [2, 4]
    assert isinstance(results[1], StoreError)


async def test_too_many_waiting_are_refused():
    process = Doubler()
    process.gate.clear()
    batcher = new(process, max_waiting=2)
    calls = [asyncio.ensure_future(batcher.call(item)) for item in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(StoreError, match="2 calls are waiting already"):
        await batcher.call(9)

    process.gate.set()
    assert await asyncio.gather(*calls) == [0, 2]


async def test_a_batch_that_takes_too_long_fails_and_the_next_one_works():
    process = Doubler()
    process.gate.clear()
    batcher = new(process, timeout_s=0.3)

    with pytest.raises(StoreError, match="no answer within"):
        await batcher.call(1)
    process.gate.set()

    assert await batcher.call(2) == 4


async def test_a_bug_in_the_sender_leaves_nobody_waiting(caplog):
    async def fail(items: Sequence[int]) -> list[int | StoreError]:
        raise KeyError("bug")

    batcher: Batcher[int, int] = Batcher(fail, what="test", timeout_s=5)

    with pytest.raises(StoreError, match="KeyError"):
        await batcher.call(1)
    assert "a batch for test failed" in caplog.text
