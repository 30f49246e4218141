"""What the control socket of a cluster is asked: ps, stats, trace, kill, pause, resume, restart, down."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imctl.cluster.spec import OptionsError
from imctl.cluster.supervised import Supervised
from imctl.cluster.tracing import collect_traces
from imctl.cluster.usage import Meter
from imctl.errors import ClusterError, ImctlError

if TYPE_CHECKING:
    from imctl.cluster.supervisor import Supervisor

__all__ = ["Requests"]

_GRACE_S = 5.0
_STATS_S = 2.0


class Requests:
    """Answers the requests to one supervisor.

    Args:
        supervisor: Whose processes they are about.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._meter = Meter()

    async def handle(self, cmd: str, fields: Mapping[str, Any]) -> Any:
        """Carry out a request and return its result. Any: JSON.

        Raises:
            OptionsError: there is no such node.
            ClusterError: it cannot be done now, or the request is not known.
        """
        supervisor = self._supervisor
        match cmd:
            case "ps":
                return {**supervisor.summary(), "nodes": [self._row(process) for process in supervisor.processes]}
            case "stats":
                within_s = float(fields.get("within_s", _STATS_S))
                return {"cluster": supervisor.spec.cluster, "nodes": await self._stats(within_s)}
            case "trace":
                trace, after_ns = int(fields.get("trace", 0)), int(fields.get("after_ns", 0))
                return await collect_traces(supervisor.processes, trace, after_ns)
            case "kill":
                process = self._find(fields)
                process.signal(signal.SIGKILL)
                return {"node": process.name, "pid": process.pid, "signal": "SIGKILL"}
            case "pause" | "resume":
                process = self._find(fields)
                supervisor.pause(process, paused=cmd == "pause")
                return {"node": process.name, "pid": process.pid, "state": process.state}
            case "restart":
                return await self._restart(self._find(fields), float(fields.get("grace_s", _GRACE_S)))
            case "down":
                await supervisor.end_processes(float(fields.get("grace_s", _GRACE_S)))
                supervisor.stop(0.0)
                return {"cluster": supervisor.spec.cluster, "stopped": True}
            case other:
                raise ClusterError(f"unknown request {other!r}", hint="is this cluster of another version of imctl?")

    def _find(self, fields: Mapping[str, Any]) -> Supervised:
        name = str(fields.get("node", ""))
        for process in self._supervisor.processes:
            if process.name == name:
                return process
        names = ", ".join(process.name for process in self._supervisor.processes)
        raise OptionsError(f"there is no node {name!r}; there are: {names}")

    async def _restart(self, process: Supervised, grace_s: float) -> dict[str, Any]:
        began_ns = time.monotonic_ns()
        await self._supervisor.restart(process, grace_s)
        took_ms = (time.monotonic_ns() - began_ns) // 1_000_000
        return {"node": process.name, "pid": process.pid, "took_ms": took_ms}

    def _row(self, process: Supervised) -> dict[str, Any]:
        uptime_s = time.monotonic() - process.started_s if process.pid is not None and process.started_s else 0.0
        return {
            "name": process.name,
            "kind": process.kind,
            "pid": process.pid,
            "state": process.state,
            "uptime_s": round(uptime_s, 1),
            **self._meter.read(process.pid),
            "restarts": process.restarts,
            "last_exit": process.last_exit,
            "addresses": process.addresses,
        }

    async def _stats(self, within_s: float) -> list[dict[str, Any]]:
        """Ask all processes at once; one that does not answer in time has no parts and no drops, and a problem."""
        return list(await asyncio.gather(*(self._counted(process, within_s) for process in self._supervisor.processes)))

    async def _counted(self, process: Supervised, within_s: float) -> dict[str, Any]:
        try:
            parts = await process.call("stats", within_s)
            problem = ""
        except ImctlError as exc:
            parts, problem = {}, str(exc)
        drops: dict[str, int] = {}
        for part in parts.values():
            for place, count in part["drops"].items():
                drops[place] = drops.get(place, 0) + count
        return {
            "name": process.name,
            "kind": process.kind,
            "pid": process.pid,
            "state": process.state,
            **self._meter.read(process.pid),
            "drops": drops,
            "parts": parts,
            "problem": problem,
        }
