"""The comet node: its listeners, its place in the registry, and its periodic work."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Coroutine
from functools import partial
from typing import Any

from imctl import __version__
from imctl.advertise import advertised
from imctl.comet.channel import Channel
from imctl.comet.config import LISTEN_BACKLOG, CometConfig
from imctl.comet.service import CometService
from imctl.comet.sessions import TICK_S, Sessions
from imctl.comet.tls_listener import TlsListener
from imctl.errors import ConfigError, PortInUseError, StartError
from imctl.link.contract import Handlers, PeerError
from imctl.link.methods import RENEW_ONLINE
from imctl.link.pool import PeerPool
from imctl.link.server import LinkServer
from imctl.node import NodeStats
from imctl.registry.contract import Registry
from imctl.room_counts import fitting
from imctl.trace import TraceLog
from protocol.discovery_api import Instance
from protocol.pb.logic import OnlineReq

__all__ = ["Comet"]

logger = logging.getLogger(__name__)

_APPID = "goim.comet"
_DISCOVER_S = 1.0  # a registry that is away for longer must not keep a comet from starting


class Comet:
    """Holds client connections and carries pushes to them; follows imctl.node.Node.

    Args:
        config: Its settings.
        registry: Where it registers and finds logic.
    """

    kind = "comet"

    def __init__(self, config: CometConfig, *, registry: Registry) -> None:
        self.config = config
        self.name = config.hostname
        self.traces = TraceLog(self.name)
        self.sessions: Sessions
        self._registry = registry
        self._logic: PeerPool
        self._link: LinkServer
        self._service: CometService
        self._servers: dict[str, asyncio.Server | TlsListener] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False

    async def start(self) -> None:
        """Listen, find logic in the background, and register; see imctl.node.Node."""
        config = self.config
        tls = self._tls()
        self._logic = PeerPool(self._registry, "goim.logic", timeout_s=config.logic_timeout_s)
        self.sessions = sessions = Sessions(config, self._logic)
        self._service = CometService(
            sessions.hub,
            sessions.counters,
            sessions.drops,
            max_broadcasts=config.max_broadcasts,
            report_full=config.compat_goim,
            traces=self.traces,
        )
        self._link = LinkServer(self.handlers, host=config.host, port=config.grpc_port, what="comet grpc")
        self._started = True
        try:
            # The first client may come with the first listener, and needs a logic.
            await self._logic.known(_DISCOVER_S)
            await self._link.start()
            await self._listen("tcp", config.tcp_port, is_ws=False)
            await self._listen("ws", config.ws_port, is_ws=True)
            if config.tls_port is not None:
                await self._listen("tls", config.tls_port, is_ws=False, tls=tls)
            if config.wss_port is not None:
                await self._listen("wss", config.wss_port, is_ws=True, tls=tls)
            await self._registry.register(self._instance())
        except BaseException:
            await self.stop(0)
            raise
        self._spawn("ticks", self._tick_forever())
        self._spawn("online", self._renew_online_forever())
        self._spawn("counts", self._publish_counts_forever())

    async def stop(self, grace_s: float = 5.0) -> None:
        """Leave the registry, stop listening, close the clients, end the tasks."""
        if not self._started:
            return
        self._started = False
        try:
            async with asyncio.timeout(2.0):
                await self._registry.cancel(_APPID, self.name)
        except Exception as exc:
            # Its lease ends by itself, and the clients must be closed all the same.
            logger.warning("%s could not leave the registry: %s", self.name, exc)
        for server in self._servers.values():
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._service.stop()
        await self.sessions.close_all(grace_s)
        await self._link.stop(grace_s)
        await self._logic.close()

    @property
    def handlers(self) -> Handlers:
        """What job and logic may call, for a caller in the same process."""
        return {**self._service.handlers, **self.sessions.guards.handlers}

    @property
    def addresses(self) -> dict[str, str | None]:
        """tcp, ws, wss, tls and grpc, each `host:port` or None when off."""
        found: dict[str, str | None] = dict.fromkeys(("tcp", "ws", "wss", "tls"))
        for what, server in self._servers.items():
            host, port = server.sockets[0].getsockname()[:2]
            found[what] = f"{host}:{port}"
        return {**found, "grpc": self._link.address}

    def stats(self) -> NodeStats:
        """Counters, drops by reason, and how many are connected now."""
        sessions = self.sessions
        return {
            "kind": self.kind,
            "counters": sessions.counters.values | {f"link_{key}": n for key, n in self._link.stats().items()},
            "drops": sessions.drops.nonzero(),
            "gauges": {
                "connections": sessions.places.taken,
                "sessions": len(sessions.hub.channels),
                "ips": len(sessions.hub.ips),
                "rooms": len(sessions.hub.rooms),
                "paced_broadcasts": self._service.broadcasts,
                "logics": len(self._logic.peers),
            },
        }

    def _tls(self) -> ssl.SSLContext | None:
        config = self.config
        if config.tls_port is None and config.wss_port is None:
            return None
        if not config.tls_cert or not config.tls_key:
            raise ConfigError("comet: TLS needs a certificate and a key", hint="set tls_cert and tls_key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(config.tls_cert, config.tls_key)
        except OSError as exc:
            raise ConfigError(f"comet: cannot load {config.tls_cert} and {config.tls_key}: {exc}") from exc
        return context

    async def _listen(self, what: str, port: int, *, is_ws: bool, tls: ssl.SSLContext | None = None) -> None:
        config = self.config
        make_channel = partial(Channel, self.sessions, is_ws=is_ws)
        server: asyncio.Server | TlsListener
        try:
            if tls is not None:
                server = TlsListener(self.sessions, tls, make_channel)
                await server.bind(config.host, port, reuse_port=config.reuse_port)
            else:
                server = await asyncio.get_running_loop().create_server(
                    make_channel,
                    config.host,
                    port,
                    backlog=LISTEN_BACKLOG,
                    reuse_port=config.reuse_port or None,
                    start_serving=False,
                )
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise PortInUseError(f"{config.host}:{port}", f"comet {what}") from exc
            raise StartError(f"comet {what}: cannot listen on {config.host}:{port}: {exc.strerror}") from exc
        self._servers[what] = server
        if config.send_buffer_bytes:
            for listening in server.sockets:
                # Accepted sockets inherit it, which saves a call a client.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.send_buffer_bytes)
        if isinstance(server, TlsListener):
            server.listen(LISTEN_BACKLOG)
        else:
            await server.start_serving()

    def _instance(self) -> Instance:
        config = self.config
        return Instance(
            appid=_APPID,
            hostname=self.name,
            addrs=(f"grpc://{advertised(self._link.address, config.advertise_host, config.host)}",),
            region=config.region,
            zone=config.zone,
            env=config.env,
            version=__version__,
            metadata={
                "weight": str(config.weight),
                "offline": "true" if config.offline else "false",
                "addrs": ",".join(config.public_addrs or (config.host,)),
                "imctl.link": "1",
                **self._counts(),
            },
        )

    def _counts(self) -> dict[str, str]:
        hub = self.sessions.hub
        return {"conn_count": str(len(hub.channels)), "ip_count": str(len(hub.ips))}

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s has failed", task.get_name(), exc_info=task.exception())

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.sessions.end_overdue()
            if self.sessions.logic_came_back():
                self._spawn("announce", self.sessions.announce())

    async def _renew_online_forever(self) -> None:
        """Report room counts every renew_online_s, and soon after they have changed."""
        config, hub, loop = self.config, self.sessions.hub, asyncio.get_running_loop()
        sent_at = 0.0
        while True:
            soon = hub.rooms_changed and not config.compat_goim
            if loop.time() - sent_at < (config.online_delay_s if soon else config.renew_online_s):
                await asyncio.sleep(min(config.online_delay_s, config.renew_online_s))
                continue
            sent_at = loop.time()
            hub.rooms_changed = False
            counts = {key: len(room) for key, room in hub.rooms.items()}
            told = fitting(counts)
            if len(told) < len(counts):
                self.sessions.counters.add("rooms_not_reported", len(counts) - len(told))
            try:
                reply = await self._logic.call(RENEW_ONLINE, OnlineReq(server=self.name, roomCount=told))
            except PeerError as exc:
                self.sessions.counters.add("renew_online_errors")
                logger.debug("room counts not taken by logic: %s", exc)
                hub.rooms_changed = True
                await asyncio.sleep(1.0)
            else:
                hub.online = dict(reply.allRoomCount)

    async def _publish_counts_forever(self) -> None:
        """Keep conn_count and ip_count in the registry true; logic adds them up and balances by them."""
        config = self.config
        published: dict[str, str] | None = None
        while True:
            counts = self._counts()
            if counts != published or config.compat_goim:
                try:
                    await self._registry.set_metadata(_APPID, self.name, counts)
                    published = counts
                except Exception as exc:
                    # The registry may be away for long, and clients must not notice.
                    self.sessions.counters.add("set_counts_errors")
                    logger.debug("connection counts not taken by the registry: %s", exc)
            await asyncio.sleep(config.counts_s if config.compat_goim else min(1.0, config.counts_s))
