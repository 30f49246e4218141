"""The cluster that a scenario runs against: found or started, its addresses, its nodes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from imctl.cli.context import DEFAULT_CLUSTER
from imctl.cli.printer import Printer
from imctl.cluster.client import ClusterInfo, ControlClient, find_cluster
from imctl.cluster.spec import ClusterOptions, plan
from imctl.cluster.state import ClusterFolder, StateError, remove_left_over
from imctl.cluster.supervisor import Supervisor
from imctl.cluster.tls import self_signed
from imctl.errors import ClusterError, ImctlError
from protocol.trace import TracePoint
from sim.errors import SimError
from sim.run.nodes import NodeSample
from sim.run.target import Target
from sim.scenario.scenario import Scenario

__all__ = ["ClusterNodes", "cluster_for", "comets_for", "target_of"]

_PRIVATE = "sim"
_CLIENTS_PER_COMET = 12_000  # a process may have 20,000 files open on many machines


@asynccontextmanager
async def cluster_for(scenario: Scenario, name: str, printer: Printer) -> AsyncIterator[ClusterInfo]:
    """Yield the running cluster of this name; for the default name a private one where there is none.

    A private cluster has as many comets as the clients need, and ends with the block.

    Raises:
        ClusterError: a cluster that was asked for by name is not there.
        StateError: the state file of the cluster is of no use.
    """
    try:
        info = find_cluster(name)
    except StateError:
        raise  # one may be running, and a run against another would be a surprise
    except ClusterError:
        if name != DEFAULT_CLUSTER:
            raise
    else:
        printer.note(f"running {scenario.name} against cluster {info.cluster}")
        yield info
        return
    remove_left_over(_PRIVATE)
    private = f"{_PRIVATE}-{os.getpid()}"
    comets = max(comets_for(scenario.client_count), scenario.comets)
    cert = key = ""
    if any(transport.is_tls for transport in scenario.transports):
        folder = ClusterFolder(private)
        folder.make()
        cert, key = map(str, self_signed(folder.path / "tls", "127.0.0.1"))
    options = ClusterOptions(cluster=private, comets=comets, any_port=True, tls_cert=cert, tls_key=key)
    supervisor = Supervisor(plan(options), keep_logs=False)
    printer.note(f"no cluster is running: starting a private one, {private}, for this run")
    try:
        await supervisor.start(time.monotonic_ns())
        yield find_cluster(private)
    except asyncio.CancelledError:
        supervisor.abort()
        raise
    finally:
        supervisor.stop()
        await supervisor.stopped.wait()


def comets_for(clients: int) -> int:
    """Return how many comets a private cluster has for so many clients."""
    return max(1, -(-clients // _CLIENTS_PER_COMET))


def target_of(info: ClusterInfo) -> Target:
    """Return the addresses that a simulator needs of a cluster."""

    def split(addresses: Sequence[str]) -> tuple[tuple[str, int], ...]:
        return tuple((host, int(port)) for host, _, port in (one.rpartition(":") for one in addresses))

    return Target(
        f"cluster {info.cluster}",
        split(info.comet_tcp),
        split(info.comet_ws),
        split(info.addresses("logic", "http")),
        split(info.addresses("comet", "tls")),
        split(info.comet_wss),
        info.certificate,
        _comet_names(info),
    )


def _comet_names(info: ClusterInfo) -> tuple[str, ...]:
    """Return the names of the comets in the order of their addresses; () where an address does not tell the comet."""
    names = tuple(node.name for node in info.nodes if node.address("comet", "tcp") or node.address("comet", "ws"))
    for addresses in (info.comet_tcp, info.comet_ws):
        if addresses and len(set(addresses)) != len(names):
            return ()
    return names


def _node_sample(row: Mapping[str, Any]) -> NodeSample:
    """Return what a row of stats says. Any: JSON."""
    # No process that runs has no memory: one that has ended, or is about to, tells nothing.
    runs = row["rss_bytes"] > 0
    cpu_s, rss_bytes = (row["cpu_s"], row["rss_bytes"]) if runs else (None, None)
    return NodeSample(row["name"], row["pid"], cpu_s, rss_bytes, row["drops"] or {})


class ClusterNodes:
    """Asks a cluster's supervisor about its nodes, and has it kill, pause and restart them; a sim.run.faults.Faults.

    Args:
        info: Which cluster.
        printer: Warns when the supervisor does not answer.
    """

    def __init__(self, info: ClusterInfo, printer: Printer) -> None:
        self._info = info
        self._printer = printer
        self._has_warned = False

    @property
    def nodes(self) -> Collection[str]:
        """Names of the cluster's processes."""
        return [node.name for node in self._info.nodes]

    async def sample(self, within_s: float) -> list[NodeSample]:
        """Return what each process says of itself, [] when the supervisor does not answer; a NodeSampler."""
        try:
            async with ControlClient(self._info) as control:
                rows = await control.stats(within_s)
        except ClusterError as exc:
            # The cluster went down under the run: what the clients saw is all the more worth reporting.
            # Asked every second: once is enough.
            if not self._has_warned:
                self._printer.warn(f"the nodes were not asked: {exc}")
            self._has_warned = True
            return []
        return [_node_sample(row) for row in rows]

    async def traces(self, after_ns: int) -> list[TracePoint]:
        """Return where nodes saw messages that are followed, after a time of the monotonic clock; a TraceReader."""
        try:
            async with ControlClient(self._info) as control:
                found = await control.traces(after_ns=after_ns)
        except ClusterError:
            return []  # sample(), which is asked as often, warns
        return [TracePoint.load(point) for point in found["points"]]

    async def kill(self, node: str) -> None:
        """Kill a process; the supervisor starts it again."""
        async with self._control() as control:
            await control.kill(node)

    async def pause(self, node: str) -> None:
        """Stop a process with SIGSTOP."""
        async with self._control() as control:
            await control.pause(node)

    async def resume(self, node: str) -> None:
        """Let a paused process go on."""
        async with self._control() as control:
            await control.resume(node)

    async def restart(self, node: str) -> None:
        """Drain a process and start it again."""
        async with self._control() as control:
            await control.restart(node)

    @asynccontextmanager
    async def _control(self) -> AsyncIterator[ControlClient]:
        try:
            async with ControlClient(self._info) as control:
                yield control
        except ImctlError as exc:
            raise SimError(exc.message, hint=exc.hint) from exc
