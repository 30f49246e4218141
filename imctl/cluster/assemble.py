"""Nodes from a ProcessSpec: all parts of one process, started in order and stopped in reverse.

Used by a child process, by `imctl node`, and by a test with a whole cluster
in its own event loop.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING, Any

from imctl.cluster.node_config import PARTS, make_config
from imctl.cluster.spec import ProcessSpec
from imctl.errors import ConfigError
from imctl.node import Node, NodeStats

if TYPE_CHECKING:
    from imctl.bus.contract import Bus
    from imctl.registry.contract import Registry
    from imctl.store.contract import SessionStore

__all__ = ["Assembly"]

_NODE_CLASSES = {"registry": "RegistryServer", "logic": "Logic", "job": "Job", "comet": "Comet"}

log = logging.getLogger(__name__)


class Assembly:
    """The nodes of one process, with the registry, bus and store that they share.

    Making one imports what its nodes need, and does nothing else.

    Args:
        spec: What it is made of.

    Raises:
        ConfigError: a setting is unknown or not acceptable.
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.nodes: dict[str, Node] = {}
        self.bus: Bus | None = None
        self.store: SessionStore | None = None
        self._registry: Registry | None = None
        self._registry_is_ours = False
        self._classes: dict[str, Any] = {}  # Any: constructors differ by kind
        self._configs: dict[str, Any] = {}
        for part in PARTS:
            if part in spec.parts:
                self._configs[part] = make_config(part, spec.parts[part])
                self._classes[part] = getattr(importlib.import_module(f"imctl.{part}.node"), _NODE_CLASSES[part])
        if unknown := set(spec.parts) - set(PARTS):
            raise ConfigError(f"{spec.name}: unknown kind of node {sorted(unknown)}; expected one of {PARTS}")
        if "registry" not in spec.parts:
            importlib.import_module("imctl.registry.client")

    async def start(self, registry: str | Registry | None = None) -> None:
        """Start every part; when one fails, stop those that had started.

        Args:
            registry: URL of the registry, or one in this process; what the spec names when None.

        Raises:
            StartError: a part could not start.
            ConfigError: there is no registry, or bus or store are not acceptable.
        """
        try:
            await self._start(registry if registry is not None else self.spec.registry)
        except BaseException:
            await self.stop(0.0)
            raise

    async def _start(self, registry: str | Registry | None) -> None:
        spec = self.spec
        if {"logic", "job"} & set(spec.parts):
            from imctl.bus.factory import open_bus

            self.bus = open_bus(spec.bus)
        if "logic" in spec.parts:
            from imctl.store.factory import open_store

            self.store = open_store(spec.store)
        if "registry" in spec.parts:
            server = self._classes["registry"](self._configs["registry"])
            self.nodes["registry"] = server
            await server.start()
            self._registry = server.local
        elif isinstance(registry, str):
            self._registry = self._open_registry(registry)
            self._registry_is_ours = True
        elif registry is not None:
            self._registry = registry
        else:
            raise ConfigError(f"{spec.name}: there is no registry to join", hint="--registry http://127.0.0.1:7171")
        for part in PARTS:
            if part in spec.parts and part != "registry":
                ports: dict[str, Any] = {"registry": self._registry}
                if part in ("logic", "job"):
                    ports["bus"] = self.bus
                if part == "logic":
                    ports["store"] = self.store
                node: Node = self._classes[part](self._configs[part], **ports)
                self.nodes[part] = node
                await node.start()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Stop every part, the last one first, then what they share. Safe to call twice."""
        nodes, self.nodes = self.nodes, {}
        for part, node in reversed(nodes.items()):
            if part != "registry":
                await self._end(f"{part} stop", node.stop(grace_s))
        if self._registry is not None and self._registry_is_ours:
            await self._end("registry client close", self._registry.close())
        if "registry" in nodes:
            await self._end("registry stop", nodes["registry"].stop(grace_s))
        if self.bus is not None:
            await self._end("bus close", self.bus.close())
        if self.store is not None:
            await self._end("store close", self.store.close())
        self._registry = self.bus = self.store = None

    async def _end(self, what: str, ending: Any) -> None:
        """Await one step of the end; a failure is logged and does not keep the others from ending."""
        try:
            await ending
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("%s: %s failed", self.spec.name, what)

    @property
    def registry(self) -> Registry:
        """The registry its parts use; from start() on."""
        assert self._registry is not None, "not started"
        return self._registry

    @property
    def persistent(self) -> bool | None:
        """Whether sessions survive the end of this process; None without a store."""
        return None if self.store is None else self.store.persistent

    @property
    def addresses(self) -> dict[str, str | None]:
        """Addresses by name: `tcp` when it is one node, `logic.http` when there are several."""
        several = len(self.spec.parts) > 1
        found: dict[str, str | None] = {}
        for part, node in self.nodes.items():
            for name, address in node.addresses.items():
                short = name.removeprefix(f"{part}.")
                found[f"{part}.{short}" if several else short] = address
        return found

    def stats(self) -> dict[str, NodeStats]:
        """Return the stats of each part, and the bus's under `bus`."""
        found: dict[str, NodeStats] = {part: node.stats() for part, node in self.nodes.items()}
        if self.bus is not None:
            found["bus"] = {"kind": "bus", "counters": self.bus.stats(), "drops": {}, "gauges": {}}
        return found

    def traces(self, trace: int = 0, after_ns: int = 0) -> list[dict[str, Any]]:
        """Return what its nodes remember of pushes that are followed, see TraceLog.read(). Any: JSON."""
        logs = (getattr(node, "traces", None) for node in self.nodes.values())  # a registry has none
        return [point for log in logs if log is not None for point in log.read(trace, after_ns)]

    def _open_registry(self, url: str) -> Registry:
        from imctl.registry.factory import open_registry

        config = next(iter(self._configs.values()))
        return open_registry(url, env=config.env, zone=config.zone, region=config.region)
