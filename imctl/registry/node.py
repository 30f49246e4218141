"""The registry as a node: listens, registers itself, evicts who is silent."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from imctl.errors import PortInUseError, StartError
from imctl.node import NodeStats
from imctl.registry.config import RegistryConfig
from imctl.registry.local import LocalRegistry
from imctl.registry.memory import MemoryRegistry
from protocol.discovery_api import Instance
from protocol.discovery_forms import Register, Renew

if TYPE_CHECKING:
    from aiohttp import web

    from imctl.registry.server import DiscoveryHttp

__all__ = ["RegistryServer"]

_log = logging.getLogger(__name__)

_APPID = "infra.discovery"
_BACKLOG = 1024


class RegistryServer:
    """A registry that other processes reach by HTTP and nodes in this process by `local`."""

    kind = "registry"

    def __init__(self, config: RegistryConfig) -> None:
        self.name = config.hostname
        self._config = config
        self._memory = MemoryRegistry(config.lease, max_instances=config.max_instances)
        # The epoch once, then the monotonic clock: a clock that is set back must not end or lengthen leases.
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._protected_until_ns = 0
        self._local = LocalRegistry(
            self._memory,
            self._now_ns,
            region=config.region,
            zone=config.zone,
            env=config.env,
            renew_every_s=config.renew_every_s,
        )
        self._address: str | None = None
        self._http: DiscoveryHttp | None = None
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._upkeep: asyncio.Task[None] | None = None

    @property
    def local(self) -> LocalRegistry:
        """This registry for nodes in the same event loop; works before start() and ends with stop()."""
        return self._local

    @property
    def addresses(self) -> Mapping[str, str | None]:
        return {"registry.http": self._address}

    async def start(self) -> None:
        # 0.2 s to import, for aiohttp, and only a started registry needs it.
        from imctl.registry.server import DiscoveryHttp

        config = self._config
        self._http = DiscoveryHttp(
            config,
            self._memory,
            address=self._advertised,
            now_ns=self._now_ns,
            protected=lambda: self._now_ns() < self._protected_until_ns,
        )
        self._protected_until_ns = self._now_ns() + int(config.protect_s * 1e9) if config.protect_s else 0
        self._runner = self._http.runner(shutdown_timeout_s=1.0)
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # since setup()
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._http.door(server), config.host, config.port, backlog=_BACKLOG
            )
        except OSError as exc:
            await self._runner.cleanup()
            self._runner = None
            if exc.errno == errno.EADDRINUSE:
                raise PortInUseError(f"{config.host}:{config.port}", "registry http") from exc
            raise StartError(f"registry http: cannot listen on {config.host}:{config.port}: {exc}") from exc
        host, port = self._listener.sockets[0].getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._register_self()
        self._upkeep = asyncio.create_task(self._keep_up(), name=f"registry upkeep {self.name}")
        _log.info("registry %s listens on %s", self.name, self._address)

    async def stop(self, grace_s: float = 5.0) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
            self._upkeep = None
        await self._local.close()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        if self._http is not None:
            self._http.close()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await runner.cleanup()

    def stats(self) -> NodeStats:
        memory, http = self._memory, self._http
        return {
            "kind": self.kind,
            "counters": {**memory.counters.values, **(http.counters.values if http is not None else {})},
            "drops": {**memory.drops.values, **(http.drops.values if http is not None else {})},
            "gauges": {
                "instances": memory.size,
                "polls_held": http.polls_held if http is not None else 0,
                "preserving": int(memory.preserving),
            },
        }

    def _now_ns(self) -> int:
        return self._epoch_ns + time.monotonic_ns()

    def _advertised(self) -> str:
        return self._config.advertise or self._address or ""

    def _register_self(self) -> None:
        config = self._config
        own = Instance(
            appid=_APPID,
            hostname=config.hostname,
            addrs=(f"http://{self._advertised()}",),
            region=config.region,
            zone=config.zone,
            env=config.env,
        )
        self._memory.register(Register(own), self._now_ns())

    async def _keep_up(self) -> None:
        """Renew the own entry and evict, each in its own rhythm."""
        config, loop = self._config, asyncio.get_running_loop()
        evict_at = loop.time() + config.lease.evict_every_s
        renew_at = loop.time() + config.renew_every_s
        while True:
            await asyncio.sleep(min(evict_at, renew_at) - loop.time())
            if loop.time() >= renew_at:
                renew_at = loop.time() + config.renew_every_s
                own = Renew(config.zone, config.env, _APPID, config.hostname)
                if self._memory.renew(own, self._now_ns()).instance is None:
                    self._register_self()
            if loop.time() >= evict_at:
                evict_at = loop.time() + config.lease.evict_every_s
                for gone in self._memory.evict(self._now_ns()):
                    _log.warning("%s %s was silent for too long: taken out", gone.appid, gone.hostname)
