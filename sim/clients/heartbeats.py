"""The heartbeats of a swarm: one task for a whole population."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocol.operation import Operation

if TYPE_CHECKING:
    from sim.clients.client import SimClient

__all__ = ["Heartbeats"]

_TICK_S = 0.25


class Heartbeats:
    """Sends the heartbeats of one population.

    Args:
        clients: The last connection of each client of the swarm; one that comes back takes its place there.
        positions: Those of the population.
        every_s: Time between two heartbeats of a client.
    """

    def __init__(self, clients: Sequence[SimClient], positions: Sequence[int], every_s: float) -> None:
        self._clients = clients
        self._every_s = every_s
        now = asyncio.get_running_loop().time()
        # Spread over the interval, or all would beat in one instant.
        each_s = every_s / max(len(positions), 1)
        self._due: deque[tuple[float, int | SimClient]] = deque(
            (now + each_s * (i + 1), position) for i, position in enumerate(positions)
        )

    def beat_too(self, client: SimClient) -> None:
        """Send those of a connection beside the clients' own, for as long as it is in."""
        # The interval is the same for all, so the newest is the last.
        self._due.append((asyncio.get_running_loop().time() + self._every_s, client))

    async def send(self) -> None:
        """Send heartbeats when they are due, until cancelled."""
        loop = asyncio.get_running_loop()
        due = self._due
        while True:
            await asyncio.sleep(min(max(due[0][0] - loop.time(), 0) if due else _TICK_S, _TICK_S))
            now = loop.time()
            while due and due[0][0] <= now:
                at, who = due.popleft()
                client = self._clients[who] if isinstance(who, int) else who
                if client.is_in and not client.silenced:
                    with contextlib.suppress(OSError):
                        client.send(Operation.HEARTBEAT)
                if client is not who or client.is_in:
                    due.append((at + self._every_s, who))
