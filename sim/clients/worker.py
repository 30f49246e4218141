"""A worker process: one swarm, told what to do by the parent."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sim.clients.plan import make_plan
from sim.clients.swarm import Swarm
from sim.run.health import HealthMeter
from sim.run.heartbeats import EVERY_S
from sim.run.messages import Begin, Connect, Connected, Finish, Job, Judging, Progress, Result, Seen
from sim.run.process import child_main

__all__ = ["main"]


async def work(messages: AsyncIterator[Any], send: Callable[[object], None]) -> None:
    """Serve one run; returns when the parent closes its end."""
    job: Job = await anext(messages)
    swarm = Swarm(make_plan(job.scenario), job.target, run=job.run, part=job.part, parts=job.parts)
    swarm.sightings.tell = lambda places: send(Seen(places))
    # Clients live as long as the process: the collector need not look at them again and again.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    health = HealthMeter()
    tasks: list[asyncio.Task[None]] = []
    try:
        # The group: a task that fails ends the process, and the parent hears of it.
        async with asyncio.TaskGroup() as group:
            tasks.append(group.create_task(_report(swarm, send), name="progress"))
            async for message in messages:
                match message:
                    case Connect():
                        tasks.append(group.create_task(_connect(swarm, send), name="connect"))
                    case Begin(t0_ns):
                        swarm.begin(t0_ns)
                        gc.freeze()
                        health.start()
                    case Finish(logs):
                        figures = health.read()
                        tasks[0].cancel()
                        with _beating(send):
                            result = swarm.finish(logs)
                        send(Result(result, figures, swarm.take_seconds(all_of_them=True)))
            for task in tasks:
                task.cancel()
    finally:
        await health.stop()
        await swarm.close()


@contextmanager
def _beating(send: Callable[[object], None]) -> Iterator[None]:
    """Say from a thread that we live, while the loop is at work on something long and sends nothing itself."""
    over = threading.Event()

    def beat() -> None:
        with suppress(BrokenPipeError):  # the parent is gone
            while not over.wait(EVERY_S):
                send(Judging())

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def _connect(swarm: Swarm, send: Callable[[object], None]) -> None:
    await swarm.connect()
    send(Connected())


async def _report(swarm: Swarm, send: Callable[[object], None]) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        swarm.check()
        seconds = swarm.take_seconds()
        send(
            Progress(
                swarm.connected,
                swarm.failed,
                swarm.alive,
                swarm.delivered,
                seconds,
                swarm.lost_connections,
                swarm.connector.reconnects,
                swarm.take_live(),
                swarm.live_deliveries(),
            )
        )


def main() -> None:
    """Run as `python -m sim.clients.worker`."""
    child_main(work)


if __name__ == "__main__":
    main()
