"""The listener for clients over TLS, which sees their handshakes.

A server that is given a TLS context says nothing about a handshake that fails
or stalls, and does not count its socket. So this one accepts by itself, and
each handshake is a task that ends well, with an error, or in time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imctl.comet.channel import Channel
    from imctl.comet.sessions import Sessions

__all__ = ["TlsListener"]

_AT_ONCE = 64  # accepted in one turn of the loop
_OUT_OF_FILES_S = 1.0  # before it tries again; the kernel would ring all the time


class TlsListener:
    """Accepts sockets, and makes a channel of each once its handshake is done.

    Args:
        sessions: Where clients are counted.
        context: The comet's certificate.
        make_channel: Makes a channel.
    """

    def __init__(self, sessions: Sessions, context: ssl.SSLContext, make_channel: Callable[[], Channel]) -> None:
        self._sessions = sessions
        self._context = context
        self._make_channel = make_channel
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self.sockets: list[socket.socket] = []

    async def bind(self, host: str, port: int, *, reuse_port: bool) -> None:
        """Bind every address of the host, and do not listen yet.

        Raises:
            OSError: one of them cannot be bound.
        """
        found = await self._loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                bound = socket.socket(family, kind, protocol)
                self.sockets.append(bound)
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if reuse_port:
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound.setblocking(False)
                bound.bind(address)
        except OSError:
            self.close()
            raise

    def listen(self, backlog: int) -> None:
        """Take clients from now on."""
        for bound in self.sockets:
            bound.listen(backlog)
        self._begin()

    def close(self) -> None:
        """Take no more clients; safe to call twice."""
        self._pause()
        for bound in self.sockets:
            bound.close()
        self.sockets = []

    def _begin(self) -> None:
        self._again = None
        for bound in self.sockets:
            self._loop.add_reader(bound.fileno(), self._accept, bound)

    def _pause(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for bound in self.sockets:
            self._loop.remove_reader(bound.fileno())

    def _accept(self, bound: socket.socket) -> None:
        sessions = self._sessions
        for _ in range(_AT_ONCE):
            try:
                client, address = bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                sessions.accept_failed(exc)
                self._pause()
                self._again = self._loop.call_later(_OUT_OF_FILES_S, self._begin)
                return
            if not sessions.enter(address[0]):
                sessions.turned_away()
                client.close()
                continue
            client.setblocking(False)
            task = self._loop.create_task(self._shake_hands(client, address[0]), name="tls handshake")
            sessions.handshaking.add(task)
            task.add_done_callback(sessions.handshake_over)

    async def _shake_hands(self, client: socket.socket, ip: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                partial(self._placed_channel, ip),
                client,
                ssl=self._context,
                ssl_handshake_timeout=self._sessions.config.handshake_timeout_s,
            )
        except (OSError, RuntimeError) as exc:  # an SSLError is the one, and a socket that is gone can be the other
            self._sessions.handshake_failed(ip, _problem(exc))

    def _placed_channel(self, ip: str) -> Channel:
        channel = self._make_channel()
        channel.ip, channel.has_place = ip, True
        return channel


def _problem(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and "ALERT" not in (error.reason or ""):
        return f"{error}; a client without TLS?"
    return str(error) or "the client has gone"
