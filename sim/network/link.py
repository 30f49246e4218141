"""One connection of a client through a network that may fail: between the client and its socket.

The socket is a real one, so what a fault does to it is what comet sees: a RST,
a FIN, a peer that neither reads nor sends. The client sees its own end of it,
which after a fault need not be in the same state.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any, cast

from sim.clients.connect import reset_when_closed
from sim.measure.ledger import Trouble
from sim.network.lane import Lane
from sim.run.clocks import monotonic_ns
from sim.scenario.scenario import EventKind

if TYPE_CHECKING:
    from sim.network.network import Way

__all__ = ["Link", "place_of"]

_MAX_UNSENT_BYTES = 64 * 1024  # of a client's own requests, which nobody slows down
_DRAIN_S = 5.0  # longest wait for comet to close its side of a connection that was cut


def place_of(kind: EventKind) -> str:
    """Return what `delivery.lost_at` calls losses to a fault of the network."""
    return f"network.{kind.value}"


class Link(asyncio.Transport, asyncio.Protocol):
    """A protocol for the socket and a transport for the client.

    Args:
        way: The client's way to comet, which says what the network is like.
        client: The protocol that is connected.
    """

    __slots__ = (
        "_client",
        "_down",
        "_drain_timer",
        "_error",
        "_is_draining",
        "_is_full",
        "_is_hole",
        "_is_paused",
        "_socket",
        "_up",
        "_way",
    )

    def __init__(self, way: Way, client: asyncio.Protocol) -> None:
        super().__init__()
        self._way = way
        self._client: asyncio.Protocol | None = client  # None when its side has ended
        self._socket: asyncio.Transport | None = None  # None when comet's side has ended
        self._down = Lane(way.wheel, self._deliver_down)
        self._up = Lane(way.wheel, self._deliver_up)
        self._error: Exception | None = None
        self._is_paused = False  # by the client
        self._is_full = False  # as much as may be on its way is
        self._is_hole = False  # nothing arrives any more, on either side
        self._is_draining = False  # only waits for comet to close its side
        self._drain_timer: asyncio.TimerHandle | None = None

    # --- towards comet: asyncio.Protocol ------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass it on, with this in between."""
        self._socket = cast(asyncio.Transport, transport)
        if self._client is None:
            self._socket.abort()
            return
        self._way.opened(self)
        self._client.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Bring bytes to the client, as the network does."""
        way = self._way
        if way.conditions.is_plain and self._down.is_idle and self._client is not None and not self._is_hole:
            self._client.data_received(data)
        elif self._client is not None and not self._is_hole:
            self._down.send(data, way.conditions, monotonic_ns())
            if self._down.queued > way.conditions.window_bytes:
                self._is_full = True
                self._read_or_not()

    def eof_received(self) -> None:
        """Let the connection end: nothing of goim's is half closed."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the client when the network brings it."""
        self._socket = None
        self._way.socket_closed(self)
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        if self._client is None or self._is_hole:
            return
        self._error = exc
        self._up.close()
        if self._down.is_closed or (self._way.conditions.is_plain and self._down.is_idle):
            self._end(exc)
        else:
            self._down.send(b"", self._way.conditions, monotonic_ns())

    # --- towards the client: asyncio.Transport ------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Bring bytes to comet, as the network does."""
        conditions = self._way.conditions
        if self._is_hole or self._socket is None:
            return
        if conditions.is_plain and self._up.is_idle:
            self._socket.write(data)
        elif self._up.queued + len(data) > _MAX_UNSENT_BYTES:
            self._way.unsent = True
        else:
            self._up.send(bytes(data), conditions, monotonic_ns())

    def abort(self) -> None:
        """End the connection by the client's will; what is on its way is lost."""
        self._note(None)
        self._down.close()
        self._up.close()
        if self._socket is None or self._is_hole:
            # Comet cannot hear of it, so it is not the socket that tells the client.
            asyncio.get_running_loop().call_soon(self._end, None)
        else:
            self._socket.abort()

    def close(self) -> None:
        """As abort(): a simulated client has nothing to wait for."""
        self.abort()

    def is_closing(self) -> bool:
        """Whether the client's side has ended, or is about to."""
        return self._client is None or (self._socket is not None and self._socket.is_closing())

    def pause_reading(self) -> None:
        """Leave what comes in the socket."""
        if not self._is_paused:
            self._is_paused = True
            self._down.shut()
            self._read_or_not()

    def resume_reading(self) -> None:
        """Read again."""
        if self._is_paused:
            self._is_paused = False
            self._down.open()
            self._read_or_not()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the socket's transport."""
        return default if self._socket is None else self._socket.get_extra_info(name, default)

    # --- faults -------------------------------------------------------------

    def stand_still(self) -> None:
        """Let nothing arrive on either side until go_on() was called as often."""
        self._note(EventKind.STALL)
        self._down.shut()
        self._up.shut()
        self._read_or_not()

    def go_on(self) -> None:
        """Let everything arrive that stood still."""
        if not self._way.is_still:
            self._get_over(EventKind.STALL)
        self._up.open()
        self._down.open()
        self._read_or_not()

    def reset(self) -> None:
        """End both sides with a RST, at once; of one that was lost already, what is left."""
        self._note(EventKind.RESET)
        self._reset_socket()
        self._end(_connection_reset())

    def cut(self) -> None:
        """End both sides with a FIN, at once."""
        self._note(EventKind.CUT)
        self._end(None)
        if self._socket is None:
            return
        if not self._socket.can_write_eof():
            self._socket.close()  # TLS says good-bye in its own way
            return
        # Closing alone would be a RST where something is still unread.
        self._socket.write_eof()
        self._is_draining = True
        self._read_or_not()
        self._drain_timer = asyncio.get_running_loop().call_later(_DRAIN_S, self.drop)

    def swallow(self) -> None:
        """Let all that is on its way vanish, and all that comes; both sides stay."""
        self._vanish(EventKind.BLACK_HOLE)

    def lose_client(self) -> None:
        """End the client's side; comet does not hear of it."""
        self._vanish(EventKind.HALF_OPEN)
        self._end(_connection_reset())

    def lose_comet(self) -> None:
        """End comet's side; the client does not hear of it."""
        self._vanish(EventKind.HALF_OPEN)
        self._reset_socket()

    def drop(self) -> None:
        """End the socket; nobody is told."""
        if self._socket is not None:
            self._socket.abort()

    # --- inside -------------------------------------------------------------

    def _deliver_down(self, data: bytes) -> None:
        if not data:
            self._end(self._error)
        elif self._client is not None:
            self._client.data_received(data)
            if self._is_full and self._down.queued <= self._way.conditions.window_bytes // 2:
                self._is_full = False
                self._read_or_not()

    def _deliver_up(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.write(data)

    def _read_or_not(self) -> None:
        """Take from the socket what can go on; what cannot stays there, until comet cannot write any more."""
        if self._socket is None or self._socket.is_closing():
            return
        stops = self._is_paused or self._is_full or self._is_hole or self._way.is_still
        if self._is_draining or not stops:
            self._socket.resume_reading()
        else:
            self._socket.pause_reading()

    def _reset_socket(self) -> None:
        if self._socket is not None:
            reset_when_closed(self._socket.get_extra_info("socket"))
            self._socket.abort()

    def _vanish(self, kind: EventKind) -> None:
        self._note(kind)
        self._is_hole = True
        self._down.close()
        self._up.close()
        self._read_or_not()

    def _note(self, kind: EventKind | None) -> None:
        """Tell the ledger that messages may be lost from now on; None for no fault but the client's will."""
        client, troubles = self._client, self._way.troubles
        known = troubles.get(client) if client is not None else None
        if client is None or (known is not None and known.place != place_of(EventKind.STALL)):
            return  # the first fault that it does not get over is the cause
        now = monotonic_ns()
        from_ns = known.from_ns if known is not None else now - self._lag_ns(now)
        place = place_of(kind) if kind is not None else known.place if known is not None else ""
        if place or from_ns < now:
            troubles[client] = Trouble(place, from_ns, now - from_ns)

    def _get_over(self, kind: EventKind) -> None:
        known = self._way.troubles.get(self._client) if self._client is not None else None
        if known is not None and self._client is not None and known.place == place_of(kind):
            del self._way.troubles[self._client]

    def _lag_ns(self, now_ns: int) -> int:
        """Return how long what comet sends now takes to its client."""
        return max(self._way.conditions.delay_ns, self._down.lag_ns(now_ns))

    def _end(self, error: Exception | None) -> None:
        """End the client's side, once."""
        client, self._client = self._client, None
        if client is None:
            return
        self._down.close()
        self._up.close()
        self._way.client_gone(self)
        client.connection_lost(error)


def _connection_reset() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
