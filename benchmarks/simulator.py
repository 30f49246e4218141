"""The simulator's receive path, latency and ledger on, beside a uvloop loop that only counts bytes."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import cast

from benchmarks.measure import Line, cpu_s, ratio_of_medians
from benchmarks.processes import child
from benchmarks.source import BODY_BYTES, RUN
from protocol.bodies import AuthToken
from protocol.frame import HEADER_LEN, pack_frame
from sim.plan import make_plan
from sim.scenario import Phase, Population, Publisher, PublishTo, Scenario
from sim.swarm import Swarm
from sim.target import Target

__all__ = ["run"]

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


async def run() -> list[Line]:
    """Measure with 1 and with 20 messages a read."""
    async with child("benchmarks.source") as source:
        assert source.stdin is not None
        assert source.stdout is not None
        port = int(await source.stdout.readline())
        loop = asyncio.get_running_loop()
        for _ in range(_CLIENTS):
            await loop.create_connection(_Counter, "127.0.0.1", port)
        while _Counter.total < _CLIENTS * HEADER_LEN:
            await asyncio.sleep(0.01)
        swarm = await _swarm(port)
        lines = []
        for batch in (1, 20):
            raws, values = [], []
            for _ in range(_ROUNDS):
                raws.append(await _raw(source.stdin, batch))
                values.append(await _simulated(source.stdin, swarm, batch))
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
        assert not any(one.duplicated or one.unexpected for one in swarm.deliveries)
        await swarm.close()
        return lines


async def _swarm(port: int) -> Swarm:
    population = Population(
        "viewers", _CLIENTS, rooms=("live://1",), mids=1, connect_rate_per_s=5000, heartbeat_s=3600.0
    )
    publisher = Publisher(PublishTo.ROOM, "viewers", rate_per_s=1.0)
    scenario = Scenario("bench", 1, (population,), (publisher,), (Phase("all", 3600.0),))
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
