import asyncio
import os
import signal

import pytest

from imctl.cli.exits import Exit, exit_code
from imctl.cli.interrupts import asked_to_end
from sim.errors import RunInterruptedError

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
    """An end at once leaves the signals ignored, which is for a process that is about to exit."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def forever(ask=lambda ending: None, *, in_order=True, cleaned=None, told=None):
    """Work until somebody ends it; `ask` is called in between, and again while it cleans up."""
    with asked_to_end((told if told is not None else []).append) as ending:
        if in_order:
            ending.in_good_order()
        try:
            ask(ending)
            await asyncio.Event().wait()
        finally:
            # Impatience does not disturb it.
            for number in HANDLED:
                ending.signalled(number)
            await asyncio.sleep(0)
            if cleaned is not None:
                cleaned.append(True)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
async def test_the_first_signal_asks_for_an_end_in_good_order(number, name):
    told = []

    with asked_to_end(told.append) as ending:
        ending.in_good_order()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            await ending.asked.wait()

    assert (told, ending.why) == ([name], "")


async def test_before_there_is_anything_to_report_the_first_one_ends_it_and_the_cleaning_up_goes_on():
    told, cleaned = [], []
    work = forever(lambda _: os.kill(os.getpid(), signal.SIGTERM), in_order=False, cleaned=cleaned, told=told)

    with pytest.raises(RunInterruptedError, match="ended by SIGTERM before there was anything to report") as caught:
        await work

    assert (told, cleaned) == ([], [True])
    assert exit_code(caught.value) == Exit.INTERRUPTED
    assert [signal.getsignal(number) for number in HANDLED] == [signal.SIG_IGN] * 3


async def test_the_second_ctrl_c_ends_it_at_once():
    def twice(ending):
        ending.signalled(signal.SIGINT)
        ending.signalled(signal.SIGINT)

    with pytest.raises(RunInterruptedError, match="ended by Ctrl-C at once, without a report"):
        await forever(twice)


async def test_a_signal_that_comes_to_the_process_and_to_its_group_is_one(monkeypatch):
    loop = asyncio.get_running_loop()
    whys = []

    def again(ending):
        now_s = loop.time()
        for later_s in (0.0, 0.9, 1.1):
            monkeypatch.setattr(loop, "time", lambda later_s=later_s: now_s + later_s)
            ending.signalled(signal.SIGTERM)
            whys.append(ending.why)
        monkeypatch.undo()

    with pytest.raises(RunInterruptedError, match="ended by SIGTERM at once"):
        await forever(again)

    assert [bool(why) for why in whys] == [False, False, True]


async def test_a_hang_up_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with asked_to_end(lambda how: None) as ending:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)

    assert (ending.asked.is_set(), ending.why) == (False, "")
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


async def test_a_task_that_somebody_else_cancels_is_cancelled():
    async def work():
        with asked_to_end(lambda how: None):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
