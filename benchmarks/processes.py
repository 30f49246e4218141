"""The other processes of a benchmark: sinks, sources, load, and a real cluster."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from imctl.cluster.client import ClusterInfo, find_cluster
from imctl.cluster.spec import ClusterOptions, plan
from imctl.cluster.supervisor import Supervisor

__all__ = ["child", "cluster", "pid_of", "sink"]

_READY_S = 60.0


@asynccontextmanager
async def child(module: str, *args: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of this package until the block ends; its stdin and stdout are pipes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *map(str, args), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5.0)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def sink(address: str, count: int, mode: str, room: str = "live://1") -> AsyncIterator[None]:
    """Keep `count` clients connected that read and throw away; see benchmarks.sink."""
    host, _, port = address.rpartition(":")
    async with child("benchmarks.sink", host, port, count, mode, room) as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _READY_S)
        assert line.startswith(b"ready"), f"the sink ended: {line!r}"
        yield


@asynccontextmanager
async def cluster() -> AsyncIterator[ClusterInfo]:
    """Run a private cluster as `imctl up` does: a core process and a comet process."""
    name = f"bench-{os.getpid()}"
    supervisor = Supervisor(plan(ClusterOptions(cluster=name, any_port=True)), keep_logs=False)
    try:
        await supervisor.start(time.monotonic_ns())
        yield find_cluster(name)
    finally:
        supervisor.stop()
        await supervisor.stopped.wait()


def pid_of(info: ClusterInfo, kind: str) -> int:
    """Return the process id of the node of a kind."""
    return next(node.pid for node in info.nodes if node.kind == kind and node.pid is not None)
