from __future__ import annotations

import asyncio
import threading

import pytest

from imctl.testing.background import BackgroundLoop


@pytest.fixture
def loop():
    background = BackgroundLoop("test")
    yield background
    background.close()


def test_a_coroutine_runs_in_the_other_thread_and_its_result_comes_back(loop):
    async def name():
        return threading.current_thread().name

    assert loop.run(name()) == "test"


def test_an_error_comes_back_too(loop):
    async def fail():
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        loop.run(fail())


def test_what_takes_too_long_is_cancelled(loop):
    cancelled = threading.Event()

    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        loop.run(hang(), timeout_s=0.05)

    assert cancelled.wait(5)


def test_close_ends_what_still_runs_and_the_thread(loop):
    ended = threading.Event()

    async def leave_behind():
        async def hang():
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        return task

    task = loop.run(leave_behind())
    loop.close()
    loop.close()

    assert ended.is_set()
    assert task.cancelled()
    assert not any(thread.name == "test" for thread in threading.enumerate())


async def test_a_test_with_a_loop_of_its_own_can_have_one_beside_it(loop):
    async def here():
        return asyncio.get_running_loop()

    assert await asyncio.to_thread(loop.run, here()) is not asyncio.get_running_loop()
