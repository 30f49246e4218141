"""One method of one hook: its limit, its failures, its counts."""

from __future__ import annotations

import asyncio
import threading

import pytest

from imctl.hooks.caller import HookFailedError, Point, Threads
from imctl.hooks.contract import HookError, RoomReply

YES = RoomReply(True)


def point(function, reply_type=RoomReply) -> Point:
    return Point("hook.method", function, reply_type, Threads("hook"))


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_the_reply_comes_back_and_is_counted():
    async def answer(event: object) -> RoomReply:
        assert event == "event"
        return YES

    asked = point(answer)

    assert await asked.call("event", soon(5)) is YES
    assert (asked.stats.calls, asked.stats.failed, asked.stats.under_way) == (1, 0, 0)
    assert asked.stats.longest_ns == asked.stats.total_ns > 0


async def test_a_plain_function_runs_in_a_thread():
    threads: list[threading.Thread] = []

    def answer(event: object) -> RoomReply:
        threads.append(threading.current_thread())
        return YES

    assert await point(answer).call("event", soon(5)) is YES
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize(
    ("raised", "reason", "text"),
    [
        (HookError("the disk is full"), "refused", "the disk is full"),
        (ZeroDivisionError("oops"), "error", "ZeroDivisionError: oops"),
    ],
)
async def test_what_it_raises_is_told(raised, reason, text):
    async def fail(event: object) -> RoomReply:
        raise raised

    asked = point(fail)

    with pytest.raises(HookFailedError) as caught:
        await asked.call("event", soon(5))
    assert (caught.value.reason, caught.value.detail) == (reason, text)
    assert asked.stats.failed == 1


@pytest.mark.parametrize("returned", [None, True, "yes", {"allow": True}])
async def test_another_type_is_a_failure(returned):
    async def answer(event: object) -> object:
        return returned

    with pytest.raises(HookFailedError, match="expected RoomReply") as caught:
        await point(answer).call("event", soon(5))
    assert caught.value.reason == "wrong_type"


async def test_one_of_several_types_will_do():
    async def answer(event: object) -> None:
        return None

    assert await point(answer, (RoomReply, type(None))).call("event", soon(5)) is None


async def test_a_hook_that_hangs_is_cancelled_at_its_limit():
    cancelled = asyncio.Event()

    async def hang(event: object) -> RoomReply:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return YES

    asked = point(hang)

    with pytest.raises(HookFailedError) as caught:
        await asked.call("event", soon(0.01))
    assert caught.value.reason == "timeout"
    async with asyncio.timeout(5):
        await cancelled.wait()
    assert (asked.stats.timeouts, asked.stats.failed) == (1, 1)


async def test_a_hook_that_will_not_be_cancelled_is_not_waited_for():
    let_go = asyncio.Event()

    async def stubborn(event: object) -> RoomReply:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return YES

    asked = point(stubborn)

    async with asyncio.timeout(5):
        with pytest.raises(HookFailedError):
            await asked.call("event", soon(0.01))
    assert asked.stats.under_way == 1
    let_go.set()


async def test_a_thread_that_hangs_holds_up_nobody_else():
    let_go = threading.Event()

    def hang(event: object) -> RoomReply:
        let_go.wait(30)
        return YES

    asked = point(hang)
    other = point(lambda event: YES)

    with pytest.raises(HookFailedError):
        await asked.call("event", soon(0.01))
    assert await other.call("event", soon(5)) is YES
    let_go.set()


async def test_calls_over_the_bound_are_refused_at_once(monkeypatch):
    monkeypatch.setattr("imctl.hooks.caller._MAX_UNDER_WAY", 2)
    let_go = asyncio.Event()

    async def wait(event: object) -> RoomReply:
        await let_go.wait()
        return YES

    asked = point(wait)
    waiting = [asyncio.create_task(asked.call("event", soon(5))) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(HookFailedError) as caught:
        await asked.call("event", soon(5))
    assert caught.value.reason == "busy"
    let_go.set()
    assert await asyncio.gather(*waiting) == [YES, YES]
