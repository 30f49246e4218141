"""Getting a swarm's clients in, and back in when they have lost their connection."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.clients.client import SimClient
from sim.clients.connect import open_from, source_of, tls_context
from sim.clients.plan import Plan
from sim.clients.spread import connect_starts
from sim.failures import failure_text
from sim.run.target import Target, comet_of
from sim.scenario.scenario import Backoff

if TYPE_CHECKING:
    from sim.clients.swarm import Swarm

__all__ = ["Connector"]

_CONNECT_TIMEOUT_S = 20.0
_MIN_WAIT_S = 0.01  # after a failure, also where the scenario says 0


class Connector:
    """Connects the clients of one swarm; it alone makes their connections.

    Args:
        swarm: Whose clients.
        plan: The scenario's plan.
        target: Where to connect.
        part, parts: Which share of all clients this is.

    Attributes:
        failures: Why clients did not get in the first time, {reason: clients}.
        again_failures: Why attempts to come back failed, {reason: attempts}.
        second_failures: Why second logins failed, {reason: logins}.
        second_logins: Those that did not.
        reconnects: Clients that came back.
    """

    def __init__(self, swarm: Swarm, plan: Plan, target: Target, *, part: int, parts: int) -> None:
        self.failures: Counter[str] = Counter()
        self.again_failures: Counter[str] = Counter()
        self.second_failures: Counter[str] = Counter()
        self.reconnects = 0
        self.second_logins = 0
        self._swarm = swarm
        self._plan = plan
        self._target = target
        self._parts = parts
        self._all = plan.scenario.client_count
        self._joining: dict[SimClient, asyncio.Future[None]] = {}
        populations = plan.scenario.clients
        self._slots = [asyncio.Semaphore(max(1, one.connect_inflight // parts)) for one in populations]
        self._tls: list[ssl.SSLContext | None] = [
            tls_context(one, target) if any(transport.is_tls for transport, _ in one.transports) else None
            for one in populations
        ]
        self._returns: Counter[int] = Counter()  # by index: times a client has set out to come back
        self._returning: set[asyncio.Task[None]] = set()

    @property
    def away(self) -> int:
        """Clients on their way back."""
        return len(self._returning)

    async def connect_all(self) -> None:
        """Connect all clients, each population at its rate; return when each is in or has failed."""
        groups: list[list[SimClient]] = [[] for _ in self._plan.scenario.clients]
        for client in self._swarm.clients:
            groups[client.plan.population].append(client)
        async with asyncio.TaskGroup() as together:
            base = 0
            for index, group in enumerate(groups):
                together.create_task(self._connect_group(index, base, group), name=f"connect population {index}")
                base += self._plan.scenario.clients[index].count

    def joined(self, client: SimClient) -> None:
        """Note that a client has read its auth reply."""
        future = self._joining.get(client)
        if future is not None and not future.done():
            future.set_result(None)

    def lost(self, client: SimClient) -> bool:
        """Note that a connection has ended; return whether it was one that was still getting in."""
        future = self._joining.get(client)
        if future is None or future.done():
            return False
        future.set_exception(ConnectionAbortedError("closed before the auth reply"))
        return True

    def come_back(self, client: SimClient, backoff: Backoff, *, away_s: float | None = None) -> None:
        """Connect a client again, as often as it takes.

        Args:
            client: One whose connection has ended.
            backoff: Shortest and longest wait before an attempt. Each is drawn from a span that begins with
                the shortest, is twice as long as its beginning, and doubles with each failure.
            away_s: Wait this long before the first attempt instead.
        """
        task = self._swarm.spawn("reconnect", self._return(client, backoff, away_s))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    def slots(self, client: SimClient) -> asyncio.Semaphore:
        """Return what bounds the connects under way of a client's population; log_in() is called with one in hand."""
        return self._slots[client.plan.population]

    async def log_in(self, client: SimClient, beside: SimClient, *, other_comet: bool) -> bool:
        """Connect a second connection of a client.

        Args:
            client: The new connection.
            beside: The one that is there.
            other_comet: To the comet after that one's, instead of the same.

        Returns:
            Whether it got in; `second_failures` has the reason when it did not.
        """
        comets = len(self._target.comets(client.plan.transport))
        reason = await self._attempt(client, (beside.comet + other_comet) % comets)
        if reason:
            self.second_failures[reason] += 1
            return False
        self.second_logins += 1
        return True

    async def _connect_group(self, index: int, base: int, group: list[SimClient]) -> None:
        """Start connects on a schedule of their own; at most so many are under way."""
        loop = asyncio.get_running_loop()
        starts = connect_starts(self._plan.scenario.clients[index], self._plan.scenario.seed)
        slots = self._slots[index]
        begin = loop.time()
        async with asyncio.TaskGroup() as started:
            for client in group:
                wait = begin + starts[client.plan.index - base] - loop.time()
                if wait > 0.001:
                    await asyncio.sleep(wait)
                await slots.acquire()
                started.create_task(self._connect_first(client, slots), name="connect client")

    async def _connect_first(self, client: SimClient, slots: asyncio.Semaphore) -> None:
        try:
            reason = await self._attempt(client, self._comet(client))
        finally:
            slots.release()
        if reason:
            self._swarm.failed += 1
            self.failures[reason] += 1
        else:
            self._swarm.connected += 1

    async def _return(self, client: SimClient, backoff: Backoff, away_s: float | None) -> None:
        slots = self.slots(client)
        waits = self._waits(client.plan.index, backoff)
        for attempt, wait_s in enumerate(waits if away_s is None else itertools.chain([away_s], waits)):
            await asyncio.sleep(wait_s)
            async with slots:
                client = self._swarm.renew(client)
                # Where it failed it goes on to the next comet.
                reason = await self._attempt(client, self._comet(client, attempt))
            if not reason:
                self.reconnects += 1
                return
            self.again_failures[reason] += 1

    def _waits(self, index: int, backoff: Backoff) -> Iterator[float]:
        """Yield the waits of a client before each attempt to come back."""
        self._returns[index] += 1
        # Drawn, or all that were cut off in one instant would come back in one; and of its own for each client and
        # return, for in which order clients lose their connections is left to chance.
        draws = random.Random(f"{self._plan.scenario.seed}/backoff/{index}/{self._returns[index]}")
        low_s = backoff.min_s
        while True:
            yield draws.uniform(low_s, max(min(low_s * 2, backoff.max_s), low_s))
            low_s = max(min(low_s * 2, backoff.max_s), _MIN_WAIT_S)

    def _comet(self, client: SimClient, attempt: int = 0) -> int:
        comets = len(self._target.comets(client.plan.transport))
        return (comet_of(client.plan.index, comets) + attempt) % comets

    async def _attempt(self, client: SimClient, comet: int) -> str:
        """Connect and authenticate; return why it failed, "" when it did not."""
        client.comet = comet
        joined = self._joining[client] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._open(client, *self._target.comets(client.plan.transport)[comet])
                await joined
        except TimeoutError:
            reason = "no auth reply in time"
        except ConnectionAbortedError:
            reason = "closed before the auth reply"
        except OSError as exc:
            reason = f"connect: {failure_text(exc)}"
        else:
            return ""
        finally:
            self._joining.pop(client, None)
            if joined.done() and not joined.cancelled():
                joined.exception()  # asked for, whatever came first
        if client.joined_ns:
            return ""  # the reply came in the moment in which the time was up
        client.hang_up()
        return reason

    async def _open(self, client: SimClient, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        plan = client.plan
        networks = self._swarm.networks
        if (way := networks.way(plan.index)) is not None:
            await way.pass_through()
        source = source_of(plan.index, self._all, host, self._plan.scenario.clients[plan.population].sources)
        tls = self._tls[plan.population] if plan.transport.is_tls else None
        if source is not None:
            sock = await open_from(source, host, port)
            await loop.create_connection(
                lambda: networks.protocol(plan.index, client),
                sock=sock,
                ssl=tls,
                server_hostname=host if tls is not None else None,
            )
        else:
            await loop.create_connection(lambda: networks.protocol(plan.index, client), host, port, ssl=tls)
