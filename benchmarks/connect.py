"""CPU of a connect with authentication: comet and logic together, beside a server that only accepts."""

from __future__ import annotations

import asyncio

from benchmarks.measure import Line, cpu_s
from benchmarks.processes import child, cluster, pid_of

__all__ = ["run", "storm"]

_CLIENTS = 5000
_INFLIGHT = 200
# 150 us where a raw accept costs 30 us; machines differ by a factor of two, ratios do not.
_GOAL_TIMES = 5.0


async def run() -> list[Line]:
    """Connect 5,000 clients, 200 at a time, to each."""
    async with child("benchmarks.raw_accept") as raw:
        assert raw.stdout is not None
        port = int(await raw.stdout.readline())
        raw_us = await storm("127.0.0.1", port, [raw.pid])
    async with cluster() as info:
        host, _, comet_port = info.comet_tcp[0].rpartition(":")
        comet, core = pid_of(info, "comet"), pid_of(info, "core")
        await storm(host, int(comet_port), [comet], count=300)  # the first connects import and allocate
        await asyncio.sleep(1.0)
        before = cpu_s(comet)
        total = await storm(host, int(comet_port), [comet, core])
        comet_us = (cpu_s(comet) - before) / _CLIENTS * 1e6
    return [
        Line(
            "connect with auth",
            "us CPU",
            total,
            raw_us,
            raw_us / total,
            "comet and logic together at most 5 raw accepts (150 us where one is 30)",
            total <= _GOAL_TIMES * raw_us,
            {"comet_us": round(comet_us, 1), "core_us": round(total - comet_us, 1)},
        )
    ]


async def storm(host: str, port: int, pids: list[int], count: int = _CLIENTS) -> float:
    """Connect clients, 200 at a time; return CPU microseconds of the processes for each."""
    before = sum(cpu_s(pid) for pid in pids)
    async with child("benchmarks.storm", host, port, count, _INFLIGHT) as clients:
        assert clients.stdout is not None
        line = await asyncio.wait_for(clients.stdout.readline(), 60.0)
        assert line.startswith(b"ready"), "not every client got in"
        return (sum(cpu_s(pid) for pid in pids) - before) / count * 1e6
