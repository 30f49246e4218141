"""One method of one hook: its limit, its failures, its counts."""

from __future__ import annotations

import asyncio
import threading

import pytest

from imctl.hooks.caller import HookFailedError, Point
from imctl.hooks.contract import HookError, RoomReply
from imctl.hooks.threads import Threads
from tests.imctl.comet.raw import eventually

YES = RoomReply(True)


def point(function, reply_type=RoomReply, threads: Threads | None = None) -> Point:
    return Point("hook.method", function, reply_type, threads or Threads("hook"))


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


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
async def test_what_would_end_the_process_is_a_failure_of_the_hook(raised, text, is_async):
    def fail(event: object) -> RoomReply:
        raise raised

    async def fail_later(event: object) -> RoomReply:
        await asyncio.sleep(0)
        return fail(event)

    asked = point(fail_later if is_async else fail)

    with pytest.raises(HookFailedError) as caught:
        await asked.call("event", soon(30))
    assert (caught.value.reason, caught.value.detail) == ("error", text)
    assert (asked.stats.failed, asked.stats.timeouts, asked.stats.under_way) == (1, 0, 0)


async def test_a_hook_that_cancels_itself_fails():
    async def cancel(event: object) -> RoomReply:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return YES

    with pytest.raises(HookFailedError) as caught:
        await point(cancel).call("event", soon(30))
    assert (caught.value.reason, caught.value.detail) == ("error", "CancelledError")


async def test_who_is_cancelled_while_it_waits_for_a_hook_is_cancelled_and_so_is_the_hook():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(event: object) -> RoomReply:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return YES

    waiting = asyncio.create_task(point(hang).call("event", soon(3600)))
    await begun.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(30):
        await ended.wait()


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


async def test_a_plain_function_is_under_way_until_its_thread_has_ended():
    begun, let_go = threading.Event(), threading.Event()

    def hang(event: object) -> RoomReply:
        begun.set()
        let_go.wait(30)
        return YES

    asked = point(hang)
    waiting = asyncio.create_task(asked.call("event", soon(3600)))
    assert await asyncio.to_thread(begun.wait, 30)
    waiting.cancel()
    await asyncio.wait((waiting,))

    assert asked.stats.under_way == 1
    let_go.set()
    await eventually(lambda: asked.stats.under_way == 0)


async def test_plain_functions_that_wait_for_a_thread_are_forgotten_at_their_limit():
    begun, let_go = threading.Event(), threading.Event()
    called: list[object] = []

    def hang(event: object) -> RoomReply:
        called.append(event)
        begun.set()
        let_go.wait(30)
        return YES

    asked = point(hang, threads=Threads("hook", count=1, most=1))
    first = asyncio.create_task(asked.call("first", soon(3600)))
    assert await asyncio.to_thread(begun.wait, 30)
    found = await asyncio.gather(*(asked.call(number, soon(0.01)) for number in range(100)), return_exceptions=True)

    assert {error.reason for error in found} == {"timeout"}
    assert asked.stats.under_way == 1
    let_go.set()
    assert await first is YES
    assert called == ["first"]


async def test_plain_functions_that_wait_for_a_thread_count_for_the_bound(monkeypatch):
    monkeypatch.setattr("imctl.hooks.caller._MAX_UNDER_WAY", 3)
    let_go = threading.Event()

    def wait(event: object) -> RoomReply:
        let_go.wait(30)
        return YES

    asked = point(wait, threads=Threads("hook", count=1, most=1))
    waiting = [asyncio.create_task(asked.call("event", soon(3600))) for _ in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(HookFailedError) as caught:
        await asked.call("event", soon(3600))
    assert caught.value.reason == "busy"
    let_go.set()
    assert await asyncio.gather(*waiting) == [YES] * 3


async def test_when_every_thread_hangs_the_next_call_is_refused_at_once():
    begun, let_go = threading.Semaphore(0), threading.Event()

    def hang(event: object) -> RoomReply:
        begun.release()
        let_go.wait(30)
        return YES

    threads = Threads("hook", count=1, most=2)
    asked = point(hang, threads=threads)
    for _ in range(2):  # the second gets the place that the first has given up
        waiting = asyncio.create_task(asked.call("event", soon(3600)))
        assert await asyncio.to_thread(begun.acquire, timeout=30)
        waiting.cancel()
        await asyncio.wait((waiting,))

    with pytest.raises(HookFailedError, match="held by a call that hangs") as caught:
        await asked.call("event", soon(3600))
    assert caught.value.reason == "busy"
    let_go.set()
    await eventually(lambda: not threads.are_stuck)
    assert await asked.call("event", soon(3600)) is YES
