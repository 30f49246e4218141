"""What a scenario does to its clients while it runs: events on the time line, and churn."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from time import monotonic_ns
from typing import TYPE_CHECKING

from sim.client import SimClient
from sim.report.model import EventReport
from sim.scenario import Churn, Event, EventKind

if TYPE_CHECKING:
    from sim.swarm import Swarm

__all__ = ["ClientActions"]

_NS_PER_S = 1_000_000_000


class ClientActions:
    """Plays the client events of a scenario on one swarm.

    Which clients an event takes follows from the seed and the event's place in
    the file, over the whole population: every worker draws the same ones and
    acts on those it has.
    """

    def __init__(self, swarm: Swarm, *, part: int, parts: int) -> None:
        self.done: list[EventReport] = []
        self._swarm = swarm
        self._scenario = swarm.plan.scenario
        self._parts = parts
        self._random = random.Random(f"{self._scenario.seed}/churn/{part}")
        self._by_index = {client.plan.index: i for i, client in enumerate(swarm.clients)}
        self._bases: dict[str, int] = {}
        base = 0
        for population in self._scenario.clients:
            self._bases[population.name] = base
            base += population.count

    async def play(self, t0_ns: int) -> None:
        """Do everything at its time; returns after the last event."""
        async with asyncio.TaskGroup() as together:
            for number, event in enumerate(self._scenario.events):
                if not event.kind.for_nodes:
                    together.create_task(self._event(number, event, t0_ns), name=f"event {number}")
            for index, population in enumerate(self._scenario.clients):
                if population.churn is not None:
                    together.create_task(self._churn(index, population.churn, t0_ns), name=f"churn {population.name}")

    async def _event(self, number: int, event: Event, t0_ns: int) -> None:
        await _until(t0_ns + round(event.at_s * _NS_PER_S))
        chosen = list(self._chosen(number, event))
        at_s = (monotonic_ns() - t0_ns) / _NS_PER_S
        for client in chosen:
            match event.kind:
                case EventKind.DISCONNECT:
                    client.leave()
                    if event.reconnect is not None:
                        self._swarm.connector.come_back(client, event.reconnect)
                case EventKind.STOP_READING:
                    client.stop_reading()
                case EventKind.SILENCE:
                    client.silent = True
                case EventKind.CHANGE_ROOM:
                    client.change_room(event.room)
        self.done.append(EventReport(round(at_s, 3), event.kind.value, event.who, len(chosen), event.for_s))
        if event.for_s is not None and event.kind.lasts:
            await asyncio.sleep(event.for_s)
            for client in chosen:
                client.read_on()
                client.silent = False

    def _chosen(self, number: int, event: Event) -> Iterator[SimClient]:
        population = self._scenario.population(event.who)
        rng = random.Random(f"{self._scenario.seed}/event/{number}")
        base = self._bases[event.who]
        # At least one: a small run must not pass because nothing was done.
        count = max(1, round(population.count * event.fraction))
        for i in sorted(rng.sample(range(population.count), count)):
            position = self._by_index.get(base + i)
            if position is not None and self._swarm.clients[position].is_in:
                yield self._swarm.clients[position]

    async def _churn(self, index: int, churn: Churn, t0_ns: int) -> None:
        """Let clients of a population leave and come back, at a steady rate until the last phase ends."""
        positions = [i for i, client in enumerate(self._swarm.clients) if client.plan.population == index]
        if not positions:
            return
        gap_ns = round(_NS_PER_S * self._parts / churn.rate_per_s)
        end_ns = t0_ns + round(self._scenario.duration_s * _NS_PER_S)
        at_ns = t0_ns + round(gap_ns * self._random.random())
        while at_ns < end_ns:
            await _until(at_ns)
            client = self._swarm.clients[self._random.choice(positions)]
            if client.is_in:
                client.leave()
                away_s = self._random.uniform(churn.away.min_s, churn.away.max_s)
                self._swarm.connector.come_back(client, churn.away, away_s=away_s)
            at_ns += gap_ns


async def _until(at_ns: int) -> None:
    await asyncio.sleep(max(at_ns - monotonic_ns(), 0) / _NS_PER_S)
