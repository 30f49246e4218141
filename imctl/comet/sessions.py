"""From a new socket to a session that logic knows, and back: what channels ask of their comet."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from imctl.comet.channel import Channel
from imctl.comet.config import CometConfig
from imctl.comet.guard import Guards
from imctl.comet.hub import Hub
from imctl.comet.places import Places
from imctl.comet.timers import DeadlineWheel, RunningClock
from imctl.link.methods import CONNECT, DISCONNECT, HEARTBEAT, RECEIVE
from imctl.link.pool import PeerPool
from imctl.node import Counters
from imctl.open_files import files_for_connections
from imctl.ratelog import LimitedLogger
from protocol.frame import Frame, pack_frame
from protocol.operation import Operation
from protocol.pb.logic import ConnectReply, ConnectReq, DisconnectReq, HeartbeatReq, ReceiveReq
from protocol.pb.protocol import Proto
from protocol.state import State

__all__ = ["TICK_S", "Sessions"]

logger = logging.getLogger(__name__)

TICK_S = 0.1
# 5,000 sessions a second: a comet of 20,000 has told a logic of all of them in 4 s, at a few percent of a core.
_ANNOUNCE_CALLS = 500
_ANNOUNCE_EVERY_S = 0.1
_SHARED_ACCEPTS = 10_000
_SHARED_ACCEPTS_OPS = 32  # larger sets are rare, and a stranger could fill the memory with them
_LINGER_S = 5.0  # for a closed client to read what was written before; goim gives it none


class Sessions:
    """The connections of one comet, before and after authentication.

    Args:
        config: The comet's settings.
        logic: Who decides about clients.
    """

    def __init__(self, config: CometConfig, logic: PeerPool) -> None:
        self.config = config
        self.counters = Counters("accepted", "connected", "disconnected", "refused_auth", "pushes", "delivered")
        self.drops = Counters()
        self.hub = Hub(self.counters, self.drops, max_rooms=config.max_rooms)
        self.wheel: DeadlineWheel[Channel] = DeadlineWheel(TICK_S)
        self.log = LimitedLogger(logger)
        self.loop = asyncio.get_running_loop()
        self.clock = RunningClock(self.loop.time, TICK_S)
        self.open: set[Channel] = set()
        self.handshaking: set[asyncio.Task[None]] = set()  # with clients over TLS
        most = min(config.max_connections, files_for_connections())
        self.places = Places(most, config.max_connections_per_source)
        self._logic = logic
        self.guards = Guards(self, logic)
        self._accepts: dict[frozenset[int], frozenset[int]] = {}
        self._opened = 0
        self._stopping = False
        self._pending = 0  # connects and disconnects that logic has not answered
        self._settled = asyncio.Event()
        # goim draws the refresh period from 10 to 30 minutes, which can outlast
        # the session's 30 minutes in the store; ours ends before half of it.
        self._refresh_s = (600.0, 1800.0) if config.compat_goim else (600.0, 900.0)

    # --- sockets ------------------------------------------------------------

    def accept(self, channel: Channel) -> bool:
        """Count a new client; False when it must be closed at once."""
        self.open.add(channel)
        self.counters.add("accepted")
        if not channel.has_place:  # over TLS it took one before its handshake
            channel.has_place = self.enter(channel.ip)
        return channel.has_place and not self._stopping

    def enter(self, ip: str) -> bool:
        """Take a place for a client; False, and counted, when there is none."""
        refusal = "refused.max_connections" if self._stopping else self.places.enter(ip)
        if refusal:
            self.counters.add(refusal)
        return not refusal

    def turned_away(self) -> None:
        """Count a socket that was closed at once, before there was a channel."""
        self.counters.add("accepted")
        self.counters.add("closed.refused")

    def handshake_failed(self, ip: str, problem: str) -> None:
        """Count a client whose TLS handshake has failed, and say why."""
        self.places.leave(ip)
        self.counters.add("accepted")
        self.counters.add("closed.tls_handshake")
        self.log.info("%s: TLS handshake failed: %s", ip, problem)

    def handshake_over(self, handshake: asyncio.Task[None]) -> None:
        """Forget a handshake that has ended, one way or the other."""
        self.handshaking.discard(handshake)
        if not handshake.cancelled() and (error := handshake.exception()) is not None:
            logger.error("a TLS handshake failed by a fault of ours", exc_info=error)
        self._check_settled()

    def accept_failed(self, error: OSError) -> None:
        """Count a client that could not be accepted, and say why."""
        self.counters.add("accept_errors")
        self.log.info("cannot accept a client: %s", error)

    def lost(self, channel: Channel) -> None:
        """A socket is gone: out of the tables, and logic is told if it had a session."""
        self.open.discard(channel)
        if channel.has_place:
            channel.has_place = False
            self.places.leave(channel.ip)
        self.wheel.discard(channel)
        self._end_session(channel, "connection_lost")
        if ignored := channel.connection.ignored:
            self.counters.add("ignored_before_auth", ignored)
        self._check_settled()

    def closing(self, channel: Channel, reason: str) -> None:
        """Count why a client is closed, end its session, and wait only so long for its last bytes to leave."""
        self.counters.add(f"closed.{reason}")
        self._end_session(channel, reason)
        if channel.fd < 0 or channel.transport.get_write_buffer_size():
            channel.deadline = self.clock.now() + _LINGER_S
            self.wheel.add(channel)

    def end_overdue(self) -> None:
        """Close those that did not authenticate, did not beat, or did not read their last bytes in time.

        Asks logic what guards have to ask again, too. Call it every TICK_S.
        """
        self.guards.tick()
        for channel in self.wheel.expired(self.clock.tick()):
            if channel.connection.state is State.CLOSED:
                self.counters.add("lingering_aborted")
                channel.abort("linger")
            else:
                channel.close("heartbeat_timeout" if channel.registered else "handshake_timeout")

    async def close_all(self, grace_s: float) -> None:
        """Refuse new clients, tell logic of the sessions that end, and close every socket."""
        self._stopping = True
        for handshake in self.handshaking:
            handshake.cancel()
        for channel in list(self.open):
            channel.close("comet_stops")
        self._check_settled()
        for _ in range(2):
            try:
                async with asyncio.timeout(max(grace_s / 2, 0.1)):
                    await self._settled.wait()
                break
            except TimeoutError:
                for channel in list(self.open):
                    channel.abort("comet_stops")

    def _settle(self) -> None:
        """Count one answer of logic to a connect or disconnect."""
        self._pending -= 1
        self._check_settled()

    def _check_settled(self) -> None:
        if self._stopping and not self.open and not self.handshaking and not self._pending:
            self._settled.set()

    # --- authentication -----------------------------------------------------

    def connect(self, cookie: str, token: bytes, answered: Callable[[asyncio.Future[Any]], None]) -> None:
        """Ask logic who a client is; `answered` gets a future that has ended with a ConnectReply or PeerError."""
        self._pending += 1
        future = self._logic.call(CONNECT, ConnectReq(server=self.config.hostname, cookie=cookie, token=token))
        future.add_done_callback(answered)
        future.add_done_callback(partial(self._connected, self.guards.asking()))

    def _connected(self, connect: int, _: asyncio.Future[Any]) -> None:
        # After `answered`, since a comet that stops also waits for what has followed from the answer.
        self.guards.answered(connect)
        self._settle()

    def refused(self, channel: Channel, error: BaseException | None) -> None:
        """Close a client that logic did not accept; the reason stays here."""
        self.counters.add("refused_auth")
        self.log.info("%s: auth refused: %s", channel.ip, error)
        channel.close("auth_refused")

    def too_late(self, reply: ConnectReply) -> None:
        """Take a session back whose client went away while logic made it."""
        self.counters.add("late_connects")
        self._disconnect(reply.mid, reply.key, reply.session.id, "client_gone")

    def register(self, channel: Channel, room: str) -> None:
        """Put a client that has its auth reply into the tables; arm its heartbeat."""
        if channel.is_gone:
            self._disconnect(channel.mid, channel.key, channel.session, "client_gone")
            return
        if channel.session and (reason := self.guards.was_kicked(channel.session)) is not None:
            self.kick(channel, reason)
            self._disconnect(channel.mid, channel.key, channel.session, "kicked")
            return
        now = self.clock.now()
        channel.registered = True
        old = self.hub.add(channel)
        if old is not None:
            self.counters.add("replaced")
            self._end_replaced(old)
        self.counters.add("connected")
        self.join(channel, room)
        channel.refresh_at = now + random.uniform(*self._refresh_s)
        channel.deadline = now + channel.heartbeat_s
        self.wheel.add(channel)
        if channel.guard is not None:
            self.guards.begin(channel.guard)
        if channel.heartbeat_s <= 0:
            channel.close("heartbeat_timeout")

    # --- a session's requests -----------------------------------------------

    def join(self, channel: Channel, room: str) -> bool:
        """Move a client to a room, "" for none; False, counted and logged, when there are too many rooms."""
        if self.hub.join(channel, room):
            return True
        self.counters.add("refused.max_rooms")
        self.log.info("%s key %r: room %r refused, %d rooms", channel.ip, channel.key, room, len(self.hub.rooms))
        return False

    def heartbeat(self, channel: Channel) -> None:
        """Move a client's deadline; refresh its session in logic when that is due."""
        now = self.clock.now()
        channel.deadline = now + channel.heartbeat_s
        if now >= channel.refresh_at:
            channel.refresh_at = now + random.uniform(*self._refresh_s)
            self._refresh(channel)

    def receive(self, channel: Channel, request: Frame) -> asyncio.Future[Any]:
        """Hand a client's own message to logic."""
        self.counters.add("received")
        proto = Proto(ver=request.ver, op=request.op, seq=request.seq, body=request.body)
        key = channel.key if channel.guard is not None else ""
        return self._logic.call(RECEIVE, ReceiveReq(mid=channel.mid, proto=proto, key=key))

    def kick(self, channel: Channel, reason: str) -> None:
        """Close a session because logic says so.

        The client is told why with op 6, which goim's table has and goim never
        sends: one that comes back at once would end the login it had to give way to.
        """
        self.log.info("%s key %r: kicked: %s", channel.ip, channel.key, reason)
        channel.reply(pack_frame(Operation.DISCONNECT_REPLY, reason.encode()))
        channel.close("kicked")

    def intern_accepts(self, operations: Iterable[int]) -> frozenset[int]:
        """Return one shared set for equal sets: most clients of a cluster accept the same operations."""
        wanted = frozenset(operations)
        if len(wanted) > _SHARED_ACCEPTS_OPS:
            return wanted
        shared = self._accepts.get(wanted)
        if shared is None:
            if len(self._accepts) >= _SHARED_ACCEPTS:
                self._accepts.clear()
            shared = self._accepts[wanted] = wanted
        return shared

    # --- towards logic ------------------------------------------------------

    def logic_came_back(self) -> bool:
        """Whether a link to logic has come up since the last call while there are sessions."""
        opened, self._opened = self._opened, self._logic.opened
        return opened != self._opened and bool(self.hub.channels)

    async def announce(self) -> None:
        """Refresh every session: a logic that has lost its memory learns of them again.

        Without it a push by mid or key would miss a client that stayed
        connected while logic restarted, until its next ordinary refresh.
        """
        channels = list(self.hub.channels.values())
        for first in range(0, len(channels), _ANNOUNCE_CALLS):
            for channel in channels[first : first + _ANNOUNCE_CALLS]:
                if channel.registered:
                    self.counters.add("announced")
                    self._refresh(channel)
                    if channel.guard is not None and channel.guard.tell_registered:
                        self.guards.tell(channel.guard)
            await asyncio.sleep(_ANNOUNCE_EVERY_S)

    def _refresh(self, channel: Channel) -> None:
        request = HeartbeatReq(mid=channel.mid, key=channel.key, server=self.config.hostname, session=channel.session)
        if channel.guard is not None:
            channel.guard.refreshing += 1
        self._logic.call(HEARTBEAT, request).add_done_callback(partial(self._refreshed, channel))

    def _refreshed(self, channel: Channel, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.counters.add("refresh_errors")
            channel.refresh_at = 0.0  # again at the next heartbeat
        guard = channel.guard
        if guard is not None:
            guard.refreshing -= 1
            if guard.ended is not None and not guard.refreshing:
                guard.ended()
                self._settle()

    def _end_session(self, channel: Channel, reason: str) -> None:
        self.hub.remove(channel)
        guard = channel.guard
        if guard is not None:
            self.guards.end(guard)
        if not channel.registered:
            return
        channel.registered = False
        self.counters.add("disconnected")
        tell = partial(self._disconnect, channel.mid, channel.key, channel.session, reason)
        if guard is not None and guard.refreshing:
            # A refresh that another logic carries out later than the end would bring the session back there.
            self._pending += 1
            guard.ended = tell
        else:
            tell()

    def _end_replaced(self, channel: Channel) -> None:
        """End a session whose key another one has now, which owns the mapping in logic."""
        channel.registered = False
        if channel.session:
            self.counters.add("disconnected")
            self._disconnect(channel.mid, channel.key, channel.session, "replaced")
        channel.close("replaced")

    def _disconnect(self, mid: int, key: str, session: int, reason: str) -> None:
        """Tell logic that a session is over; once for every one that it has made."""
        self._pending += 1
        request = DisconnectReq(mid=mid, key=key, server=self.config.hostname)
        replaced = reason == "replaced"
        if session:
            request.session, request.reason, request.replaced = session, reason, replaced
        future = self._logic.call(DISCONNECT, request)
        future.add_done_callback(partial(self._disconnected, None if replaced else key))

    def _disconnected(self, key: str | None, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.counters.add("disconnect_errors")
        heir = self.hub.channels.get(key) if key is not None else None
        if heir is not None:
            # It came while the old session went: logic may have removed what it had just written for the new one.
            self._refresh(heir)
        self._settle()
