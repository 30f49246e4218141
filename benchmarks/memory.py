"""Memory of an idle, authenticated connection in the comet process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from benchmarks.measure import Line, rss_bytes
from benchmarks.processes import child, cluster, pid_of, sink

__all__ = ["run"]

_CLIENTS = 8000
_WARM = 500  # what the first connections cost once is not theirs
_GOAL_BYTES = 4096


async def run() -> list[Line]:
    """Measure TCP and WebSocket, each with a comet of its own, beside a server that only accepts."""
    raw = await _raw()
    return [await _measure("tcp", raw), await _measure("ws", raw)]


async def _raw() -> float:
    async with child("benchmarks.raw_accept") as process, AsyncExitStack() as sinks:
        assert process.stdout is not None
        address = f"127.0.0.1:{int(await process.stdout.readline())}"
        await sinks.enter_async_context(sink(address, _WARM, "raw"))
        before = rss_bytes(process.pid)
        await sinks.enter_async_context(sink(address, _CLIENTS, "raw"))
        await asyncio.sleep(0.5)
        return (rss_bytes(process.pid) - before) / _CLIENTS


async def _measure(mode: str, raw: float) -> Line:
    async with cluster() as info, AsyncExitStack() as sinks:
        address = (info.comet_tcp if mode == "tcp" else info.comet_ws)[0]
        pid = pid_of(info, "comet")
        # Each sink has keys of its own, or its clients would replace the other's.
        await sinks.enter_async_context(sink(address, _WARM, mode, "live://warm"))
        await asyncio.sleep(0.5)
        before = rss_bytes(pid)
        await sinks.enter_async_context(sink(address, _CLIENTS, mode, "live://idle"))
        await asyncio.sleep(1.5)
        value = (rss_bytes(pid) - before) / _CLIENTS
    return Line(f"idle connection {mode}", "bytes", value, raw, raw / value, "at most 4 KB", value <= _GOAL_BYTES)
