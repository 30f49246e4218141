"""One process of the cluster as the supervisor sees it: spawned, spoken to, signalled, ended."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imctl
from imctl.cluster.control import MAX_LINE_BYTES, load_error
from imctl.cluster.logs import LogFile
from imctl.cluster.spec import ProcessSpec
from imctl.errors import ClusterError, StartError

__all__ = ["ManagedProcess", "State", "child_environment"]

_LOAD_S = 30.0
"""Imports on a machine that is busy with something else."""


class State(enum.StrEnum):
    """What a process is doing, in the words of `imctl ps`."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


def child_environment() -> dict[str, str]:
    """Return the environment for `python -P -m imctl...`.

    -P keeps the current folder out of the child's import path, where a user's
    own `protocol` or `sim` folder would hide ours; so the path to imctl is named.
    """
    root = str(Path(imctl.__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root}


class ManagedProcess:
    """A child process and what is known of it.

    Args:
        spec: What runs in it.
        logs: Folder of its log file.
        on_warning: Called with each line of its log that is a warning or worse.
    """

    def __init__(self, spec: ProcessSpec, logs: Path, on_warning: Callable[[str], None] = lambda line: None) -> None:
        self.spec = spec
        self.state = State.STARTING
        self.pid: int | None = None
        self.ready = asyncio.Event()
        """Set while its nodes answer."""
        self.started_s = 0.0
        """time.monotonic() when it became ready; 0 while it is not."""
        self.ran_s = 0.0
        """For how long it was ready before it last ended."""
        self.restarts = 0
        self.last_exit = ""
        self.addresses: dict[str, str | None] = {}
        self.persistent: bool | None = None
        self._log = LogFile(logs / f"{spec.name}.log")
        self._on_warning = on_warning
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loaded: asyncio.Future[None] | None = None
        self._replies: dict[int, asyncio.Future[Any]] = {}  # Any: JSON
        self._ids = itertools.count(1)

    @property
    def name(self) -> str:
        return self.spec.name

    async def spawn(self) -> None:
        """Start the process and hand it its spec; it imports while the caller does something else."""
        self.ready.clear()
        self._loaded = asyncio.get_running_loop().create_future()
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "imctl.cluster.child", self.name, str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            env=child_environment(),
            # Away from the terminal's signals: Ctrl-C and a closed terminal go to the supervisor alone.
            start_new_session=True,
        )
        self.pid = process.pid
        self._send(self.spec.dump())
        self._tasks = [
            asyncio.create_task(self._read_replies(process), name=f"{self.name} replies"),
            asyncio.create_task(self._read_log(process), name=f"{self.name} log"),
        ]

    async def start(self, registry: str | None, timeout_s: float) -> None:
        """Have its nodes start; returns when they are ready.

        Raises:
            ImctlError: what the node failed with, such as PortInUseError.
            StartError: it ended, or took too long.
        """
        assert self._loaded is not None, "spawn() comes first"
        try:
            async with asyncio.timeout(_LOAD_S):
                await asyncio.shield(self._loaded)
            ready = await self.call("start", timeout_s, registry=registry)
        except (ClusterError, TimeoutError) as exc:
            raise StartError(
                f"{self.name} did not start: {str(exc) or 'it took too long to load'}",
                hint=f"imctl logs {self.name}",
            ) from exc
        self.addresses = ready["addresses"]
        self.persistent = ready["persistent"]
        self.spec = self.spec.pinned(self.addresses)
        self.started_s = time.monotonic()
        self.state = State.RUNNING
        self.ready.set()

    async def call(self, cmd: str, timeout_s: float, **fields: Any) -> Any:
        """Send a request and return its result. Any: JSON.

        Raises:
            ImctlError: what the process answered.
            ClusterError: it is gone, paused, or does not answer in time.
        """
        if self.state is State.PAUSED:
            raise ClusterError(f"{self.name} is paused", hint=f"imctl resume {self.name}")
        number = next(self._ids)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            self._send({"id": number, "cmd": cmd, **fields})
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError:
            raise ClusterError(f"{self.name} did not answer {cmd} in {timeout_s:g} s") from None
        finally:
            self._replies.pop(number, None)

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process is gone."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end, tidy up, and return its exit code (minus the signal)."""
        assert self._process is not None, "spawn() comes first"
        code = await self._process.wait()
        self.pid = None
        self.ready.clear()
        self.ran_s = time.monotonic() - self.started_s if self.started_s else 0.0
        self.started_s = 0.0
        self.last_exit = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        self._fail_waiting()
        assert self._process.stdin is not None
        self._process.stdin.close()
        # What it wrote last, its reason most of all. Bounded, since a child of its own may hold the pipe.
        _, late = await asyncio.wait(self._tasks, timeout=1.0)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return code

    async def stop(self, grace_s: float) -> None:
        """Have it drain and end, by force when it takes longer; the caller's wait() tidies up."""
        started = self.state in (State.RUNNING, State.PAUSED)
        self.state = State.STOPPING
        self.signal(signal.SIGCONT)  # a stopped process would not notice
        if started:
            with contextlib.suppress(ClusterError):
                await self.call("stop", 1.0, grace_s=grace_s)
        else:
            self.signal(signal.SIGTERM)
        assert self._process is not None
        try:
            async with asyncio.timeout(grace_s + 1.0):
                await self._process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()

    def log(self, line: bytes) -> None:
        """Put a line into its log."""
        self._log.write(line)

    def close(self) -> None:
        """Close the log file; after wait()."""
        self._log.close()

    def _send(self, document: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None or process.stdin.is_closing():
            raise ClusterError(f"{self.name} is not running")
        process.stdin.write(json.dumps(document).encode() + b"\n")

    async def _read_replies(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            document = json.loads(line)
            if "event" in document:
                if self._loaded is not None and not self._loaded.done():
                    if document["event"] == "loaded":
                        self._loaded.set_result(None)
                    else:
                        self._loaded.set_exception(load_error(document["error"]))
                continue
            reply = self._replies.get(document["id"])
            if reply is None or reply.done():
                continue
            if document["ok"]:
                reply.set_result(document["result"])
            else:
                reply.set_exception(load_error(document["error"]))
        self._fail_waiting()

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        rest = b""
        # In pieces and not by line: a line may be of any length.
        while data := await process.stderr.read(65536):
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if newline:
                self._log.write(whole + newline)
                for line in whole.split(b"\n"):
                    words = line.split(b" ", 2)
                    if len(words) == 3 and words[1] in (b"WARNING", b"ERROR", b"CRITICAL"):
                        self._on_warning(b" ".join(words[1:]).decode("utf-8", "replace"))
            elif len(rest) > 65536:
                self._log.write(rest + b"\n")
                rest = b""
        if rest:
            self._log.write(rest + b"\n")

    def _fail_waiting(self) -> None:
        gone = ClusterError(f"{self.name} ended")
        waiting = [*self._replies.values(), *([self._loaded] if self._loaded is not None else [])]
        for future in waiting:
            if not future.done():
                future.set_exception(gone)
                future.exception()  # nobody may be waiting: then it is not an error
