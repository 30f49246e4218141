"""The simulator's receive path, latency and ledger on, beside a uvloop loop that only counts bytes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from benchmarks.measure import Line, cpu_s, ratio_of_medians
from benchmarks.processes import child
from benchmarks.source import BODY_BYTES, RUN
from protocol.bodies import AuthToken
from protocol.frame import HEADER_LEN, pack_frame
from sim.clients.plan import make_plan
from sim.clients.swarm import Swarm
from sim.run.target import Target
from sim.scenario.scenario import Event, Network, Phase, Population, Publisher, PublishTo, Scenario

__all__ = ["Rig", "rig", "run"]

_CLIENTS = 500
_ROUNDS = 7
_CHUNKS = 80
_POLL_S = 0.02


class _Counter(asyncio.Protocol):
    """The raw loop: counts bytes, nothing else."""

    total = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(pack_frame(7, AuthToken().serialize()))

    def data_received(self, data: bytes) -> None:
        _Counter.total += len(data)


@dataclass(frozen=True, slots=True)
class Rig:
    """A source of chunks with raw and simulated clients.

    Args:
        commands: The source's stdin.
        swarm: The simulated clients.
    """

    commands: asyncio.StreamWriter
    swarm: Swarm

    async def rounds(self, batch: int, count: int) -> tuple[list[float], list[float]]:
        """Return deliveries a CPU second of simulated and of raw clients, taken in turn, with so many a read."""
        raws, values = [], []
        for _ in range(count):
            raws.append(await _raw(self.commands, batch))
            values.append(await _simulated(self.commands, self.swarm, batch))
        return values, raws


@asynccontextmanager
async def rig(network: Network | None = None, events: tuple[Event, ...] = ()) -> AsyncIterator[Rig]:
    """Connect all clients, the simulated ones through a network."""
    async with child("benchmarks.source") as source:
        assert source.stdin is not None
        assert source.stdout is not None
        port = int(await source.stdout.readline())
        loop = asyncio.get_running_loop()
        begin = _Counter.total
        counters = [(await loop.create_connection(_Counter, "127.0.0.1", port))[0] for _ in range(_CLIENTS)]
        while _Counter.total - begin < _CLIENTS * HEADER_LEN:
            await asyncio.sleep(0.01)
        swarm = await _swarm(port, network, events)
        yield Rig(source.stdin, swarm)
        rows = [row for tally in swarm.tallies for row in tally.deliveries.values()]
        assert not any(one.duplicated or one.unexpected for row in rows for one in row)
        await swarm.close()
        for counter in counters:
            counter.abort()


async def run() -> list[Line]:
    """Measure with 1 and with 20 messages a read."""
    lines = []
    async with rig() as clients:
        for batch in (1, 20):
            values, raws = await clients.rounds(batch, _ROUNDS)
            ratio = ratio_of_medians(values, raws)
            lines.append(
                Line(
                    f"simulator, {batch} a read",
                    "deliveries/CPU-s",
                    statistics.median(values),
                    statistics.median(raws),
                    ratio,
                    "at least 0.85 of a loop that counts bytes",
                    ratio >= 0.85,
                )
            )
    return lines


async def _swarm(port: int, network: Network | None, events: tuple[Event, ...]) -> Swarm:
    population = Population(
        "viewers", _CLIENTS, rooms=("live://1",), mids=1, connect_rate_per_s=5000, heartbeat_s=3600.0, network=network
    )
    publisher = Publisher(PublishTo.ROOM, "viewers", rate_per_s=1.0)
    scenario = Scenario("bench", 1, (population,), (publisher,), (Phase("all", 3600.0),), events=events)
    address = (("127.0.0.1", port),)
    swarm = Swarm(make_plan(scenario), Target("bench", address, address, ()), run=RUN, part=0, parts=1)
    await swarm.connect()
    assert swarm.connected == _CLIENTS
    swarm.begin(time.monotonic_ns())
    return swarm


async def _raw(commands: asyncio.StreamWriter, batch: int) -> float:
    wanted = _Counter.total + (HEADER_LEN + BODY_BYTES) * batch * _CLIENTS * _CHUNKS
    before = cpu_s()
    commands.write(f"raw {_CHUNKS} {batch}\n".encode())
    while _Counter.total < wanted:
        await asyncio.sleep(_POLL_S)
    return _CHUNKS * _CLIENTS * batch / (cpu_s() - before)


async def _simulated(commands: asyncio.StreamWriter, swarm: Swarm, batch: int) -> float:
    wanted = max(swarm.clients[0].next, 0) + _CHUNKS * batch
    before = cpu_s()
    commands.write(f"sim {_CHUNKS} {batch}\n".encode())
    # A client's place tells at once what it has received; the swarm's own count lags by a span.
    while any(client.next < wanted for client in swarm.clients):
        await asyncio.sleep(_POLL_S)
    return _CHUNKS * _CLIENTS * batch / (cpu_s() - before)
