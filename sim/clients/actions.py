"""What a scenario does to its clients while it runs: events on the time line, churn, and the ends of sessions."""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import random
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, TypeVar

from sim.clients.client import SimClient
from sim.clients.spread import chosen_clients
from sim.network.network import Undo
from sim.report.model import EventReport
from sim.run.clocks import monotonic_ns
from sim.scenario.scenario import Backoff, Churn, Event, EventKind, ExponentialTime, Population, Session

if TYPE_CHECKING:
    from sim.clients.swarm import Swarm

__all__ = ["ClientActions"]

T = TypeVar("T")

_NS_PER_S = 1_000_000_000
_AT_A_TIME = 100  # clients an event takes before others have their turn: a few ms
_LOGINS = frozenset((EventKind.TAKE_OVER, EventKind.ADD_DEVICE))


class ClientActions:
    """Plays the client events of a scenario on one swarm.

    Which clients an event takes follows from the seed and the event's place in
    the file, over the whole population, and so it is with churn: every worker
    draws the same ones and acts on those it has. The sessions of a client
    follow from the seed and the client alone.

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
                    play = self._network_event if event.kind.for_network else self._event
                    together.create_task(play(number, event, t0_ns), name=f"event {number}")
            for population in self._scenario.clients:
                if population.churn is not None:
                    churn = self._churn(population, population.churn, t0_ns)
                    together.create_task(churn, name=f"churn {population.name}")
                if population.session is not None:
                    sessions = self._sessions(population, population.session, t0_ns)
                    together.create_task(sessions, name=f"sessions {population.name}")

    async def _event(self, number: int, event: Event, t0_ns: int) -> None:
        await _until(t0_ns + round(event.at_s * _NS_PER_S))
        at_s = round((monotonic_ns() - t0_ns) / _NS_PER_S, 3)
        taken: list[SimClient] = []
        async for index in _in_turns(chosen_clients(self._scenario, number)):
            client = self._swarm.client_of(index)
            if client is not None and client.is_in and not client.replaced:
                self._act(event, client)
                taken.append(client)
        self.done[number] = EventReport(at_s, event.kind.value, event.who, len(taken), event.for_s)
        if event.kind in _LOGINS:
            taken = await self._log_in(number, event, taken)
        if event.for_s is None or not event.kind.lasts:
            return
        await asyncio.sleep(event.for_s)
        for client in taken:
            match event.kind:
                case EventKind.STOP_READING:
                    client.read_on()
                case EventKind.SILENCE:
                    client.speak()
                case EventKind.ADD_DEVICE:
                    client.leave()

    async def _network_event(self, number: int, event: Event, t0_ns: int) -> None:
        await _until(t0_ns + round(event.at_s * _NS_PER_S))
        at_s = round((monotonic_ns() - t0_ns) / _NS_PER_S, 3)
        ends: list[Undo] = []
        async for index in _in_turns(chosen_clients(self._scenario, number)):
            end = self._swarm.networks.begin(event, index)
            if end is not None:
                ends.append(end)
        self.done[number] = EventReport(at_s, event.kind.value, event.who, len(ends), event.for_s)
        if event.for_s is not None:
            await asyncio.sleep(event.for_s)
            async for end in _in_turns(ends):
                end()

    async def _log_in(self, number: int, event: Event, clients: list[SimClient]) -> list[SimClient]:
        """Log clients in once more, as many at a time as the population connects; return the new connections."""
        self.done[number] = dataclasses.replace(self.done[number], count=0)
        new: list[SimClient] = []

        async def log_in(client: SimClient) -> None:
            if event.kind is EventKind.TAKE_OVER:
                got_in = await self._swarm.take_over(client, other_comet=event.other_comet)
            else:
                device = await self._swarm.add_device(client, number, other_comet=event.other_comet)
                got_in = device is not None
                new.extend([device] if device is not None else [])
            done = self.done[number]
            self.done[number] = dataclasses.replace(done, count=done.count + got_in)

        async with asyncio.TaskGroup() as together:
            for client in clients:
                together.create_task(log_in(client), name=f"{event.kind.value} {client.plan.index}")
        return new

    def _act(self, event: Event, client: SimClient) -> None:
        """Do to a client what the event says, if that is done at once."""
        match event.kind:
            case EventKind.DISCONNECT:
                client.leave()
                if event.reconnect is not None:
                    self._swarm.connector.come_back(client, event.reconnect)
            case EventKind.STOP_READING:
                client.stop_reading()
            case EventKind.SILENCE:
                client.silence()
            case EventKind.CHANGE_ROOM:
                client.change_room(event.room)
            case EventKind.SUBSCRIBE:
                client.subscribe(event.ops)
            case EventKind.UNSUBSCRIBE:
                client.unsubscribe(event.ops)

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
                self._leave(index, churn.away, away_s)
            at_ns += gap_ns

    def _leave(self, index: int, away: Backoff | None, away_s: float) -> None:
        """Let a client leave if it is in, for that time; for good when it has none."""
        client = self._swarm.client_of(index)
        if client is not None and client.is_in:
            client.leave()
            if away is not None:
                self._swarm.connector.come_back(client, away, away_s=away_s)

    async def _sessions(self, population: Population, session: Session, t0_ns: int) -> None:
        """Let each client of a population leave at the end of its session, and come back where it does."""
        base = self._bases[population.name]
        seed = self._scenario.seed
        # The nth session of a client begins and ends at times that are known from the start, however long it takes
        # to get back in.
        due: list[tuple[int, int, int]] = []
        for client in self._swarm.clients:
            index = client.plan.index
            if base <= index < base + population.count:
                due.append((t0_ns + _session_ns(session, seed, index, 0)[0], index, 0))
        heapq.heapify(due)
        end_ns = t0_ns + round(self._scenario.duration_s * _NS_PER_S)
        while due and due[0][0] < end_ns:
            at_ns, index, number = due[0]
            await _until(at_ns)
            away_ns = _session_ns(session, seed, index, number)[1]
            self._leave(index, session.away, away_ns / _NS_PER_S)
            if session.away is None:
                heapq.heappop(due)
            else:
                length_ns = _session_ns(session, seed, index, number + 1)[0]
                heapq.heapreplace(due, (at_ns + away_ns + length_ns, index, number + 1))


def _session_ns(session: Session, seed: int, index: int, number: int) -> tuple[int, int]:
    """Return how long a client's nth session lasts, and how long it is away after that."""
    rng = random.Random(f"{seed}/session/{index}/{number}")  # no generator is kept: each has 2.5 KB
    away = session.away or Backoff(0.0, 0.0)
    return _draw_ns(session.length, rng), _draw_ns(away, rng)


def _draw_ns(length: Backoff | ExponentialTime, rng: random.Random) -> int:
    if isinstance(length, ExponentialTime):
        return round(rng.expovariate(1 / length.mean_s) * _NS_PER_S)
    return round(rng.uniform(length.min_s, length.max_s) * _NS_PER_S)


async def _in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items; what others receive meanwhile need not wait for all of them."""
    for number, item in enumerate(items):
        if number % _AT_A_TIME == _AT_A_TIME - 1:
            await asyncio.sleep(0)
        yield item


async def _until(at_ns: int) -> None:
    await asyncio.sleep(max(at_ns - monotonic_ns(), 0) / _NS_PER_S)
