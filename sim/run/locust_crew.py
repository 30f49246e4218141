"""The workers of a run under Locust: its master, and where nobody says otherwise its workers, as processes of this one.

The master is a child that passes messages on (see sim.run.locust_relay). Workers
are started here, or elsewhere when the master's options say that it is for
workers from other machines; then the run begins when Locust has enough of
them, or when somebody presses Start on its web page.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import IO, Any

from sim.errors import SimError
from sim.report.measured import ClockReport
from sim.run.clocks import ClockOffset
from sim.run.crew import Worker
from sim.run.locust_messages import (
    FD_VARIABLE,
    Clocks,
    Listening,
    MeasureClocks,
    Member,
    Members,
    Quit,
    Relayed,
    Stopped,
    WorkerGone,
)
from sim.run.packing import UnpackError, frame, pack, unpack
from sim.run.process import WorkerDiedError, read_messages

__all__ = ["LocustCrew", "check_locust", "is_for_other_machines", "worker_command"]

_MODULE = "sim.run.locustfile"
_START_S = 60.0  # for a master, and for workers on this machine; importing Locust takes seconds on a busy one
_CLOCKS_S = 30.0
_END_S = 8.0
_LAST_LINES = 6
_UNREAD_S = 2.0
_QUEUE = 64  # messages of a worker that wait to be read; then nothing more is taken from the master
_NS_PER_MS = 1_000_000
_MASTER_ENDED = "Locust's master has ended"


def check_locust() -> None:
    """Find out whether Locust is installed, without importing it.

    Raises:
        SimError: it is not.
    """
    if importlib.util.find_spec("locust") is None:
        raise SimError("--locust: Locust is not installed", hint="pip install 'imctl[locust]'")


def is_for_other_machines(options: Sequence[str]) -> bool:
    """Whether Locust's options are those of a master whose workers are started elsewhere."""
    return "--master" in options


def worker_command(options: Sequence[str]) -> list[str]:
    """Return the command of a Locust worker, or a master, with such options."""
    return [sys.executable, "-P", "-m", _MODULE, *options]


