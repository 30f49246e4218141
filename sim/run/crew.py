"""How a run reaches the processes that hold its clients.

A run asks a crew for its workers and talks to each in the messages of
`sim.run.messages`; whether they are children of this process or on other machines
is the crew's affair.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from sim.report.measured import ClockReport
from sim.run.process import ChildProcess, WorkerDiedError

__all__ = ["Crew", "LocalCrew", "Worker", "default_workers"]

_CLIENTS_PER_WORKER = 15_000  # a process may have 20,000 files open on many machines


class Worker(Protocol):
    """One process, as a run sees it."""

    @property
    def name(self) -> str:
        """What errors call it."""

    async def send(self, message: object) -> None:
        """Send one message; WorkerDiedError when it is gone."""

    def messages(self) -> AsyncIterator[Any]:
        """Yield what it sends, until it is gone; in order, each once."""

    async def died(self) -> WorkerDiedError:
        """Return how it ended, once it has."""

    def give_up(self) -> None:
        """Want nothing more of it, for it hangs: messages() ends, and send() waits for nothing."""


class Crew(Protocol):
    """The workers of one run."""

    async def start(self) -> Sequence[Worker]:
        """Return the workers, ready for their first message.

        Raises:
            SimError: they cannot be started, or there are none.
        """

    def ended(self) -> str:
        """Return why whoever runs the workers wants the run to end; empty as long as nobody does."""

    async def clocks(self) -> Sequence[ClockReport]:
        """Return how the clocks of workers compare with ours; () when all are processes of this one."""

    async def stop(self) -> None:
        """End the workers, whatever they do; start() need not have come to its end."""


def default_workers(clients: int) -> int:
    """Return one worker a core, but no more than the clients can keep busy, and as many as their open files need."""
    return max(1, min(os.cpu_count() or 1, -(-clients // 500)), -(-clients // _CLIENTS_PER_WORKER))


class LocalCrew:
    """Child processes of this one.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._workers = [ChildProcess(f"worker {i + 1}", "sim.clients.worker") for i in range(count)]

    async def start(self) -> Sequence[Worker]:
        """Start the processes."""
        await asyncio.gather(*(worker.start() for worker in self._workers))
        return self._workers

    def ended(self) -> str:
        """Return an empty text: nobody else runs them."""
        return ""

    async def clocks(self) -> Sequence[ClockReport]:
        """Return (): they have our clock."""
        return ()

    async def stop(self) -> None:
        """End the processes."""
        await asyncio.gather(*(worker.stop() for worker in self._workers), return_exceptions=True)
