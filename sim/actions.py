"""What a scenario does to its clients while it runs: events on the time line, and churn."""

from __future__ import annotations

import asyncio
import random
from time import monotonic_ns
from typing import TYPE_CHECKING

from sim.client import SimClient
from sim.report.model import EventReport
from sim.scenario import Churn, Event, EventKind, Population

if TYPE_CHECKING:
    from sim.swarm import Swarm

__all__ = ["ClientActions"]

_NS_PER_S = 1_000_000_000
_AT_A_TIME = 100  # clients an event takes before others have their turn: a few ms


class ClientActions:
    """Plays the client events of a scenario on one swarm.

    Which clients an event takes follows from the seed and the event's place in
    the file, over the whole population, and so it is with churn: every worker
    draws the same ones and acts on those it has.

    Attributes:
        done: What was done to clients of this swarm, by place of the event in the scenario.
    """

    def __init__(self, swarm: Swarm) -> None:
        self.done: dict[int, EventReport] = {}
        self._swarm = swarm
        self._scenario = swarm.plan.scenario
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
            for population in self._scenario.clients:
                if population.churn is not None:
                    churn = self._churn(population, population.churn, t0_ns)
                    together.create_task(churn, name=f"churn {population.name}")

    async def _event(self, number: int, event: Event, t0_ns: int) -> None:
        await _until(t0_ns + round(event.at_s * _NS_PER_S))
        at_s = round((monotonic_ns() - t0_ns) / _NS_PER_S, 3)
        taken: list[SimClient] = []
        for tried, index in enumerate(self._chosen(number, event)):
            if tried % _AT_A_TIME == _AT_A_TIME - 1:
                await asyncio.sleep(0)  # what the others receive meanwhile must not wait for all of them
            client = self._swarm.client_of(index)
            if client is not None and client.is_in and self._act(event, client):
                taken.append(client)
        self.done[number] = EventReport(at_s, event.kind.value, event.who, len(taken), event.for_s)
        if event.for_s is None or not event.kind.lasts:
            return
        await asyncio.sleep(event.for_s)
        for client in taken:
            if event.kind is EventKind.STOP_READING:
                client.read_on()
            else:
                client.silenced -= 1

    def _chosen(self, number: int, event: Event) -> list[int]:
        """Return the clients an event is meant for by their index over all clients, at least one."""
        count = self._scenario.population(event.who).count
        rng = random.Random(f"{self._scenario.seed}/event/{number}")
        base = self._bases[event.who]
        return sorted(base + i for i in rng.sample(range(count), max(1, round(count * event.fraction))))

    def _act(self, event: Event, client: SimClient) -> bool:
        """Do to a client what the event says; return whether that was possible."""
        match event.kind:
            case EventKind.DISCONNECT:
                client.leave()
                if event.reconnect is not None:
                    self._swarm.connector.come_back(client, event.reconnect)
            case EventKind.STOP_READING:
                client.stop_reading()
            case EventKind.SILENCE:
                client.silenced += 1
            case EventKind.CHANGE_ROOM:
                return client.change_room(event.room)
        return True

    async def _churn(self, population: Population, churn: Churn, t0_ns: int) -> None:
        """Let clients of a population leave and come back, at a steady rate until the last phase ends."""
        base = self._bases[population.name]
        if not any(base <= client.plan.index < base + population.count for client in self._swarm.clients):
            return
        rng = random.Random(f"{self._scenario.seed}/churn/{population.name}")
        gap_ns = _NS_PER_S / churn.rate_per_s
        at_ns = t0_ns + gap_ns * rng.random()
        end_ns = t0_ns + round(self._scenario.duration_s * _NS_PER_S)
        while at_ns < end_ns:
            # Drawn for whoever it is and wherever that one is now, or the next draw would not be the same everywhere.
            index = base + rng.randrange(population.count)
            away_s = rng.uniform(churn.away.min_s, churn.away.max_s)
            if self._swarm.client_of(index) is not None:
                await _until(round(at_ns))
                client = self._swarm.client_of(index)
                if client is not None and client.is_in:
                    client.leave()
                    self._swarm.connector.come_back(client, churn.away, away_s=away_s)
            at_ns += gap_ns


async def _until(at_ns: int) -> None:
    await asyncio.sleep(max(at_ns - monotonic_ns(), 0) / _NS_PER_S)
