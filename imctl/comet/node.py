"""The comet node: listeners, its links to logic and the registry, and its timers."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any

from imctl.comet.channel import Channel
from imctl.comet.config import CometConfig
from imctl.comet.hub import Hub, Wire
from imctl.comet.timers import DeadlineWheel
from imctl.errors import ConfigError, PortInUseError, StartError
from imctl.link.contract import Handlers, PeerError
from imctl.link.methods import (
    BROADCAST,
    BROADCAST_ROOM,
    CONNECT,
    DISCONNECT,
    HEARTBEAT,
    PUSH_MSG,
    RECEIVE,
    RENEW_ONLINE,
    ROOMS,
)
from imctl.link.pool import PeerPool
from imctl.link.server import LinkServer
from imctl.node import Counters, NodeStats
from imctl.ratelog import LimitedLogger
from imctl.registry.contract import Registry
from protocol.discovery_api import Instance
from protocol.frame import Frame
from protocol.pb import comet as pb
from protocol.pb.logic import ConnectReply, ConnectReq, DisconnectReq, HeartbeatReq, OnlineReq, ReceiveReq
from protocol.pb.protocol import Proto

__all__ = ["Comet"]

_APPID = "goim.comet"
_TICK_S = 0.1
_PACE_S = 0.05  # a broadcast with a speed writes this often
_BACKLOG = 4096  # a shorter one drops SYNs in a connect storm, and each costs its client a second


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
        self.counters = Counters("accepted", "connected", "disconnected", "refused_auth", "pushes", "delivered")
        self.drops = Counters()
        self.hub = Hub(self.counters, self.drops, max_rooms=config.max_rooms)
        self.wheel: DeadlineWheel[Channel] = DeadlineWheel(_TICK_S)
        self.log = LimitedLogger(logging.getLogger(__name__))
        self.loop: asyncio.AbstractEventLoop
        self._registry = registry
        self._logic: PeerPool
        self._link: LinkServer
        self._open: set[Channel] = set()
        self._servers: dict[str, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._broadcasts = 0
        self._accepts: dict[frozenset[int], frozenset[int]] = {}
        self._stopping = False
        # goim draws the refresh period from 10 to 30 minutes, which can outlast
        # the session's 30 minutes in the store; ours ends before half of it.
        self._refresh_s = (600.0, 1800.0) if config.compat_goim else (600.0, 900.0)

    # --- imctl.node.Node ----------------------------------------------------

    async def start(self) -> None:
        """Listen, find logic in the background, and register; see imctl.node.Node."""
        self.loop = asyncio.get_running_loop()
        config = self.config
        tls = self._tls()
        self._link = LinkServer(self.handlers, host=config.host, port=config.grpc_port, what="comet grpc")
        self._logic = PeerPool(self._registry, "goim.logic", timeout_s=config.logic_timeout_s)
        try:
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
        if self._stopping:
            return
        self._stopping = True
        await self._registry.cancel(_APPID, self.name)
        for server in self._servers.values():
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        waiting = [self._disconnect(channel) for channel in list(self._open) if channel.registered]
        for channel in list(self._open):
            channel.close("comet_stops")
        if waiting:
            await asyncio.wait(waiting, timeout=max(grace_s / 2, 0.1))
        end = self.loop.time() + grace_s / 2
        while self._open and self.loop.time() < end:
            await asyncio.sleep(0.01)
        for channel in list(self._open):
            channel.abort("comet_stops")
        # One more turn: connection_lost() of what was aborted.
        await asyncio.sleep(0)
        await self._link.stop(grace_s)
        await self._logic.close()

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
        return {
            "kind": self.kind,
            "counters": self.counters.values | {f"link.{key}": value for key, value in self._link.stats().items()},
            "drops": self.drops.nonzero(),
            "gauges": {
                "connections": len(self._open),
                "sessions": len(self.hub.channels),
                "ips": len(self.hub.ips),
                "rooms": len(self.hub.rooms),
                "broadcasts": self._broadcasts,
                "logic_peers": len(self._logic.peers),
            },
        }

    # --- for channels -------------------------------------------------------

    def accept(self, channel: Channel) -> bool:
        """Count a new socket; False when it must be closed at once."""
        self._open.add(channel)
        self.counters.add("accepted")
        if self._stopping or len(self._open) > self.config.max_connections:
            self.counters.add("refused.max_connections")
            return False
        return True

    def connect(self, cookie: str, token: bytes) -> asyncio.Future[Any]:
        """Ask logic who a client is; the future ends with a ConnectReply or PeerError."""
        return self._logic.call(CONNECT, ConnectReq(server=self.name, cookie=cookie, token=token))

    def refused(self, channel: Channel, error: BaseException | None) -> None:
        """Close a client that logic did not accept; the reason stays here."""
        self.counters.add("refused_auth")
        self.log.info("%s: auth refused: %s", channel.ip, error)
        channel.close("auth_refused")

    def too_late(self, reply: ConnectReply) -> None:
        """Take a session back whose client went away while logic made it."""
        self.counters.add("late_connects")
        self._call_disconnect(reply.mid, reply.key)

    def registered(self, channel: Channel, room: str) -> None:
        """Put a client that has its auth reply into the tables; arm its heartbeat."""
        if channel.transport.is_closing():
            self._call_disconnect(channel.mid, channel.key)
            return
        now = self.loop.time()
        channel.registered = True
        old = self.hub.add(channel)
        if old is not None:
            # The new session owns the mapping in logic: the old one must not remove it.
            old.registered = False
            self.counters.add("replaced")
            old.close("replaced")
        self.counters.add("connected")
        if not self.hub.join(channel, room):
            self.counters.add("refused.max_rooms")
            self.log.info("%s key %s: room %r refused, %d rooms", channel.ip, channel.key, room, len(self.hub.rooms))
        channel.refresh_at = now + random.uniform(*self._refresh_s)
        channel.deadline = now + channel.heartbeat_s
        self.wheel.add(channel)
        if channel.heartbeat_s <= 0:
            channel.close("heartbeat_timeout")

    def heartbeat(self, channel: Channel) -> None:
        """Move a client's deadline; refresh its session in logic when that is due."""
        now = self.loop.time()
        channel.deadline = now + channel.heartbeat_s
        if now >= channel.refresh_at:
            channel.refresh_at = now + random.uniform(*self._refresh_s)
            request = HeartbeatReq(mid=channel.mid, key=channel.key, server=self.name)
            self._logic.call(HEARTBEAT, request).add_done_callback(partial(self._refreshed, channel))

    def _refreshed(self, channel: Channel, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.counters.add("refresh_errors")
            channel.refresh_at = 0.0  # again at the next heartbeat

    def receive(self, channel: Channel, request: Frame) -> asyncio.Future[Any]:
        """Hand a client's own message to logic."""
        self.counters.add("received")
        proto = Proto(ver=request.ver, op=request.op, seq=request.seq, body=request.body)
        return self._logic.call(RECEIVE, ReceiveReq(mid=channel.mid, proto=proto))

    def lost(self, channel: Channel) -> None:
        """A socket is gone: out of the tables, and logic is told if it had a session."""
        self._open.discard(channel)
        self.wheel.discard(channel)
        if channel.registered:
            self.hub.remove(channel)
            self.counters.add("disconnected")
            self._disconnect(channel)
        else:
            self.hub.leave(channel)

    def note_close(self, channel: Channel, why: str) -> None:
        """Log why a client will be closed; on the wire there is no reason."""
        self.log.info("%s key %r: closed: %s", channel.ip, channel.key, why)

    def intern_accepts(self, operations: Iterable[int]) -> frozenset[int]:
        """Return one shared set for equal sets: most clients of a cluster accept the same operations."""
        wanted = frozenset(operations)
        shared = self._accepts.get(wanted)
        if shared is None:
            if len(self._accepts) > 10_000:
                self._accepts.clear()
            shared = self._accepts[wanted] = wanted
        return shared

    def _disconnect(self, channel: Channel) -> asyncio.Future[Any]:
        channel.registered = False
        return self._call_disconnect(channel.mid, channel.key)

    def _call_disconnect(self, mid: int, key: str) -> asyncio.Future[Any]:
        future = self._logic.call(DISCONNECT, DisconnectReq(mid=mid, key=key, server=self.name))
        future.add_done_callback(self._disconnected)
        return future

    def _disconnected(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.counters.add("disconnect_errors")

    # --- goim.comet.Comet ---------------------------------------------------

    @property
    def handlers(self) -> Handlers:
        """goim's service, answered without waiting."""
        return {
            PUSH_MSG: self._push_msg,
            BROADCAST: self._broadcast,
            BROADCAST_ROOM: self._broadcast_room,
            ROOMS: self._rooms,
        }

    def _push_msg(self, request: pb.PushMsgReq) -> pb.PushMsgReply:
        if not request.keys or not request.HasField("proto"):
            raise PeerError("rpc pushmsg arg error")
        self.counters.add("pushes")
        dropped = self.hub.push_keys(request.keys, request.protoOp, Wire(request.proto))
        if dropped and self.config.compat_goim:
            raise PeerError("signal channel full, msg dropped")
        return pb.PushMsgReply()

    def _broadcast_room(self, request: pb.BroadcastRoomReq) -> pb.BroadcastRoomReply:
        if not request.roomID or not request.HasField("proto"):
            raise PeerError("rpc broadcast  room arg error")
        self.counters.add("pushes")
        self.hub.push_room(request.roomID, Wire(request.proto))
        return pb.BroadcastRoomReply()

    def _broadcast(self, request: pb.BroadcastReq) -> pb.BroadcastReply:
        if not request.HasField("proto"):
            raise PeerError("rpc broadcast arg error")
        self.counters.add("pushes")
        wire = Wire(request.proto)
        if request.speed <= 0:
            self.hub.push_some(self.hub.channels.values(), request.protoOp, wire)
        elif self._broadcasts >= self.config.max_broadcasts:
            self.drops.add("comet.broadcast_queue_full", wire.count * len(self.hub.channels))
        else:
            self._broadcasts += 1
            self._spawn("broadcast", self._paced_broadcast(wire, request.protoOp, request.speed))
        return pb.BroadcastReply()

    async def _paced_broadcast(self, wire: Wire, op: int, speed: int) -> None:
        """Write to those connected now at `speed` clients a second."""
        try:
            everybody = list(self.hub.channels.values())
            begin = self.loop.time()
            done = 0
            while done < len(everybody):
                due = min(len(everybody), max(int((self.loop.time() - begin + _PACE_S) * speed), done + 1))
                self.hub.push_some((c for c in everybody[done:due] if c.registered), op, wire)
                done = due
                await asyncio.sleep(max(done / speed - (self.loop.time() - begin), 0))
        finally:
            self._broadcasts -= 1

    def _rooms(self, request: pb.RoomsReq) -> pb.RoomsReply:
        return pb.RoomsReply(rooms=dict.fromkeys(self.hub.rooms, True))

    # --- own work -----------------------------------------------------------

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
        try:
            server = await self.loop.create_server(
                partial(Channel, self, is_ws=is_ws),
                config.host,
                port,
                backlog=_BACKLOG,
                reuse_port=config.reuse_port or None,
                ssl=tls,
                start_serving=False,
            )
        except OSError as exc:
            if isinstance(exc, PermissionError):
                raise StartError(f"comet {what}: cannot listen on {config.host}:{port}: {exc}") from exc
            raise PortInUseError(f"{config.host}:{port}", f"comet {what}") from exc
        if config.send_buffer_bytes:
            import socket

            for listening in server.sockets:
                # Accepted sockets inherit it, which saves a call a client.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.send_buffer_bytes)
        await server.start_serving()
        self._servers[what] = server

    def _instance(self) -> Instance:
        config = self.config
        return Instance(
            appid=_APPID,
            hostname=self.name,
            addrs=(f"grpc://{self._link.address}",),
            region=config.region,
            zone=config.zone,
            env=config.env,
            metadata={
                "weight": str(config.weight),
                "offline": "true" if config.offline else "false",
                "addrs": ",".join(config.public_addrs or (config.host,)),
                "imctl.link": "1",
                **self._counts(),
            },
        )

    def _counts(self) -> dict[str, str]:
        return {"conn_count": str(len(self.hub.channels)), "ip_count": str(len(self.hub.ips))}

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work, name=f"{self.name} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            for channel in self.wheel.expired(self.loop.time()):
                channel.close("heartbeat_timeout" if channel.registered else "handshake_timeout")

    async def _renew_online_forever(self) -> None:
        """Report room counts every renew_online_s, and soon after they have changed."""
        config = self.config
        sent_at = 0.0
        while True:
            waited = self.loop.time() - sent_at
            soon = self.hub.rooms_changed and not config.compat_goim
            if waited < (config.online_delay_s if soon else config.renew_online_s):
                await asyncio.sleep(min(config.online_delay_s, config.renew_online_s))
                continue
            sent_at = self.loop.time()
            self.hub.rooms_changed = False
            counts = {key: len(room) for key, room in self.hub.rooms.items()}
            try:
                reply = await self._logic.call(RENEW_ONLINE, OnlineReq(server=self.name, roomCount=counts))
            except PeerError as exc:
                self.counters.add("renew_online_errors")
                self.log.info("room counts not taken by logic: %s", exc)
                self.hub.rooms_changed = True
                await asyncio.sleep(1.0)
            else:
                self.hub.online = dict(reply.allRoomCount)

    async def _publish_counts_forever(self) -> None:
        published: dict[str, str] | None = None
        while True:
            counts = self._counts()
            if counts != published or self.config.compat_goim:
                try:
                    await self._registry.set_metadata(_APPID, self.name, counts)
                    published = counts
                except Exception as exc:
                    # The registry may be away for long; clients must not notice.
                    self.counters.add("set_counts_errors")
                    self.log.info("connection counts not taken by the registry: %s", exc)
            await asyncio.sleep(self.config.counts_s if self.config.compat_goim else min(1.0, self.config.counts_s))
