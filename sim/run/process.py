"""Worker processes of the simulator: how they are started and talk to the parent.

Both directions carry messages (see sim.run.packing) behind a four-byte length, over
the child's stdin and stdout. A child ends when its stdin does, so none outlives its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from protocol.aio.open_files import raise_open_files
from sim.errors import SimError
from sim.run.packing import LENGTH_BYTES, frame, pack, unpack

__all__ = ["ChildProcess", "WorkerDiedError", "WorkerHungError", "child_main", "read_messages", "run_loop"]

_STDERR_LINES = 20


class WorkerDiedError(SimError):
    """A process of the load generator ended before its work was done."""

    fate = "died"
    """What became of it, in a word."""

    def __init__(self, name: str, exit_code: int | None, last_words: str) -> None:
        super().__init__(f"{name} ended with exit code {exit_code}" + (f": {last_words}" if last_words else ""))
        self.name = name
        self.exit_code = exit_code


class WorkerHungError(WorkerDiedError):
    """A process of the load generator is there and does not do its work; it is as good as dead."""

    fate = "hung"

    def __init__(self, name: str, how: str) -> None:
        SimError.__init__(self, f"{name} hung: {how}")
        self.name = name
        self.exit_code = None


def run_loop(main: Awaitable[None]) -> None:
    """Run a coroutine on uvloop where it is installed, else on asyncio."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)  # type: ignore[arg-type]  # both take a coroutine, which is what every caller passes
    else:
        uvloop.run(main)  # type: ignore[arg-type]  # as above


class ChildProcess:
    """The parent's end of one process.

    Args:
        name: What errors call it, such as `worker 2`.
        module: Python module to run, such as `sim.clients.worker`.
    """

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        self._module = module
        self._process: asyncio.subprocess.Process
        self._last_words: deque[str] = deque(maxlen=_STDERR_LINES)
        self._stderr: asyncio.Task[None]

    async def start(self) -> None:
        """Start the process."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder here that is called sim or protocol must not hide ours
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C of a terminal reaches the whole group; only the parent decides what it means.
            start_new_session=True,
        )
        self._stderr = asyncio.get_running_loop().create_task(self._read_stderr(), name=f"{self.name} stderr")

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def send(self, message: object) -> None:
        """Send one message; an error when the process is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(frame(pack(message)))
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError) as exc:
            raise await self._died() from exc

    async def messages(self) -> AsyncIterator[Any]:
        """Yield what the process sends, until it closes its end."""
        assert self._process.stdout is not None
        async for message in read_messages(self._process.stdout):
            yield message

    def give_up(self) -> None:
        """Kill the process; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self, grace_s: float = 3.0) -> None:
        """Close its stdin, wait for it, kill it when it does not end by itself."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            process.kill()
            await process.wait()
        await self._stderr

    async def died(self) -> WorkerDiedError:
        """Return the error that tells how it ended, once it has."""
        return await self._died()

    async def _died(self) -> WorkerDiedError:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 2.0)
        await asyncio.wait([self._stderr], timeout=0.5)
        return WorkerDiedError(self.name, self._process.returncode, " | ".join(self._last_words))

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError):
            async for line in self._process.stderr:
                self._last_words.append(line.decode("utf-8", "replace").rstrip())


async def read_messages(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """Yield the messages of a stream, until its other end is closed."""
    while True:
        try:
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            data = await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return
        yield unpack(data)


Handler = Callable[[AsyncIterator[Any], Callable[[object], None]], Awaitable[None]]


def child_main(handler: Handler) -> None:
    """Run a child: `handler(messages from the parent, send to the parent)`; ends when either ends.

    send() may be called from any thread.
    """
    raise_open_files()
    # Whatever prints must not get between the messages.
    out = os.dup(1)
    os.dup2(2, 1)
    whole = threading.Lock()

    def send(message: object) -> None:
        view = memoryview(frame(pack(message)))
        with whole:
            while view:
                view = view[os.write(out, view) :]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        try:
            await handler(read_messages(reader), send)
        except* BrokenPipeError:
            pass  # the parent is gone
        finally:
            transport.close()

    run_loop(main())
