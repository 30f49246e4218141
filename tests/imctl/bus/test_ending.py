from __future__ import annotations

import asyncio
import logging

import pytest

from imctl.bus.ending import ended, kept_up


async def test_an_ending_that_ends_is_true():
    assert await ended(asyncio.sleep(0), within_s=5)


async def test_one_that_hangs_is_cancelled():
    hanging = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            hanging.set()

    assert not await ended(hang(), within_s=0.01)
    assert hanging.is_set()


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_one_that_fails_raises_nothing(error: type[BaseException]):
    async def fail() -> None:
        raise error

    assert not await ended(fail(), within_s=5)


async def test_a_task_that_fails_is_told_at_once(caplog: pytest.LogCaptureFixture):
    async def fail() -> None:
        raise ValueError("a bug")

    task = kept_up(fail(), "worker")
    await asyncio.wait((task,))
    await asyncio.sleep(0)

    # Only this module's: a library may say something late of what an earlier test left behind.
    told = [record for record in caplog.records if record.name == "imctl.bus.ending"]
    assert [(record.levelno, record.getMessage()) for record in told] == [(logging.CRITICAL, "task worker has failed")]
