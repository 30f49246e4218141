"""How a command finds a running cluster and talks to its supervisor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from imctl.cluster.control import MAX_LINE_BYTES, load_error
from imctl.cluster.naming import start_hint
from imctl.cluster.state import ClusterFolder, process_alive, state_value
from imctl.errors import ClusterError

__all__ = ["ClusterInfo", "ControlClient", "NodeInfo", "find_cluster"]

_OWN_KEYS = ("supervisor", "control", "logs", "certificate")
"""What the state file has beside the summary."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One process of a cluster.

    Args:
        name: Such as core or comet-1.
        kind: core, comet, logic, job or registry; of an embedded server mqtt or valkey.
        addresses: By name, `logic.http` in a process with several nodes, else `http`; None is off.
    """

    name: str
    kind: str
    pid: int | None
    addresses: Mapping[str, str | None]

    def address(self, part: str, name: str) -> str | None:
        """Return one address of the node of kind `part` in this process, None when there is none."""
        found = self.addresses.get(f"{part}.{name}")
        return self.addresses.get(name) if found is None and self.kind == part else found


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A running cluster, as its state file has it; addresses are `host:port`.

    Args:
        started_at: ISO time.
        supervisor_pid: The process that `imctl down` ends.
        supervisor_start: When it started, see `process_alive`.
        control: Its socket.
        logs: Folder of the log files.
        certificate: Path of the certificate that comets show to TLS clients; empty without TLS.
        summary: What `imctl up --json` printed. Any: JSON.
    """

    cluster: str
    bus: str
    store: str
    registry: str | None
    nodes: tuple[NodeInfo, ...]
    started_at: str
    supervisor_pid: int
    supervisor_start: str
    control: Path
    logs: Path
    summary: Mapping[str, Any] = field(repr=False)
    certificate: str = ""

    @property
    def logic_http(self) -> str:
        """Address of the first logic's HTTP API.

        Raises:
            ClusterError: the cluster has no logic of its own.
        """
        found = self.addresses("logic", "http")
        if not found:
            raise ClusterError(f"cluster {self.cluster!r} has no logic")
        return found[0]

    @property
    def comet_tcp(self) -> list[str]:
        """TCP addresses of all comets."""
        return self.addresses("comet", "tcp")

    @property
    def comet_ws(self) -> list[str]:
        """WebSocket addresses of all comets; the path is /sub."""
        return self.addresses("comet", "ws")

    @property
    def comet_wss(self) -> list[str]:
        """WebSocket addresses over TLS, [] when it is off."""
        return self.addresses("comet", "wss")

    def addresses(self, part: str, name: str) -> list[str]:
        """Return an address of all nodes of a kind, such as ("logic", "grpc"), without those that are off."""
        return [address for node in self.nodes if (address := node.address(part, name))]


def find_cluster(name: str) -> ClusterInfo:
    """Return the running cluster of this name.

    Raises:
        ClusterError: there is none, or what is left of it is of one that was killed.
        StateError: its state file is damaged, or of another version of imctl.
        ConfigError: no cluster can have this name, or the state folder is none.
    """
    folder = ClusterFolder(name)
    state = folder.read()
    hint = start_hint(name)
    if state is None:
        raise ClusterError(f"there is no cluster {name!r}", hint=hint)
    supervisor = state["supervisor"]
    if not process_alive(supervisor["pid"], supervisor["start"]):
        since = state.get("started_at")
        up_since = f", up since {since}" if isinstance(since, str) else ""
        raise ClusterError(
            f"cluster {name!r} is gone: its supervisor (pid {supervisor['pid']}{up_since}) "
            f"ended without a word; {folder.state} is stale",
            hint=f"{hint} cleans up and starts it again",
        )
    try:
        return _load_info(name, state)
    except ValueError as exc:
        raise folder.unreadable(str(exc)) from exc


def _load_info(name: str, state: Mapping[str, Any]) -> ClusterInfo:
    """Return what a state file says; ValueError names what is missing or of another kind."""
    return ClusterInfo(
        cluster=name,
        bus=state_value(state, "bus", str),
        store=state_value(state, "store", str),
        registry=state_value(state, "registry", str, NoneType),
        nodes=tuple(_load_node(state, number) for number in range(len(state_value(state, "nodes", list)))),
        started_at=state_value(state, "started_at", str),
        supervisor_pid=state["supervisor"]["pid"],
        supervisor_start=state["supervisor"]["start"],
        control=Path(state_value(state, "control", str)),
        logs=Path(state_value(state, "logs", str)),
        summary={key: value for key, value in state.items() if key not in _OWN_KEYS},
        certificate=state_value({"certificate": "", **state}, "certificate", str),
    )


