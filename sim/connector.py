"""Getting a swarm's clients in, and back in when they have lost their connection."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING

from sim.client import SimClient
from sim.connect import open_from, source_of
from sim.plan import Plan
from sim.scenario import Backoff
from sim.target import Target

if TYPE_CHECKING:
    from sim.swarm import Swarm

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
        reconnects: Clients that came back.
    """

    def __init__(self, swarm: Swarm, plan: Plan, target: Target, *, part: int, parts: int) -> None:
        self.failures: Counter[str] = Counter()
        self.again_failures: Counter[str] = Counter()
        self.reconnects = 0
        self._swarm = swarm
        self._plan = plan
        self._target = target
        self._parts = parts
        self._all = plan.scenario.client_count
        self._random = random.Random(f"{plan.scenario.seed}/backoff/{part}")
        self._joining: dict[SimClient, asyncio.Future[None]] = {}
        self._slots = [
            asyncio.Semaphore(max(1, population.connect_inflight // parts)) for population in plan.scenario.clients
        ]
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
            for index, group in enumerate(groups):
                together.create_task(self._connect_group(index, group))

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

    async def _connect_group(self, index: int, group: list[SimClient]) -> None:
        """Start connects on a schedule of their own; at most so many are under way."""
        loop = asyncio.get_running_loop()
        rate = self._plan.scenario.clients[index].connect_rate_per_s / self._parts
        slots = self._slots[index]
        begin = loop.time()
        async with asyncio.TaskGroup() as started:
            for number, client in enumerate(group):
                wait = begin + number / rate - loop.time()
                if wait > 0.001:
                    await asyncio.sleep(wait)
                await slots.acquire()
                started.create_task(self._connect_first(client, slots), name=f"connect client {client.plan.index}")

    async def _connect_first(self, client: SimClient, slots: asyncio.Semaphore) -> None:
        try:
            reason = await self._attempt(client)
        finally:
            slots.release()
        if reason:
            self._swarm.failed += 1
            self.failures[reason] += 1
        else:
            self._swarm.connected += 1

    async def _return(self, client: SimClient, backoff: Backoff, away_s: float | None) -> None:
        low_s = backoff.min_s
        slots = self._slots[client.plan.population]
        for attempt in itertools.count():
            if away_s is None or attempt:
                # Drawn, or all that were cut off in one instant would come back in one.
                await asyncio.sleep(self._random.uniform(low_s, max(min(low_s * 2, backoff.max_s), low_s)))
                low_s = max(min(low_s * 2, backoff.max_s), _MIN_WAIT_S)
            else:
                await asyncio.sleep(away_s)
            async with slots:
                client = self._swarm.renew(client)
                reason = await self._attempt(client, attempt)
            if not reason:
                self.reconnects += 1
                return
            self.again_failures[reason] += 1

    async def _attempt(self, client: SimClient, attempt: int = 0) -> str:
        """Connect and authenticate; return why it failed, "" when it did not."""
        loop = asyncio.get_running_loop()
        host, port = self._target.address(client.plan.index, is_ws=client.plan.is_ws, attempt=attempt)
        source = source_of(client.plan.index, self._all, host)
        joined = self._joining[client] = loop.create_future()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                if source is None:
                    await loop.create_connection(lambda: client, host, port)
                else:
                    await loop.create_connection(lambda: client, sock=await open_from(source, host, port))
                await joined
        except TimeoutError:
            reason = "no auth reply in time"
        except ConnectionAbortedError:
            reason = "closed before the auth reply"
        except OSError as exc:
            reason = f"connect: {exc.strerror or exc}"
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
