"""The processes of a run as its course sees them: started, told, heard, found dead or hung, ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from sim.errors import RunInterruptedError
from sim.run.crew import Crew, Worker
from sim.run.heartbeats import Heartbeats
from sim.run.meanwhile import meanwhile
from sim.run.messages import Job, Seen
from sim.run.process import ChildProcess, WorkerDiedError, WorkerHungError

__all__ = ["RunProcesses"]

_FIRST_WORD_S = 30.0  # for a process to start; importing takes seconds on a busy machine
_LOOK_S = 0.1


class RunProcesses:
    """Workers and publisher of one run.

    Args:
        crew: Has the workers.
        take: Called with each message of one, except those for the publisher, which are passed on.
        interrupt: When it is set before there are workers, there is no run.
    """

    def __init__(self, crew: Crew, take: Callable[[Worker, object], None], interrupt: asyncio.Event) -> None:
        self.crew = crew
        self.workers: Sequence[Worker] = ()
        self.publisher = ChildProcess("publisher", "sim.publish.publisher")
        self.dead: list[WorkerDiedError] = []
        """Those that ended before their work was done, and those that hang, which are given up."""
        self.changed = asyncio.Event()
        """Set whenever something came of one, or was found out about it."""
        self.heartbeats = Heartbeats()
        self._take = take
        self._interrupt = interrupt
        self._readers: list[asyncio.Task[None]] = []
        self._ending = False

    @property
    def living(self) -> frozenset[str]:
        """Names of the workers that are not dead."""
        return frozenset(worker.name for worker in self.workers) - {error.name for error in self.dead}

    @property
    def publisher_lives(self) -> bool:
        """Whether the publisher is not dead."""
        return all(error.name != self.publisher.name for error in self.dead)

    @contextlib.asynccontextmanager
    async def running(self, worker_job: Callable[[int, int], Job], publisher_job: Job) -> AsyncIterator[None]:
        """Start them and hand out their jobs; end them whatever happens.

        Args:
            worker_job: Returns the job of a worker, by its number and how many there are.
            publisher_job: The publisher's.
        """
        try:
            await self.publisher.start()
            self.workers = await self._crew_or_interrupt()
            for child in (*self.workers, self.publisher):
                self.heartbeats.expect(child.name, _FIRST_WORD_S)
                self._readers.append(asyncio.create_task(self._read(child), name=f"read {child.name}"))
            async with meanwhile(self._watch(), "heartbeats"):
                for number, worker in enumerate(self.workers):
                    await self.tell(worker, worker_job(number, len(self.workers)))
                await self.tell(self.publisher, publisher_job)
                yield
        finally:
            self._ending = True
            await asyncio.gather(self.crew.stop(), self.publisher.stop(), return_exceptions=True)
            await asyncio.gather(*self._readers, return_exceptions=True)

    async def tell(self, child: Worker, message: object) -> None:
        """Send a message; one that is dead, or dies of it, is noted."""
        try:
            await child.send(message)
        except WorkerDiedError as exc:
            self._note_dead(exc)

    async def tell_workers(self, message: object) -> None:
        """Send a message to all workers that live."""
        living = self.living
        await asyncio.gather(*(self.tell(worker, message) for worker in self.workers if worker.name in living))

    def give_up(self, name: str, how: str) -> None:
        """Take a process for dead that is there and does not do its work.

        Args:
            name: Of the process.
            how: What it did not do, for the report.
        """
        self._note_dead(WorkerHungError(name, how))
        for child in (*self.workers, self.publisher):
            if child.name == name:
                child.give_up()

    async def _crew_or_interrupt(self) -> Sequence[Worker]:
        """Start the workers; on other machines somebody may be long in doing that."""
        starting = asyncio.ensure_future(self.crew.start())
        asked = asyncio.ensure_future(self._interrupt.wait())
        try:
            await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                raise RunInterruptedError("the run was ended before it had its workers: nothing was measured")
            return starting.result()
        finally:
            starting.cancel()
            asked.cancel()
            await asyncio.wait((starting, asked))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            for name, silent_s in self.heartbeats.look().items():
                self.give_up(name, f"nothing came from it for {silent_s:.0f} s")

    async def _read(self, child: Worker) -> None:
        async for message in child.messages():
            self.heartbeats.heard(child.name)
            if isinstance(message, Seen):
                # Nothing is read of a worker meanwhile: should it take long, it is the publisher that hangs.
                self.heartbeats.forget(child.name)
                await self.tell(self.publisher, message)
                if child.name in self.living:
                    self.heartbeats.expect(child.name)
                continue  # nothing of the run has changed
            self._take(child, message)
            self.changed.set()
        if not self._ending:
            self._note_dead(await child.died())

    def _note_dead(self, error: WorkerDiedError) -> None:
        self.heartbeats.forget(error.name)
        if not any(known.name == error.name for known in self.dead):
            self.dead.append(error)
        self.changed.set()