def _load_node(state: Mapping[str, Any], number: int) -> NodeInfo:
    where = f"nodes[{number}]."
    node = state_value({f"nodes[{number}]": state["nodes"][number]}, f"nodes[{number}]", dict)
    addresses = state_value(node, "addresses", dict, where=where)
    return NodeInfo(
        state_value(node, "name", str, where=where),
        state_value(node, "kind", str, where=where),
        state_value(node, "pid", int, NoneType, where=where),
        {key: state_value(addresses, key, str, NoneType, where=f"{where}addresses.") for key in addresses},
    )


class ControlClient:
    """One connection to a supervisor: `async with ControlClient(info) as control: await control.ps()`.

    Args:
        info: Which cluster.
        timeout_s: Longest wait for an answer, on top of what a request itself may take.
    """

    def __init__(self, info: ClusterInfo, *, timeout_s: float = 10.0) -> None:
        self._info = info
        self._timeout_s = timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> ControlClient:
        try:
            async with asyncio.timeout(self._timeout_s):
                self._reader, self._writer = await asyncio.open_unix_connection(
                    str(self._info.control), limit=MAX_LINE_BYTES
                )
        except (OSError, TimeoutError) as exc:
            why = str(exc) or f"no answer within {self._timeout_s:g} s"
            raise ClusterError(
                f"cluster {self._info.cluster!r} (supervisor pid {self._info.supervisor_pid}) cannot be reached: {why}"
            ) from exc
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def call(self, cmd: str, *, takes_s: float = 0.0, **fields: Any) -> Any:
        """Send a request and return its result. Any: JSON.

        Args:
            cmd: ps, stats, trace, kill, pause, resume, restart or down.
            takes_s: How long the request itself may take.
            fields: Its arguments.

        Raises:
            ImctlError: what the supervisor answered.
            ClusterError: it is gone or does not answer in time.
        """
        assert self._reader is not None, "use async with"
        assert self._writer is not None, "use async with"
        try:
            async with asyncio.timeout(self._timeout_s + takes_s):
                self._writer.write(json.dumps({"cmd": cmd, **fields}).encode() + b"\n")
                await self._writer.drain()
                line = await self._reader.readline()
        except (ConnectionError, TimeoutError) as exc:
            why = str(exc) or f"no answer within {self._timeout_s + takes_s:g} s"
            who = f"the supervisor of {self._info.cluster!r} (pid {self._info.supervisor_pid})"
            raise ClusterError(f"{who} did not answer {cmd}: {why}") from exc
        if not line:
            raise ClusterError(f"the supervisor of {self._info.cluster!r} ended before it answered {cmd}")
        reply = json.loads(line)
        if not reply["ok"]:
            raise load_error(reply["error"])
        return reply["result"]

    async def ps(self) -> dict[str, Any]:
        """Return the summary with a row a process: state, uptime_s, cpu, memory, restarts. Any: JSON."""
        result: dict[str, Any] = await self.call("ps")
        return result

    async def stats(self, within_s: float = 2.0) -> list[dict[str, Any]]:
        """Return of each process {"name", "pid", "cpu_s", "rss_bytes", "drops", "parts": {part: NodeStats}, ...}.

        One that does not answer in time has a "problem" instead of drops and parts.
        """
        result: list[dict[str, Any]] = (await self.call("stats", within_s=within_s))["nodes"]
        return result

    async def traces(self, trace: int = 0, after_ns: int = 0) -> dict[str, Any]:
        """Return where nodes saw pushes that are followed: {"points": [TracePoint.dump()], "problems": {node: why}}.

        Args:
            trace: Only of this push; 0 for all.
            after_ns: Only points of later than that, by time.monotonic_ns().
        """
        result: dict[str, Any] = await self.call("trace", trace=trace, after_ns=after_ns)
        return result

    async def kill(self, node: str) -> dict[str, Any]:
        """Kill a process with SIGKILL; the supervisor starts it again."""
        result: dict[str, Any] = await self.call("kill", node=node)
        return result

    async def pause(self, node: str) -> dict[str, Any]:
        """Stop a process with SIGSTOP: its connections stay open and nothing answers."""
        result: dict[str, Any] = await self.call("pause", node=node)
        return result

    async def resume(self, node: str) -> dict[str, Any]:
        """Let a paused process go on."""
        result: dict[str, Any] = await self.call("resume", node=node)
        return result

    async def restart(self, node: str, *, grace_s: float = 5.0) -> dict[str, Any]:
        """Drain a process, start it again, and return once it is ready."""
        result: dict[str, Any] = await self.call("restart", takes_s=grace_s + 30.0, node=node, grace_s=grace_s)
        return result

    async def down(self, *, grace_s: float = 5.0) -> dict[str, Any]:
        """End the cluster; returns once every node has ended."""
        result: dict[str, Any] = await self.call("down", takes_s=2 * grace_s + 5.0, grace_s=grace_s)
        return result
