"""What the supervisor knows of one process of the cluster, whatever runs in it."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import enum
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import imctl
from imctl.cluster.control import MAX_LINE_BYTES
from imctl.cluster.logs import LogFile
from imctl.cluster.naming import DEFAULT_CLUSTER, command_for

__all__ = ["State", "Supervised", "child_environment"]


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


class _Spec(Protocol):
    """What is started; the rest of it is the affair of who starts it."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...


class Supervised(abc.ABC):
    """A child process and what is known of it.

    Args:
        spec: What runs in it.
        logs: Folder of its log file.
        cluster: Name of its cluster, for hints.
    """

    def __init__(self, spec: _Spec, logs: Path, cluster: str = DEFAULT_CLUSTER) -> None:
        self.cluster = cluster
        self.name = spec.name
        self.kind = spec.kind
        self.state = State.STARTING
        self.pid: int | None = None
        self.ready = asyncio.Event()
        """Set while it answers."""
        self.started_s = 0.0
        """time.monotonic() when it became ready; 0 while it is not."""
        self.ran_s = 0.0
        """For how long it was ready before it last ended."""
        self.restarts = 0
        self.last_exit = ""
        self.addresses: dict[str, str | None] = {}
        self.persistent: bool | None = None
        """Whether sessions in it, or where it keeps them, survive a stop of the cluster; None when it has none."""
        self._log = LogFile(logs / f"{spec.name}.log")
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def hint(self, command: str) -> str:
        """Return a command about this process, such as `imctl logs comet-1`, as it is typed for its cluster."""
        return command_for(self.cluster, f"imctl {command} {self.name}")

    @abc.abstractmethod
    async def spawn(self) -> None:
        """Start the process; it loads while the caller does something else."""

    @abc.abstractmethod
    async def start(self, registry: str | None, timeout_s: float) -> None:
        """Return when it is ready.

        Raises:
            ImctlError: what it failed with, such as PortInUseError.
            StartError: it ended, or took too long.
        """

    @abc.abstractmethod
    async def call(self, cmd: str, timeout_s: float, **fields: Any) -> Any:
        """Send a request and return its result. Any: JSON.

        Raises:
            ImctlError: what the process answered.
            ClusterError: it is gone, paused, or does not answer in time.
        """

    @abc.abstractmethod
    async def _ask_to_end(self, grace_s: float) -> None:
        """Have a process that runs drain and end; returns at once."""

    @abc.abstractmethod
    def _has_ended(self) -> None:
        """Let go of what waits for an answer of the process."""

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
        self._has_ended()
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
            await self._ask_to_end(grace_s)
        else:
            self.signal(signal.SIGTERM)
        assert self._process is not None
        try:
            async with asyncio.timeout(grace_s + 1.0):
                await self._process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()

    def close(self) -> None:
        """Close the log file; after wait()."""
        self._log.close()

    async def _execute(self, *command: str) -> asyncio.subprocess.Process:
        """Start the program with pipes to it, which die with us or it."""
        self.ready.clear()
        self._process = process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            env=child_environment(),
            # Away from the terminal's signals: Ctrl-C and a closed terminal go to the supervisor alone.
            start_new_session=True,
        )
        self.pid = process.pid
        return process

    def _is_ready(self) -> None:
        self.started_s = time.monotonic()
        self.state = State.RUNNING
        self.ready.set()

    async def _read_log(self, stream: asyncio.StreamReader | None, take: Callable[[bytes], None]) -> None:
        """Hand over what comes, whole lines together; a line of more than 64 KiB is cut."""
        assert stream is not None
        rest = b""
        # In pieces and not by line: a line may be of any length.
        while data := await stream.read(65536):
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if newline:
                take(whole + newline)
            elif len(rest) > 65536:
                take(rest + b"\n")
                rest = b""
        if rest:
            take(rest + b"\n")
