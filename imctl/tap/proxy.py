"""The proxy: passes bytes both ways unchanged, and tells its watchers what it saw after it was passed on.

A side that does not read makes the other side wait: of each connection and
direction at most a read and the transport's buffer are held.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import cast

from imctl.decode.traffic import Side
from imctl.errors import StartError
from imctl.pcap import Endpoint, address_text
from imctl.tap.seen import Accepted, Finished, Gone, Passed, Refused, TapEvent

__all__ = ["Tap"]

_BACKLOG = 4096
_DIAL_S = 10.0
_RESET = struct.pack("ii", 1, 0)

_log = logging.getLogger(__name__)


class Tap:
    """Listens for clients, and has a connection to the comet for each.

    Args:
        to: Host and port of the comet.
        watchers: Each is called with each event; must not wait.
        clock_ns: Gives Unix time.
    """

    def __init__(
        self,
        to: Endpoint,
        watchers: Sequence[Callable[[TapEvent], None]],
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.accepted = 0
        """Clients so far."""
        self.refused = 0
        """Clients that got no connection to the comet."""
        self.to = to
        self.clock_ns = clock_ns
        self._watchers = tuple(watchers)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()

    async def start(self, host: str, port: int) -> Endpoint:
        """Listen; return where, which with port 0 the system chooses.

        Raises:
            StartError: somebody else listens there, or it is no address of this machine.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accept, host, port, backlog=_BACKLOG)
        except OSError as exc:
            hint = "--listen takes another port, and 0 for any" if exc.errno == errno.EADDRINUSE else ""
            raise StartError(f"cannot listen on {address_text((host, port))}: {_reason(exc)}", hint=hint) from exc
        found: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return found

    async def stop(self) -> None:
        """End all connections, both sides in order, and listen no more."""
        if self._server is not None:
            self._server.close()
        links = list(self._links)
        for link in links:
            link.stop()
        # What a side does not read is not waited for.
        if links:
            await asyncio.wait([link.gone for link in links], timeout=1.0)
        for link in list(self._links):
            link.abort()

    def watch(self, event: TapEvent) -> None:
        """Tell the watchers."""
        for watcher in self._watchers:
            watcher(event)

    def forget(self, link: _Link) -> None:
        """A connection has ended."""
        self._links.discard(link)

    def _accept(self) -> _End:
        self.accepted += 1
        link = _Link(self, self.accepted)
        self._links.add(link)
        return _End(link, Side.CLIENT)


