"""A whole cluster in one event loop, on ports the system chooses: for tests and for embedding."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from imctl.cluster.assemble import Assembly
from imctl.cluster.spec import ClusterOptions, ProcessSpec, plan
from imctl.errors import ConfigError
from imctl.node import Node, NodeStats
from imctl.registry.contract import Registry
from protocol.trace import TracePoint

__all__ = ["LocalCluster"]

_numbers = itertools.count(1)


class LocalCluster:
    """Registry, logic, job and comets in this event loop, over real sockets: `async with LocalCluster() as cluster:`.

    Args:
        comets: How many.
        bus: URL; None for a memory bus that no other cluster has.
        store: URL of the session store.
        messages: URL of a message store; None keeps nothing.
        compat_goim: As in the config of each node.
        settings: More settings by kind of node, such as {"comet": {"handshake_timeout_s": 0.2}}.
    """

    def __init__(
        self,
        *,
        comets: int = 1,
        bus: str | None = None,
        store: str = "memory://",
        messages: str | None = None,
        compat_goim: bool = False,
        settings: Mapping[str, Mapping[str, Any]] | None = None,  # Any: as the fields of the config classes
    ) -> None:
        self.spec = plan(
            ClusterOptions(
                comets=comets,
                bus=bus or f"memory://in-process-{next(_numbers)}",
                store=store,
                messages=messages,
                any_port=True,
                compat_goim=compat_goim,
                settings=settings or {},
            )
        )
        if self.spec.services:
            raise ConfigError(
                f"an embedded {self.spec.services[0].name} is a process of its own, which this cluster has none of",
                hint="memory://, or the URL of a server that runs",
            )
        self.assemblies = [Assembly(process) for process in self.spec.processes]

    async def __aenter__(self) -> Self:
        core, *comets = self.assemblies
        try:
            await core.start()
            for comet in comets:
                await comet.start(core.registry)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self, grace_s: float = 1.0) -> None:
        """End everything, comets first. Safe to call twice."""
        for assembly in reversed(self.assemblies):
            await assembly.stop(grace_s)

    async def add_comet(self, **settings: Any) -> Assembly:
        """Start one more comet and return its assembly. Any: as the fields of CometConfig."""
        name = f"comet-{len(self.assemblies)}"
        fields = {**self.assemblies[-1].spec.parts.get("comet", {}), "hostname": name, **settings}
        assembly = Assembly(ProcessSpec(name=name, kind="comet", parts={"comet": fields}))
        await assembly.start(self.registry)
        self.assemblies.append(assembly)
        return assembly

    @property
    def registry(self) -> Registry:
        """The registry of all its nodes."""
        return self.assemblies[0].registry

    @property
    def http(self) -> str:
        """`host:port` of logic's HTTP API."""
        return self._address(0, "logic.http")

    @property
    def tcp(self) -> str:
        """`host:port` of the first comet's TCP listener."""
        return self._address(1, "tcp")

    @property
    def ws(self) -> str:
        """`host:port` of the first comet's WebSocket listener; the path is /sub."""
        return self._address(1, "ws")

    @property
    def tcp_all(self) -> list[str]:
        """TCP addresses of all comets."""
        return [self._address(i, "tcp") for i in range(1, len(self.assemblies))]

    @property
    def ws_all(self) -> list[str]:
        """WebSocket addresses of all comets."""
        return [self._address(i, "ws") for i in range(1, len(self.assemblies))]

    def node(self, name: str) -> Node:
        """Return a node: logic, job, registry, or comet-1, comet-2, ..."""
        for assembly in self.assemblies:
            if assembly.spec.name == name:
                return next(iter(assembly.nodes.values()))
            if assembly.spec.kind == "core" and name in assembly.nodes:
                return assembly.nodes[name]
        raise KeyError(name)

    def stats(self) -> dict[str, dict[str, NodeStats]]:
        """Return {process: {part: stats}}."""
        return {assembly.spec.name: assembly.stats() for assembly in self.assemblies}

    def traces(self, trace: int = 0) -> list[TracePoint]:
        """Return where its nodes saw a push that is followed; all of them when it is 0."""
        return [TracePoint.load(point) for assembly in self.assemblies for point in assembly.traces(trace)]

    def _address(self, index: int, name: str) -> str:
        address = self.assemblies[index].addresses[name]
        assert address is not None, f"{name} is off"
        return address
