"""What the processes of a cluster remember of pushes that are followed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from imctl.cluster.process import ManagedProcess
from imctl.errors import ImctlError

__all__ = ["collect_traces"]

_ANSWER_S = 2.0


async def collect_traces(processes: Iterable[object], trace: int, after_ns: int) -> dict[str, Any]:
    """Return {"points": of all nodes, see TraceLog.read(), "problems": {process: why it did not answer}}. Any: JSON.

    Args:
        processes: Of the cluster; those that run no nodes are passed over.
        trace: Only of this push; 0 for all.
        after_ns: Only points of later than that.
    """
    problems: dict[str, str] = {}

    async def one(process: ManagedProcess) -> list[dict[str, Any]]:
        try:
            points: list[dict[str, Any]] = await process.call("trace", _ANSWER_S, trace=trace, after_ns=after_ns)
        except ImctlError as exc:
            problems[process.name] = str(exc)
            return []
        return points

    nodes = (process for process in processes if isinstance(process, ManagedProcess))
    found = await asyncio.gather(*(one(process) for process in nodes))
    return {"points": [point for points in found for point in points], "problems": problems}
