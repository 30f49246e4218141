"""A single push, from the HTTP request to the client: CPU of logic, job and comet, and its latency."""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks.measure import Line, cpu_s
from benchmarks.processes import child, cluster, pid_of, sink
from imctl.cluster.client import ClusterInfo
from protocol.aio import Client
from protocol.bodies import AuthToken

__all__ = ["pushes", "run"]

_CLIENTS = 1000
_CALLERS = 32
_PUSHES = 12_000
_LATENCIES = 400
_GOAL_US = 120.0
_GOAL_MS = 2.0


async def run() -> list[Line]:
    """Push to 1,000 mids in turn from 32 connections; then one at a time for the latency."""
    raw_us = await _raw_us()
    async with cluster() as info, sink(info.comet_tcp[0], _CLIENTS, "tcp"):
        await pushes(info.logic_http, 1000)
        pids = [pid_of(info, "core"), pid_of(info, "comet")]
        before = [cpu_s(pid) for pid in pids]
        await pushes(info.logic_http, _PUSHES)
        core_us, comet_us = ((cpu_s(pid) - old) / _PUSHES * 1e6 for pid, old in zip(pids, before, strict=True))
        latencies = await _latencies(info)
    total = core_us + comet_us
    p50, p99 = statistics.median(latencies), statistics.quantiles(latencies, n=100)[98]
    return [
        Line(
            "single push",
            "us CPU",
            total,
            raw_us,
            raw_us / total,
            "at most 120 us, logic, job and comet together",
            total <= _GOAL_US,
            {"core_us": round(core_us, 1), "comet_us": round(comet_us, 1)},
        ),
        Line(
            "single push latency p50",
            "ms",
            p50,
            goal="at most 2 ms",
            met=p50 <= _GOAL_MS,
            detail={"p99_ms": round(p99, 3)},
        ),
    ]


async def _raw_us() -> float:
    """Return CPU microseconds of a push in one process that does nothing else with it."""
    async with child("benchmarks.raw_push") as raw:
        assert raw.stdout is not None
        clients, http = int(await raw.stdout.readline()), int(await raw.stdout.readline())
        async with sink(f"127.0.0.1:{clients}", _CLIENTS, "raw"):
            await pushes(f"127.0.0.1:{http}", 1000)
            before = cpu_s(raw.pid)
            await pushes(f"127.0.0.1:{http}", _PUSHES)
            return (cpu_s(raw.pid) - before) / _PUSHES * 1e6


async def pushes(address: str, count: int) -> None:
    """Send pushes to 1,000 mids in turn over keep-alive connections, each waiting for its answer before the next."""
    host, _, port = address.rpartition(":")
    numbers = iter(range(count))

    async def caller() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in numbers:
            await _push(reader, writer, number % _CLIENTS + 1)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))


async def _push(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mid: int) -> None:
    body = b"x" * 64
    writer.write(
        f"POST /goim/push/mids?operation=1000&mids={mid} HTTP/1.1\r\nHost: bench\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    answer = await reader.readexactly(length)
    assert b'"code":0' in answer, answer


async def _latencies(info: ClusterInfo) -> list[float]:
    """Return milliseconds from before the request to the frame in the client's hands, one push at a time."""
    host, _, port = info.comet_tcp[0].rpartition(":")
    mid = 1_000_000
    client = await Client.connect_tcp(host, int(port), AuthToken(mid=mid, accepts=(1000,)))
    http_host, _, http_port = info.logic_http.rpartition(":")
    reader, writer = await asyncio.open_connection(http_host, int(http_port))
    found = []
    frames = aiter(client)
    for _ in range(_LATENCIES):
        begin = time.perf_counter()
        waiting = asyncio.ensure_future(anext(frames))
        await _push(reader, writer, mid)
        await waiting
        found.append((time.perf_counter() - begin) * 1e3)
        await asyncio.sleep(0.002)
    writer.close()
    await client.close()
    return found
