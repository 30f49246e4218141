"""Time, peers and clients for tests of the network between clients and comet."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
import socket
from collections.abc import AsyncIterator, Callable

from sim.network.network import Common, Way
from sim.network.wheel import DelayWheel
from sim.scenario.scenario import Network

MS = 1_000_000


class VirtualTime:
    """A clock that stands still until it is told to go on, and timers by it.

    Args:
        early_ns: How much too soon timers come.
    """

    def __init__(self, *, early_ns: int = 0) -> None:
        self.now_ns = 10_000 * MS
        self.early_ns = early_ns
        self.woken = 0
        self._timers: list[tuple[int, int, Callable[[], None], _Timer]] = []
        self._numbers = itertools.count()

    def clock(self) -> int:
        return self.now_ns

    def call_later(self, delay_s: float, call: Callable[[], None]) -> _Timer:
        timer = _Timer()
        due_ns = self.now_ns + max(round(delay_s * 1e9) - self.early_ns, 0)
        heapq.heappush(self._timers, (due_ns, next(self._numbers), call, timer))
        return timer

    def advance(self, ms: float) -> None:
        """Let time pass, and what is due happen at its time."""
        end_ns = self.now_ns + round(ms * MS)
        while self._timers and self._timers[0][0] <= end_ns:
            due_ns, _, call, timer = heapq.heappop(self._timers)
            # An early timer that is set again at once must not keep the time from passing.
            self.now_ns = max(due_ns, self.now_ns + (self.early_ns > 0))
            if not timer.cancelled:
                self.woken += 1
                call()
        self.now_ns = max(self.now_ns, end_ns)


class _Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Client(asyncio.Protocol):
    """The client's side of a link: what it was told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends: list[Exception | None] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a link is one

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append(exc)


class Comet:
    """Comet's end of one connection, as bare as it gets."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def read(self) -> bytes | None:
        """Return what comes next: bytes, b"" for a FIN, None for a RST."""
        try:
            return await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        except ConnectionResetError:
            return None

    def hears(self) -> bool:
        """Whether there is anything to read: bytes, or an end."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            pass
        return True

    def fill(self) -> int:
        """Write until the system takes no more; return the bytes taken."""
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                taken += self.sock.send(bytes(65536))
        return taken


def way_of(network: Network | None = None, common: Common | None = None) -> Way:
    return Way(common or Common(random.Random(1), DelayWheel()), network)


@contextlib.asynccontextmanager
async def connected(make_link: Callable[[], asyncio.Protocol]) -> AsyncIterator[Comet]:
    """Connect a link to a bare listening socket, and yield the other end."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        accepting = loop.create_task(_accept(listening))
        transport, _ = await loop.create_connection(make_link, *listening.getsockname())
        comet = await accepting
        try:
            yield comet
        finally:
            comet.sock.close()
            transport.abort()
            await asyncio.sleep(0)


async def _accept(listening: socket.socket) -> Comet:
    sock, _ = await asyncio.get_running_loop().sock_accept(listening)
    return Comet(sock)