class LocustCrew:
    """Locust's master and workers.

    Args:
        count: Workers: started here, or waited for where options have `--master`.
        options: Locust's own.
        output: Where its tables and what it logs go; None for nowhere.
    """

    def __init__(self, count: int, options: Sequence[str] = (), output: IO[str] | None = None) -> None:
        self._count = count
        self._options = list(options)
        self._output = output
        self._processes: list[asyncio.subprocess.Process] = []
        self._listening: list[asyncio.Task[None]] = []
        self._last_words: list[deque[str]] = []
        self._messages: AsyncIterator[Any]
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._workers: dict[str, _LocustWorker] = {}
        self._members: tuple[Member, ...] = ()
        self._ended = ""
        self._clocks: asyncio.Future[Clocks] | None = None

    async def start(self) -> Sequence[Worker]:
        """Start Locust, and return the workers that its run begins with."""
        check_locust()
        await self._start_master()
        listening = await self._first(Listening, _START_S)
        limit_s: float | None = None
        if not is_for_other_machines(self._options):
            for _ in range(self._count):
                to_master = ["--worker", "--master-host", "127.0.0.1", "--master-port", str(listening.port)]
                await self._spawn([*to_master, "--loglevel", "WARNING"])
            # With its web page somebody has to press Start, and may take their time.
            limit_s = _START_S if self._is_headless else None
        members = await self._first(Members, limit_s)
        if members.problem:
            raise SimError(f"the run cannot be made with these Locust workers: {members.problem}")
        self._members = members.members
        for number, member in enumerate(self._members, 1):
            name = f"worker {number} ({member.host}, pid {member.pid})"
            self._workers[member.id] = _LocustWorker(name, member.id, self._tell)
        self._reading = asyncio.get_running_loop().create_task(self._read(), name="locust master")
        return list(self._workers.values())

    def ended(self) -> str:
        """Return why Locust wants the run to end."""
        return self._ended

    async def clocks(self) -> Sequence[ClockReport]:
        """Compare the clocks of all workers that are still there once more, and return what that comes to."""
        later: dict[str, ClockOffset] = {}
        if any(member.clock is not None for member in self._members):
            self._clocks = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError, _MasterGoneError):
                await self._tell(MeasureClocks())
                later = (await asyncio.wait_for(self._clocks, _CLOCKS_S)).offsets
        reports = []
        for member in self._members:
            name, clock = self._workers[member.id].name, member.clock
            if clock is None:
                reports.append(ClockReport(name))
                continue
            clock = clock.widened_by(later.get(member.id, clock))
            ahead_ms, bound_ms = clock.ahead_ns / _NS_PER_MS, clock.bound_ns / _NS_PER_MS
            reports.append(ClockReport(name, round(ahead_ms, 3), round(bound_ms, 3)))
        return reports

    async def stop(self) -> None:
        """End master and workers; what does not end by itself in time is killed."""
        if self._writer is not None:
            with contextlib.suppress(_MasterGoneError):
                await self._tell(Quit())
            self._writer.close()
        waits = [asyncio.ensure_future(process.wait()) for process in self._processes]
        if waits:
            await asyncio.wait(waits, timeout=_END_S)
        for process in self._processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*waits, *self._listening)
        if self._reading is not None:
            # It tells those who read from the workers that nothing more comes; without readers it could not.
            await asyncio.wait([self._reading], timeout=_UNREAD_S)
            self._reading.cancel()

    @property
    def _is_headless(self) -> bool:
        return "--headless" in self._options or not any(one.startswith("--web-") for one in self._options)

    async def _start_master(self) -> None:
        options = ["--master", "--users", str(self._count), "--spawn-rate", str(self._count)]
        options += ["--expect-workers", str(self._count)]
        if self._is_headless:
            options.append("--headless")
        if not is_for_other_machines(self._options):
            options += ["--master-bind-host", "127.0.0.1", "--master-bind-port", "0", "--loglevel", "WARNING"]
        ours, theirs = socket.socketpair()
        try:
            await self._spawn([*options, *self._options], theirs)
        finally:
            theirs.close()
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            self._messages = read_messages(reader)

    async def _spawn(self, options: Sequence[str], link: socket.socket | None = None) -> None:
        kept = {} if link is None else {FD_VARIABLE: str(link.fileno())}
        process = await asyncio.create_subprocess_exec(
            *worker_command(options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | kept,
            pass_fds=[] if link is None else [link.fileno()],
            # As for ChildProcess: Ctrl-C of a terminal is for this process alone.
            start_new_session=True,
        )
        assert process.stdout is not None
        words: deque[str] = deque(maxlen=_LAST_LINES)
        self._processes.append(process)
        self._last_words.append(words)
        listening = self._listen(process.stdout, words)
        self._listening.append(asyncio.get_running_loop().create_task(listening, name="locust output"))

    async def _listen(self, lines: asyncio.StreamReader, last_words: deque[str]) -> None:
        """Pass on what a process of Locust's prints."""
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # longer than a line can be
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            last_words.append(text)
            if self._output is not None:
                self._output.write(f"{text}\n")
                self._output.flush()

    async def _first(self, kind: type[Any], limit_s: float | None) -> Any:
        """Return the next message, which is of this kind; an error when a process of ours ends before it comes."""
        message = asyncio.ensure_future(anext(self._messages, None))
        exits = [asyncio.ensure_future(process.wait()) for process in self._processes]
        try:
            await asyncio.wait([message, *exits], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if message.done() and isinstance(found := message.result(), kind):
                return found
            await asyncio.wait(exits, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (message, *exits):
                one.cancel()
        for number, process in enumerate(self._processes):
            if process.returncode is not None:
                await asyncio.wait([self._listening[number]], timeout=1.0)
                who = f"worker {number}" if number else "master"
                words = " | ".join(line for line in self._last_words[number] if line)
                raise SimError(
                    f"Locust's {who} ended with exit code {process.returncode} before the run could begin: {words}",
                    hint="what stands behind -- are options of Locust itself: locust --help",
                )
        raise SimError(f"Locust did not get ready within {limit_s:.0f} s")

    async def _tell(self, message: object) -> None:
        assert self._writer is not None
        try:
            self._writer.write(frame(pack(message)))
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as exc:
            raise _MasterGoneError from exc

    async def _read(self) -> None:
        async for message in self._messages:
            match message:
                case Relayed(worker, data):
                    await self._workers[worker].take(data)
                case WorkerGone(worker, why):
                    await self._workers[worker].end(why)
                case Clocks():
                    if self._clocks is not None and not self._clocks.done():
                        self._clocks.set_result(message)
                case Stopped():
                    self._ended = "ended by Locust"
        for one in self._workers.values():
            await one.end(_MASTER_ENDED)


class _MasterGoneError(Exception):
    """Locust's master does not read any more."""


class _WorkerLostError(WorkerDiedError):
    """Nothing more can be had of a worker."""

    def __init__(self, name: str, why: str) -> None:
        SimError.__init__(self, f"{name}: {why}")
        self.name = name
        self.exit_code = None


class _LocustWorker:
    """One worker, behind the master."""

    def __init__(self, name: str, locust_id: str, tell: Callable[[object], Awaitable[None]]) -> None:
        self.name = name
        self._id = locust_id
        self._tell = tell
        self._incoming: asyncio.Queue[Any] = asyncio.Queue(_QUEUE)
        self._why = ""

    async def send(self, message: object) -> None:
        """Send one message."""
        if self._why:
            raise await self.died()
        try:
            await self._tell(Relayed(self._id, pack(message)))
        except _MasterGoneError as exc:
            raise _WorkerLostError(self.name, _MASTER_ENDED) from exc

    async def messages(self) -> AsyncIterator[Any]:
        """Yield what it sends."""
        while (message := await self._incoming.get()) is not None:
            yield message

    async def died(self) -> WorkerDiedError:
        """Return how it ended."""
        return _WorkerLostError(self.name, self._why)

    def give_up(self) -> None:
        """Take nothing more; what Locust's processes are left with is ended with the run."""
        self._why = self._why or "it does not answer"
        while not self._incoming.empty():
            self._incoming.get_nowait()
        self._incoming.put_nowait(None)

    async def take(self, data: bytes) -> None:
        """Take what it has sent."""
        if self._why:
            return
        try:
            await self._incoming.put(unpack(data))
        except UnpackError as exc:
            await self.end(exc.message)

    async def end(self, why: str) -> None:
        """Note that nothing more comes."""
        if not self._why:
            self._why = why
            await self._incoming.put(None)
