from __future__ import annotations

import asyncio

import pytest

from imctl.link.contract import PeerError, PeerUnavailableError
from imctl.link.waiting import Waiting, error_of


async def test_a_late_call_ends_between_one_and_one_and_a_quarter_time_limits():
    loop = asyncio.get_running_loop()
    waiting = Waiting("n", 0.2)
    began_s = loop.time()

    with pytest.raises(PeerUnavailableError, match=r"n did not answer within 0\.2 s") as raised:
        await waiting.open(bytes)

    assert raised.value.code == 4
    # A timer of uvloop may fire a millisecond early.
    assert loop.time() - began_s >= 0.19
    assert not waiting.entries


async def test_only_late_calls_end():
    waiting = Waiting("n", 1.0)
    late = waiting.open(bytes)
    await asyncio.sleep(0.7)
    fresh = waiting.open(bytes)

    await asyncio.wait((late,))

    assert not fresh.done()
    assert list(waiting.entries) == [2]
    waiting.fail_all(14, "over")
    with pytest.raises(PeerUnavailableError, match="over"):
        await fresh


async def test_who_expires_is_told_once_a_sweep():
    told = []
    waiting = Waiting("n", 0.02, lambda: told.append(len(waiting.entries)))
    calls = [waiting.open(bytes) for _ in range(5)]

    await asyncio.gather(*calls, return_exceptions=True)

    assert told == [0]


async def test_no_timer_runs_when_nothing_waits():
    waiting = Waiting("n", 0.008)
    waiting.open(bytes)
    waiting.entries.pop(waiting.last_id)

    await asyncio.sleep(0.02)

    assert waiting._sweep_handle is None
    with pytest.raises(PeerUnavailableError):
        await waiting.open(bytes)


def test_codes_become_errors():
    assert type(error_of(2, "x")) is PeerError
    assert type(error_of(4, "x")) is PeerUnavailableError
    assert type(error_of(14, "x")) is PeerUnavailableError
