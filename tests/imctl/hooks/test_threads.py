"""The threads of a hook's plain functions: what they cost when they hang, and how they end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from imctl.hooks.threads import Threads

LATER_S = 3600.0


def later() -> float:
    return asyncio.get_running_loop().time() + LATER_S


@pytest.mark.parametrize(
    "raised", [ValueError("oops"), SystemExit(3), KeyboardInterrupt(), StopIteration(), asyncio.CancelledError()]
)
async def test_whatever_is_raised_is_an_outcome(raised):
    def fail(event: object) -> None:
        raise raised

    async with asyncio.timeout(30):
        outcome = await Threads("x").run(fail, None, later())

    assert outcome.error is raised


async def test_no_more_run_at_a_time_than_there_are_places():
    at_work, most, lock = 0, 0, threading.Lock()

    def work(event: int) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        with lock:
            at_work -= 1
        return event

    threads = Threads("x", count=3, most=9)
    outcomes = await asyncio.gather(*(threads.run(work, number, later()) for number in range(200)))

    assert [outcome.value for outcome in outcomes] == list(range(200))
    assert most <= 3


async def test_a_call_that_is_too_late_already_is_not_begun():
    called: list[object] = []
    threads = Threads("x")

    late = threads.run(called.append, "late", asyncio.get_running_loop().time())
    assert (await threads.run(called.append, "in time", later())).error is None
    threads.give_up(late)

    assert called == ["in time"]
    assert late.cancelled()


async def test_close_cancels_what_waits_and_ends_the_threads():
    begun, let_go = threading.Event(), threading.Event()
    found: list[threading.Thread] = []

    def hang(event: object) -> None:
        found.append(threading.current_thread())
        begun.set()
        let_go.wait(30)

    threads = Threads("x", count=1)
    threads.run(hang, None, later())
    assert await asyncio.to_thread(begun.wait, 30)
    waiting = threads.run(hang, None, later())

    threads.close()

    assert waiting.cancelled()
    let_go.set()
    await asyncio.to_thread(found[0].join, 30)
    assert not found[0].is_alive()


def test_a_thread_that_outlives_its_loop_ends_without_a_word():
    begun, let_go = threading.Event(), threading.Event()
    found: list[threading.Thread] = []

    def hang(event: object) -> None:
        found.append(threading.current_thread())
        begun.set()
        let_go.wait(30)

    async def main() -> None:
        Threads("x").run(hang, None, later())
        await asyncio.to_thread(begun.wait, 30)

    asyncio.run(main())
    let_go.set()
    found[0].join(30)

    assert not found[0].is_alive()


async def test_when_the_system_has_no_more_threads_calls_wait_for_those_there_are(monkeypatch):
    threads = Threads("x", count=2)
    begun, let_go = threading.Event(), threading.Event()

    def wait(event: object) -> object:
        begun.set()
        let_go.wait(30)
        return event

    first = threads.run(wait, "first", later())
    assert await asyncio.to_thread(begun.wait, 30)

    def refuse(**options: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("imctl.hooks.threads.threading", SimpleNamespace(Thread=refuse))
    second = threads.run(wait, "second", later())
    third = threads.run(wait, "third", later())
    let_go.set()

    async with asyncio.timeout(30):
        found: list[Any] = [(await outcome).value for outcome in (first, second, third)]
    assert found == ["first", "second", "third"]


def test_a_process_ends_while_a_thread_hangs():
    script = """
import asyncio, threading
from imctl.hooks.threads import Threads

begun = threading.Event()

def hang(event):
    begun.set()
    threading.Event().wait()

async def main():
    threads = Threads("x")
    threads.run(hang, None, asyncio.get_running_loop().time() + 3600)
    await asyncio.to_thread(begun.wait, 30)
    threads.close()

asyncio.run(main())
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout == "ended\n"
