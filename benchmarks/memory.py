"""Memory of an idle, authenticated connection in the comet process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from benchmarks.measure import Line, rss_bytes
from benchmarks.processes import cluster, pid_of, sink

__all__ = ["run"]

_CLIENTS = 8000
_WARM = 500  # what the first connections cost once is not theirs
_GOAL_BYTES = 4096


async def run() -> list[Line]:
    """Measure TCP and WebSocket, each with a comet of its own."""
    return [await _measure("tcp"), await _measure("ws")]


async def _measure(mode: str) -> Line:
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
    return Line(f"idle connection {mode}", "bytes", value, goal="at most 4 KB", met=value <= _GOAL_BYTES)
