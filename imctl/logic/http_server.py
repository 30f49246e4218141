"""The listener of logic's HTTP API.

A protocol over httptools (`imctl.logic.http1`) in place of aiohttp's server, which
spends about 75 us of CPU on a push, mostly for two tasks and a dozen objects a
request; this spends about a fifth of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno

from imctl.errors import PortInUseError, StartError
from imctl.logic.http_api import HttpApi
from imctl.logic.http_connection import Connection, HttpLimits, Shared
from imctl.node import Counters

__all__ = ["HttpServer"]

_BACKLOG = 4096
_SWEEP_EVERY_S = 1.0
# For the last bytes of closed connections to leave, at stop.
_CLOSE_S = 0.5


class HttpServer:
    """Serves the HTTP API on one port.

    Args:
        api: Who answers.
        host: Address to bind.
        port: Port to bind, 0 for any.
        limits: What clients may ask for.
        drops: Counts connections and requests that ended before their time.
    """

    def __init__(self, api: HttpApi, *, host: str, port: int, limits: HttpLimits, drops: Counters) -> None:
        self._host = host
        self._port = port
        self._shared = Shared(api, limits, drops)
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """`host:port` it listens on; complete after start()."""
        return self._address

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._shared.open)

    async def start(self) -> None:
        """Listen.

        Raises:
            PortInUseError: somebody listens there already.
            StartError: the address cannot be bound for another reason.
        """
        loop = asyncio.get_running_loop()
        wanted = f"{self._host}:{self._port}"
        try:
            listener = await loop.create_server(
                lambda: Connection(self._shared, loop), self._host, self._port, backlog=_BACKLOG
            )
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise PortInUseError(wanted, "logic http") from exc
            raise StartError(f"logic http: cannot listen on {wanted}: {exc}") from exc
        self._listener = listener
        self._address = f"{self._host}:{listener.sockets[0].getsockname()[1]}"
        self._sweep()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no more connections, answer what is at work within `grace_s`, and close. Safe to call twice."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        connections = self._shared.open
        for connection in list(connections):
            connection.finish()
        tasks = [connection.task for connection in connections if connection.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(grace_s, _CLOSE_S)):
                await self._shared.all_gone()
        for connection in list(connections):
            connection.abort()
        # Two turns: one in which transports close, one in which they say so.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(_SWEEP_EVERY_S, self._sweep)
        now_s = loop.time()
        for connection in list(self._shared.open):
            connection.check_age(now_s)
