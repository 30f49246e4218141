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


async def ask(number, ending):
    """Send a signal and wait until the loop has taken it."""
    os.kill(os.getpid(), number)
    async with asyncio.timeout(10):
        while not ending.asked.is_set() and not ending.why:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
async def test_the_first_signal_asks_for_an_end_in_good_order(number, name):
    told = []

    with asked_to_end(told.append) as ending:
        ending.in_good_order()
        await ask(number, ending)

    assert (ending.asked.is_set(), told, ending.why) == (True, [name], "")


async def test_before_there_is_anything_to_report_the_first_one_ends_it_and_the_cleaning_up_goes_on():
    told, cleaned = [], []

    with pytest.raises(RunInterruptedError, match="ended by SIGTERM before there was anything to report") as caught:
        with asked_to_end(told.append) as ending:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.Event().wait()
            finally:
                # Impatience does not disturb it.
                for number in HANDLED:
                    ending.signalled(number)
                await asyncio.sleep(0)
                cleaned.append(True)

    assert (told, cleaned) == ([], [True])
    assert exit_code(caught.value) == Exit.INTERRUPTED
    assert [signal.getsignal(number) for number in HANDLED] == [signal.SIG_IGN] * 3


async def test_the_second_ctrl_c_ends_it_at_once():
    with pytest.raises(RunInterruptedError, match="ended by Ctrl-C at once, without a report"):
        with asked_to_end(lambda how: None) as ending:
            ending.in_good_order()
            ending.signalled(signal.SIGINT)
            ending.signalled(signal.SIGINT)
            await asyncio.Event().wait()


async def test_a_signal_that_comes_to_the_process_and_to_its_group_is_one(monkeypatch):
    loop = asyncio.get_running_loop()
    now_s = loop.time()

    with pytest.raises(RunInterruptedError, match="at once"):
        with asked_to_end(lambda how: None) as ending:
            monkeypatch.setattr(loop, "time", lambda: now_s)
            ending.in_good_order()
            ending.signalled(signal.SIGTERM)
            ending.signalled(signal.SIGTERM)
            once = ending.why
            now_s += 1.5
            ending.signalled(signal.SIGTERM)
            monkeypatch.undo()
            await asyncio.Event().wait()

    assert once == ""


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