class _Link:
    """A client's connection and the one to the comet that belongs to it."""

    def __init__(self, tap: Tap, number: int) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tap = tap
        self._number = number
        self._began_ns = tap.clock_ns()
        self._client: Endpoint = ("", 0)
        self._transports: dict[Side, asyncio.Transport] = {}
        self._finished: list[Side] = []  # will send no more, in this order
        self._told = False
        self._dial: asyncio.Task[None] | None = None
        self._is_dialing = True
        self._early: list[bytes] = []  # what the client sent meanwhile
        self._full: set[Side] = set()  # takes no more for now

    def made(self, side: Side, transport: asyncio.Transport) -> None:
        if side is Side.COMET and not self._is_dialing:  # the client left at the same time
            transport.abort()
            return
        self._transports[side] = transport
        if side is Side.COMET:
            self._joined(transport)
            return
        self._client = transport.get_extra_info("peername")[:2]
        name = f"tap: dial for connection {self._number}"
        self._dial = asyncio.get_running_loop().create_task(self._connect(), name=name)

    def passed(self, side: Side, data: bytes) -> None:
        if self._is_dialing:
            # uvloop reads after connection_made() whatever that said, so it is told to wait here.
            self._early.append(data)
            self._transports[side].pause_reading()
            return
        other = self._transports.get(side.other)
        if other is None:  # it has gone, and this side is on its way too
            return
        other.write(data)
        self._tap.watch(Passed(self._tap.clock_ns(), self._number, side, data))

    def finished(self, side: Side) -> None:
        """A side sends no more: tell the other one, and end both when it was the last."""
        self._finished.append(side)
        if self._is_dialing:
            return
        self._finish(side)

    def _finish(self, side: Side) -> None:
        other = self._transports.get(side.other)
        if other is not None and not other.is_closing() and other.can_write_eof():
            other.write_eof()
        self._tap.watch(Finished(self._tap.clock_ns(), self._number, side))
        if len(self._finished) == len(Side):
            for transport in self._transports.values():
                transport.close()

    def lost(self, side: Side, exc: Exception | None) -> None:
        self._transports.pop(side, None)
        if not self._told:
            self._told = True
            if self._is_dialing:
                self._refuse(f"the client left before {address_text(self._tap.to)} took the connection")
                self._stop_dialing()
            elif Side.COMET in self._transports or side is Side.COMET:
                self._end(side, exc)
        if not self._transports:
            self._tap.forget(self)
            if not self.gone.done():
                self.gone.set_result(None)

    def pause(self, side: Side) -> None:
        """A side takes no more for now: let the other one wait."""
        self._full.add(side)
        other = self._transports.get(side.other)
        if other is not None and not other.is_closing():
            other.pause_reading()

    def resume(self, side: Side) -> None:
        self._full.discard(side)
        other = self._transports.get(side.other)
        if other is not None and not other.is_closing():
            other.resume_reading()

    def stop(self) -> None:
        """End it in order, for the tap ends."""
        self._stop_dialing()
        self._tell_gone(None, reset=False)
        for transport in list(self._transports.values()):
            transport.close()

    def abort(self) -> None:
        for transport in list(self._transports.values()):
            transport.abort()

    async def _connect(self) -> None:
        host, port = self._tap.to
        try:
            async with asyncio.timeout(_DIAL_S):
                await asyncio.get_running_loop().create_connection(lambda: _End(self, Side.COMET), host, port)
        except TimeoutError:
            self._give_up(f"no connection within {_DIAL_S:g} s")
        except OSError as exc:
            self._give_up(_reason(exc))

    def _joined(self, comet: asyncio.Transport) -> None:
        """The comet took the connection."""
        self._is_dialing = False
        address: Endpoint = comet.get_extra_info("peername")[:2]
        self._tap.watch(Accepted(self._began_ns, self._number, self._client, address))
        early, self._early = self._early, []
        for data in early:
            self.passed(Side.CLIENT, data)
        if self._finished:
            self._finish(Side.CLIENT)
        elif Side.COMET not in self._full:
            self._transports[Side.CLIENT].resume_reading()

    def _stop_dialing(self) -> None:
        if self._is_dialing and self._dial is not None:
            self._is_dialing = False
            self._dial.cancel()

    def _give_up(self, why: str) -> None:
        if not self._is_dialing:  # it was given up, or made, at the same time
            return
        self._is_dialing = False
        self._told = True
        self._refuse(why)
        for transport in list(self._transports.values()):
            transport.close()

    def _refuse(self, why: str) -> None:
        self._tap.refused += 1
        now_ns = self._tap.clock_ns()
        self._tap.watch(Refused(now_ns, self._number, self._client, address_text(self._tap.to), why))

    def _end(self, side: Side, exc: Exception | None) -> None:
        """One side is gone: end the other one as it ended."""
        by = self._finished[0] if self._finished else side
        self._tell_gone(side if exc is not None else by, reset=exc is not None)
        other = self._transports.get(side.other)
        if other is None:
            return
        if exc is None:
            other.close()
            return
        own = other.get_extra_info("socket")
        try:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError as error:  # it is closed already
            _log.debug("connection %s: %s", self._number, error)
        other.abort()

    def _tell_gone(self, side: Side | None, *, reset: bool) -> None:
        self._told = True
        self._tap.watch(Gone(self._tap.clock_ns(), self._number, side, reset))


class _End(asyncio.Protocol):
    """One of the two sockets of a link."""

    def __init__(self, link: _Link, side: Side) -> None:
        self._link = link
        self._side = side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's; uvloop's is none of asyncio's classes.
        self._link.made(self._side, cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._link.passed(self._side, data)

    def eof_received(self) -> bool:
        self._link.finished(self._side)
        return True  # it may go on to receive

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost(self._side, exc)

    def pause_writing(self) -> None:
        self._link.pause(self._side)

    def resume_writing(self) -> None:
        self._link.resume(self._side)


def _reason(exc: OSError) -> str:
    """Return the system's words for an error, around which asyncio puts its own; getaddrinfo() has other numbers."""
    return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or str(exc)
