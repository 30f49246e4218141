"""The logic node: sessions, pushes and room counts behind gRPC and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from imctl import __version__
from imctl.advertise import advertised
from imctl.bus.contract import Bus
from imctl.errors import ImctlError, StartError
from imctl.hooks.context import HookContext
from imctl.hooks.hooks import Hooks
from imctl.hooks.loader import load_hooks
from imctl.link.contract import Handlers
from imctl.link.methods import NODES, RENEW_ONLINE
from imctl.link.server import LinkServer
from imctl.logic.comet_links import CometLinks
from imctl.logic.comets import is_offline
from imctl.logic.config import LogicConfig
from imctl.logic.hooked_sessions import HookedSessionHandlers
from imctl.logic.http_api import HttpApi
from imctl.logic.http_connection import HttpLimits
from imctl.logic.http_server import HttpServer
from imctl.logic.nodes import Nodes
from imctl.logic.online import OnlineCounts
from imctl.logic.push import Pusher
from imctl.logic.sessions import SessionHandlers
from imctl.node import Counters, NodeStats
from imctl.open_files import files_for_callers
from imctl.registry.contract import Registry, Watch
from imctl.room_counts import fitting
from imctl.store.contract import SessionStore, StoreError
from imctl.trace import TraceLog
from protocol.discovery_api import Instance
from protocol.pb import logic

__all__ = ["COMET_APPID", "LOGIC_APPID", "Logic"]

logger = logging.getLogger(__name__)

COMET_APPID = "goim.comet"
LOGIC_APPID = "goim.logic"

_REGISTER_TIMEOUT_S = 10.0


class Logic:
    """One logic node; registry, bus and store are its opener's to close.

    Args:
        config: Its settings.
        registry: Where it registers and watches comets.
        bus: Where pushes go.
        store: Where sessions and room counts are kept.

    Raises:
        ConfigError: a hook cannot be loaded.
    """

    kind = "logic"

    def __init__(self, config: LogicConfig, *, registry: Registry, bus: Bus, store: SessionStore) -> None:
        self.name = config.hostname
        self._config = config
        self._registry = registry
        self._store = store
        self.traces = TraceLog(self.name)
        self._counters = Counters()
        self._drops = Counters()
        self._nodes = Nodes(config)
        self._online = OnlineCounts(store, counters=self._counters, drops=self._drops, at_once=not config.compat_goim)
        loaded = load_hooks(config.hooks)
        self._hooks = Hooks(loaded, timeout_s=config.hook_timeout_s, drops=self._drops) if loaded else None
        self._comets = CometLinks(registry, store)
        sessions = self._session_handlers(config)
        self.handlers: Handlers = {
            **sessions.handlers,
            RENEW_ONLINE: self._renew_online,
            NODES: self._nodes.reply,
        }
        pusher = Pusher(
            bus,
            store,
            max_message_bytes=config.max_message_bytes,
            counters=self._counters,
            drops=self._drops,
            traces=self.traces,
            hooks=self._hooks,
        )
        api = HttpApi(
            pusher=pusher,
            online=self._online,
            nodes=self._nodes,
            store=store,
            stats=self.stats,
            traces=self.traces,
            hooks=self._hooks,
            compat_goim=config.compat_goim,
            counters=self._counters,
            drops=self._drops,
        )
        self._http = HttpServer(
            api,
            host=config.host,
            port=config.http_port,
            limits=HttpLimits(
                max_body_bytes=config.max_message_bytes,
                request_timeout_s=config.http_request_timeout_s,
                idle_timeout_s=config.http_idle_timeout_s,
                max_connections=min(config.http_max_connections, files_for_callers()),
            ),
            drops=self._drops,
        )
        self._link = LinkServer(self.handlers, host=config.host, port=config.grpc_port, what="logic grpc")
        self._watch: Watch | None = None
        self._rebuilding: asyncio.Task[None] | None = None
        self._is_registered = False

    @property
    def addresses(self) -> Mapping[str, str | None]:
        """Where it listens: "logic.http" and "logic.grpc"."""
        return {"logic.http": self._http.address, "logic.grpc": self._link.address}

    async def start(self) -> None:
        """Listen, watch the comets and register.

        Raises:
            StartError: a port is in use, or store or registry do not answer.
        """
        try:
            await self._check_store()
            if self._hooks is not None:
                self._comets.start()
                await self._hooks.start(self._hook_context)
            await self._http.start()
            await self._link.start()
            self._watch = self._registry.watch(COMET_APPID, self._comets_changed)
            self._rebuilding = asyncio.create_task(self._rebuild_always(), name=f"{self.name} room counts")
            await self._register()
        except BaseException:
            await self.stop(0)
            raise

    async def stop(self, grace_s: float = 5.0) -> None:
        """Leave the registry, answer what is at work for at most `grace_s`, and close. Safe to call twice."""
        if self._is_registered:
            self._is_registered = False
            try:
                async with asyncio.timeout(2.0):
                    await self._registry.cancel(LOGIC_APPID, self.name)
            except Exception as exc:
                # Its lease will end by itself.
                logger.warning("%s could not leave the registry: %s", self.name, exc)
        await asyncio.gather(self._http.stop(grace_s), self._link.stop(grace_s))
        if self._hooks is not None:
            await self._hooks.stop()
            await self._comets.close()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        rebuilding, self._rebuilding = self._rebuilding, None
        if rebuilding is not None:
            rebuilding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await rebuilding

    def stats(self) -> NodeStats:
        """Return counters, drops by place and reason, and how much is known now."""
        totals = self._nodes.total()
        gauges = {
            "comets": len(self._nodes.comets),
            "connections": totals["conn_count"],
            "http_connections": self._http.connections,
            "rooms": len(self._online.rooms),
        }
        return {
            "kind": self.kind,
            "counters": self._counters.nonzero() | {f"link_{name}": n for name, n in self._link.stats().items()},
            "drops": self._drops.nonzero(),
            "gauges": gauges,
        }

    def _session_handlers(self, config: LogicConfig) -> SessionHandlers:
        if self._hooks is None:
            return SessionHandlers(self._store, config.heartbeat_limit_ns, self._counters, self._drops)
        return HookedSessionHandlers(
            self._store,
            config.heartbeat_limit_ns,
            self._counters,
            self._drops,
            hooks=self._hooks,
            comets=self._comets,
        )

    def _hook_context(self, name: str) -> HookContext:
        return HookContext(
            name=name,
            logic=self.name,
            deliverer=self._comets,
            hold=self._store.hold,
            count=lambda what, count: self._counters.add(f"hooks.{name}.{what}", count),
            drop=lambda what, count: self._drops.add(f"hooks.{name}.{what}", count),
            logger=logging.getLogger(f"imctl.hooks.{name}"),
        )

    async def _renew_online(self, request: Any) -> Any:
        """Answer RenewOnline. Any: protobuf messages."""
        rooms = await self._online.renew(request.server, request.roomCount)
        told = fitting(rooms)
        if len(told) < len(rooms):
            # A comet asks for no other rooms than its own.
            told = fitting({room: rooms[room] for room in request.roomCount if room in rooms})
        return logic.OnlineReply(allRoomCount=told)

    def _comets_changed(self, instances: tuple[Instance, ...]) -> None:
        self._nodes.update(instances)
        self._online.set_live(instance.hostname for instance in instances if not is_offline(instance))

    async def _rebuild_always(self) -> None:
        while True:
            await asyncio.sleep(self._config.online_every_s)
            try:
                await self._online.rebuild()
            except Exception:
                # Counts stay as they are, and the next round may do better.
                logger.exception("%s could not rebuild its room counts", self.name)

    async def _check_store(self) -> None:
        try:
            await self._store.servers_by_key(("",))
        except StoreError as exc:
            raise StartError(exc.message, hint=exc.hint) from exc

    async def _register(self) -> None:
        config = self._config
        instance = Instance(
            appid=LOGIC_APPID,
            hostname=self.name,
            addrs=(f"grpc://{advertised(self._link.address, config.advertise_host, config.host)}",),
            region=config.region,
            zone=config.zone,
            env=config.env,
            version=__version__,
            metadata={"weight": str(config.weight), "imctl.link": "1"},
        )
        self._is_registered = True
        try:
            async with asyncio.timeout(_REGISTER_TIMEOUT_S):
                await self._registry.register(instance)
        except TimeoutError as exc:
            raise StartError(
                f"{self.name}: the registry did not take it within {_REGISTER_TIMEOUT_S:g} s",
                hint="is the registry running, and its address right?",
            ) from exc
        except ImctlError as exc:
            raise StartError(f"{self.name}: {exc.message}", hint=exc.hint) from exc
