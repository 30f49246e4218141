"""One client connection of comet: its socket, its state, its way to logic."""

from __future__ import annotations

import asyncio
from functools import partial
from os import write as os_write
from typing import TYPE_CHECKING, Any, cast

from imctl.comet.guard import Guard
from imctl.comet.operations import act
from protocol.decoder import FrameDecoder
from protocol.errors import RemoteError
from protocol.frame import Frame
from protocol.state import Connection, State
from protocol.websocket import ServerDecoder, serialize_message

if TYPE_CHECKING:
    from imctl.comet.hub import Room
    from imctl.comet.sessions import Sessions

__all__ = ["Channel"]

_NO_OPS: frozenset[int] = frozenset()
_MAX_BACKLOG = 65536
_MAX_OWED = 16384


class Channel(asyncio.Protocol):
    """One TCP or WebSocket client.

    Attributes:
        indirect: Bytes must go through the transport: something waits there,
            the connection is TLS, or it is closing. While it is False the
            transport is empty and `fd` may be written directly.
        accepts: Operations the client wants; shared between clients with the same ones.
        guard: What it has to ask logic for, when logic has hooks.
        deadline, tick: For the comet's DeadlineWheel (time of its RunningClock, seconds).
        has_place: It counts towards the most connections.
        backlog: Bytes that came while a request of this client was with logic.
        owed: Bytes of replies that the client has not taken yet; no further request is carried out above a limit.
    """

    # Slots and no dict: a comet holds one of these for each of many idle clients.
    __slots__ = (
        "accepts",
        "backlog",
        "connection",
        "deadline",
        "fd",
        "guard",
        "has_place",
        "heartbeat_s",
        "indirect",
        "ip",
        "is_ws",
        "key",
        "mid",
        "online",
        "owed",
        "refresh_at",
        "registered",
        "room",
        "sessions",
        "tick",
        "transport",
    )

    def __init__(self, sessions: Sessions, *, is_ws: bool) -> None:
        self.sessions = sessions
        self.is_ws = is_ws
        decoder = (
            ServerDecoder(sessions.config.max_body_bytes) if is_ws else FrameDecoder(sessions.config.max_body_bytes)
        )
        self.connection = Connection(decoder)
        self.transport = cast(asyncio.Transport, None)
        self.fd = -1
        self.indirect = True
        self.registered = False
        self.has_place = False
        self.key = ""
        self.mid = 0
        self.ip = ""
        self.room: Room | None = None
        self.guard: Guard | None = None
        self.online = 0
        self.accepts = _NO_OPS
        self.heartbeat_s = 0.0
        self.refresh_at = 0.0
        self.deadline = 0.0
        self.tick = 0
        self.backlog = 0
        self.owed = 0

    @property
    def session(self) -> int:
        """The id of its session in logic, 0 where logic has no hooks."""
        return self.guard.session if self.guard is not None else 0

    # --- asyncio.Protocol ---------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake timer; refuse the client when the comet is full or stopping."""
        self.transport = cast(asyncio.Transport, transport)
        sessions = self.sessions
        if not self.ip:
            peer = transport.get_extra_info("peername")
            self.ip = peer[0] if peer else ""
        if not sessions.accept(self):
            self.abort("refused")
            return
        if transport.get_extra_info("sslcontext") is not None:
            self.transport.set_write_buffer_limits(high=1)  # with 0 a TLS transport pauses at every write
        else:
            # pause_writing() tells at once when the transport holds bytes of its own.
            self.transport.set_write_buffer_limits(high=0)
            self.fd = transport.get_extra_info("socket").fileno()
            self.indirect = False
        self.deadline = sessions.clock.now() + sessions.config.handshake_timeout_s
        sessions.wheel.add(self)

    def data_received(self, data: bytes) -> None:
        """Decode and act on what is complete."""
        connection = self.connection
        if connection.state is State.BUSY or connection.state is State.AUTHENTICATING:
            # Requests pile up behind one that is with logic; the socket holds the rest.
            self.backlog += len(data)
            if self.backlog > _MAX_BACKLOG:
                self.transport.pause_reading()
        connection.receive(data)
        if self.is_ws:
            decoder = cast(ServerDecoder, connection.decoder)
            output = decoder.take_output()
            if output:
                self.write(output)
            self._run()
            if decoder.closing:
                self.close("client_close_frame")
        else:
            self._run()

    def eof_received(self) -> bool:
        """End both ways, as goim does when a client shuts down its writing side."""
        self.close("client_eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client, and tell logic if it knew of it."""
        self.indirect = True
        self.fd = -1
        if self.connection.state is not State.CLOSED:
            self.connection.close()
            self.sessions.counters.add("closed.client_reset")
        self.sessions.lost(self)

    def pause_writing(self) -> None:
        """The transport holds bytes: until they are gone nothing may overtake them."""
        self.indirect = True

    def resume_writing(self) -> None:
        """The transport is empty again."""
        if self.connection.state is State.CLOSED:
            return
        if self.fd >= 0:
            self.indirect = False
        owed, self.owed = self.owed, 0
        if owed > _MAX_OWED:
            self._read_on()

    # --- requests -----------------------------------------------------------

    def _run(self) -> None:
        connection = self.connection
        while True:
            if self.owed > _MAX_OWED:
                self.transport.pause_reading()
                return
            try:
                request = connection.next_request()
            except RemoteError as exc:
                # On the wire there is no reason, only the closed socket.
                self.sessions.log.info("%s key %r: closed: %s", self.ip, self.key, exc)
                self.sessions.closing(self, exc.reason)  # next_request() has marked the connection as closed
                self.close(exc.reason)
                # The decoder keeps the error: with its frames it would hold this channel until the next collection.
                exc.__traceback__ = None
                return
            if request is None:
                return
            if connection.state is State.AUTHENTICATING:
                self._authenticate(request)
            else:
                act(self, request)

    def _authenticate(self, request: Frame) -> None:
        cookie = cast(ServerDecoder, self.connection.decoder).cookie if self.is_ws else ""
        self.sessions.connect(cookie, request.body, partial(self._authenticated, request))

    def _authenticated(self, request: Frame, future: asyncio.Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None or future.cancelled():
            self.sessions.refused(self, error)
            return
        reply = future.result()
        if self.connection.state is not State.AUTHENTICATING:
            self.sessions.too_late(reply)
            return
        self.key = reply.key
        self.mid = reply.mid
        self.accepts = self.sessions.intern_accepts(reply.accepts)
        self.heartbeat_s = reply.heartbeat / 1e9
        if reply.HasField("session"):
            self.guard = Guard(self, reply.session)
        # The auth reply is always the first frame a client gets.
        self.reply(self.connection.authenticated(request))
        self.sessions.register(self, reply.roomID)
        self._read_on()

    def resume(self) -> None:
        """Go on with requests that came while one was with logic."""
        self.connection.release()
        self._read_on()

    def _read_on(self) -> None:
        if self.connection.state is State.READY or self.connection.state is State.NEW:
            self.backlog = 0
            self.transport.resume_reading()
            self._run()

    # --- writing ------------------------------------------------------------

    def reply(self, frame: bytes) -> None:
        """Send one frame to this client, as a WebSocket message where it is one."""
        self.write(serialize_message(frame) if self.is_ws else frame)

    def write(self, data: bytes) -> None:
        """Send what the client has asked for, now or after what waits; see `owed` for the bound."""
        if self.indirect:
            if not self.is_gone:
                self.transport.write(data)
                self.owed = self.owed + len(data) if self.transport.get_write_buffer_size() else 0
            return
        try:
            done = os_write(self.fd, data)
        except BlockingIOError:
            done = 0
        except OSError:
            self.abort("write_error")
            return
        if done != len(data):
            self.write_rest(data, done)

    def write_rest(self, data: bytes, done: int) -> None:
        """Hand over to the transport what the kernel did not take; never a drop, since a part is on its way."""
        self.transport.write(data[done:] if done else data)

    def write_indirect(self, data: bytes) -> bool:
        """Write a push through the transport; return False when the client is gone or too slow to take it."""
        if self.is_gone:
            return False
        transport = self.transport
        waiting = transport.get_write_buffer_size()
        if waiting and waiting + len(data) > self.sessions.config.write_buffer_bytes:
            return False
        transport.write(data)
        return True

    # --- closing ------------------------------------------------------------

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be sent any more; a TLS transport that says goodbye is not `closing` yet."""
        return self.connection.state is State.CLOSED or self.transport.is_closing()

    def close(self, reason: str) -> None:
        """Close after what was written has gone out, or after a time limit; counted under the first reason given.

        Its session ends at once, so this is not for use inside a fan-out loop.
        """
        if self.connection.state is not State.CLOSED:
            self.connection.close()
            self.sessions.closing(self, reason)
        self.indirect = True
        self.transport.close()

    def abort(self, reason: str) -> None:
        """Close at once; what waits is lost. Safe inside a fan-out loop."""
        if self.connection.state is not State.CLOSED:
            self.connection.close()
            self.sessions.counters.add(f"closed.{reason}")
        self.indirect = True
        self.transport.abort()
