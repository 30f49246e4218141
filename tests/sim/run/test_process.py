import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sim.run.process import ChildProcess, WorkerDiedError
from tests.sim.kit import until

# What a child runs; `python -m` finds it in the folder that PYTHONPATH names.
ECHO = """
import asyncio, os, sys
from sim.run.process import child_main

async def handler(messages, send):
    print("printed, and not between the messages")
    async for message in messages:
        if message == "die":
            print("last words", file=sys.stderr, flush=True)
            os._exit(3)
        if message == "raise":
            raise RuntimeError("a fault")
        if message == "hang":
            asyncio.get_running_loop().call_soon(lambda: __import__("time").sleep(60))
            continue
        send(("echo", message))

child_main(handler)
"""

PARENT = """
import asyncio, sys
from sim.run.process import ChildProcess

async def main():
    children = [ChildProcess(f"echo {n}", "echo_child") for n in range(3)]
    for child in children:
        await child.start()
        await child.send("hello")
    for child in children:
        async for _ in child.messages():
            break
    print(*(child.pid for child in children), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "echo_child.py").write_text(ECHO)
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    return "echo_child"


LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


@LOOPS
async def test_messages_of_any_size_go_both_ways(module):
    child = ChildProcess("echo", module)
    await child.start()
    try:
        replies = child.messages()
        for message in ("small", b"x" * 3_000_000, {"a": [1, 2]}):
            await child.send(message)
            assert await anext(replies) == ("echo", message)
    finally:
        await child.stop()

    assert not psutil.pid_exists(child.pid)


@LOOPS
async def test_a_child_that_dies_is_told_by_name_with_its_last_words(module):
    child = ChildProcess("worker 7", module)
    await child.start()
    await child.send("die")

    assert [message async for message in child.messages()] == []
    error = await child.died()
    await child.stop()

    assert isinstance(error, WorkerDiedError)
    assert (error.name, error.exit_code) == ("worker 7", 3)
    assert "worker 7 ended with exit code 3: " in str(error)
    assert "last words" in str(error)


@LOOPS
async def test_sending_to_a_child_that_was_killed_is_an_error(module):
    child = ChildProcess("worker 1", module)
    await child.start()
    os.kill(child.pid, signal.SIGKILL)
    assert [message async for message in child.messages()] == []

    async def send_on():
        while True:
            await child.send(b"x" * 100_000)

    with pytest.raises(WorkerDiedError, match="worker 1 ended with exit code -9"):
        await asyncio.wait_for(send_on(), 10)
    await child.stop()


async def test_a_fault_in_a_child_is_in_its_last_words(module):
    child = ChildProcess("worker 1", module)
    await child.start()
    await child.send("raise")
    assert [message async for message in child.messages()] == []

    error = await child.died()
    await child.stop()

    assert error.exit_code == 1
    assert "RuntimeError: a fault" in str(error)


async def test_a_child_that_does_not_end_by_itself_is_killed(module):
    child = ChildProcess("worker 1", module)
    await child.start()
    await child.send("hang")
    await child.send("never read")

    await child.stop(grace_s=0.3)

    assert not psutil.pid_exists(child.pid)


async def test_children_end_when_their_parent_is_killed(module):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    try:
        pids = [int(word) for word in (await asyncio.to_thread(parent.stdout.readline)).split()]
        assert len(pids) == 3
    finally:
        parent.kill()
        parent.communicate()

    await until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


async def test_ctrl_c_of_the_terminal_does_not_reach_children(module):
    child = ChildProcess("worker 1", module)
    await child.start()
    try:
        assert os.getpgid(child.pid) != os.getpgid(0)
    finally:
        await child.stop()
