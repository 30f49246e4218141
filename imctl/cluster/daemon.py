"""The supervisor of `imctl up --detach`: a process in a session of its own.

`python -m imctl.cluster.daemon`, with the ClusterSpec as one JSON document on
stdin; prints one line, `{"ok": true, "result": <summary>}` or
`{"ok": false, "error": ...}`, once the cluster is ready or has failed, closes
stdout and goes on until it is told to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from imctl.cluster.control import dump_error, load_error
from imctl.cluster.spec import ClusterSpec
from imctl.cluster.state import ClusterFolder, usable
from imctl.cluster.supervised import child_environment
from imctl.errors import ImctlError, StartError

__all__ = ["main", "start_detached"]

_END_S = 10.0
"""More than a start that is broken off needs to end its processes."""


def start_detached(spec: ClusterSpec, began_ns: int) -> dict[str, Any]:
    """Start a cluster that goes on without us; return what `imctl up --json` prints. Any: JSON.

    Args:
        spec: What it is made of.
        began_ns: time.monotonic_ns() from which "ready in" counts.

    Raises:
        ImctlError: it did not start; nothing is left of it.
    """
    folder = ClusterFolder(spec.cluster)
    folder.make()
    # What it says when it cannot even say that in JSON.
    last_words = folder.path / "supervisor.stderr"
    with usable(f"cluster {spec.cluster!r} cannot be kept"):
        stderr_file = last_words.open("wb")
    with (
        stderr_file as stderr,
        _ended_by_signals(),
        subprocess.Popen(
            [sys.executable, "-P", "-m", "imctl.cluster.daemon", str(began_ns)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            env=child_environment(),
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(spec.dump()).encode())
            process.stdin.close()
            # Ends by itself: each step of the start has its time limit.
            line = process.stdout.readline()
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            raise
        if not line:
            raise StartError(f"the supervisor ended at once, exit {process.wait()}", hint=f"why is in {last_words}")
        answer = json.loads(line)
        if not answer["ok"]:
            process.wait()
            raise load_error(answer["error"])
        # It is not our child to wait for: leave the with block without waiting.
        process.returncode = 0
    result: dict[str, Any] = answer["result"]
    return result


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and a closed terminal interrupt as Ctrl-C does: what was started is to be ended."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]  # nohup keeps its word
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


async def _supervise(spec: ClusterSpec, began_ns: int) -> int:
    from imctl.cluster.supervisor import Supervisor

    loop = asyncio.get_running_loop()
    supervisor = Supervisor(spec)
    starting = asyncio.current_task()
    assert starting is not None

    def interrupt() -> None:
        if not starting.cancelling():  # what comes while it ends what it has started changes nothing
            starting.cancel()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    try:
        await supervisor.start(began_ns)
    except asyncio.CancelledError:
        return 1
    except ImctlError as exc:
        _answer({"ok": False, "error": dump_error(exc)})
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    if not _answer({"ok": True, "result": supervisor.summary()}):
        await supervisor.stop(0.0)
        return 1
    await supervisor.stopped.wait()
    return 0


def _answer(document: dict[str, Any]) -> bool:
    """Tell who started us; False when that one was killed, so that nobody knows of the cluster."""
    try:
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        is_told = False
    else:
        is_told = True
    # Who reads it must not wait for us to end.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return is_told


def main() -> None:
    """Be the supervisor."""
    logging.basicConfig(level=logging.WARNING)
    began_ns = int(sys.argv[1]) if len(sys.argv) > 1 else time.monotonic_ns()
    spec = ClusterSpec.load(json.load(sys.stdin))
    try:
        import uvloop
    except ImportError:
        code = asyncio.run(_supervise(spec, began_ns))
    else:
        code = uvloop.run(_supervise(spec, began_ns))
    sys.exit(code)


if __name__ == "__main__":
    main()
