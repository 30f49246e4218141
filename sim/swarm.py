"""The clients of one worker: connecting them, keeping them alive, counting what they receive."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any

from protocol.frame import Frame
from protocol.operation import Operation
from sim.actions import ClientActions
from sim.client import SimClient
from sim.connector import Connector
from sim.histogram import Histogram
from sim.ledger import Delivery, LateArrivals, StreamLog, StreamSummary
from sim.memo import ChunkMemo, Entry, Groups, group
from sim.plan import Plan
from sim.report.model import EventReport
from sim.shapes import phase_spans
from sim.stamp import read_stamp
from sim.target import Target

__all__ = ["Swarm", "SwarmResult"]

_HEARTBEAT_TICK_S = 0.25
_NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class SwarmResult:
    """What one worker found.

    Args:
        deliveries: Counts by phase.
        latency: Histograms by phase.
        failed: Did not get in; with those that were still trying at the end, so nobody is left out.
        lost_connections: Got in, and their connection ended before the run did.
        failures: Why clients did not get in, or did not stay: {reason: clients}.
        reconnects: Times that clients came back.
        away: Were on their way back when the run ended.
        again_failures: Why attempts to come back failed: {reason: attempts}.
        events: What was done to clients of this worker, by place of the event in the scenario.
        lost_seconds: Lost deliveries by the second of the run in which their push began; None when unknown.
    """

    deliveries: list[Delivery]
    latency: list[Histogram]
    connected: int = 0
    failed: int = 0
    lost_connections: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lost_seconds: Counter[int] | None = None
    reconnects: int = 0
    away: int = 0
    again_failures: Counter[str] = field(default_factory=Counter)
    events: dict[int, EventReport] = field(default_factory=dict)


class Swarm:
    """Thousands of clients in one event loop.

    Args:
        plan: The scenario's plan.
        target: Where to connect.
        run: Mark of this run's messages.
        part, parts: Which share of the clients this is.

    Attributes:
        clients: Each client's last connection.
        connected: Clients that got in.
        failed: Clients that did not.
        lost_connections: Connections that ended without the client wanting it.
        alive: Clients that are in now.
    """

    def __init__(self, plan: Plan, target: Target, *, run: int, part: int, parts: int) -> None:
        self.plan = plan
        self.clients: list[SimClient] = [SimClient(self, one) for one in plan.clients(part, parts)]
        self.memo = ChunkMemo(self.record_groups)
        self.chunks = self.memo.chunks  # one attribute less on the hot path
        phases = plan.scenario.phases
        self.deliveries = [Delivery() for _ in phases]
        self.latency = [Histogram() for _ in phases]
        self.late: LateArrivals = Counter()
        self.failures: Counter[str] = Counter()
        self.connected = 0
        self.failed = 0
        self.lost_connections = 0
        self.alive = 0
        self.delivered = 0
        self.heartbeat_replies = 0
        self.foreign = 0
        self.seconds: dict[int, Histogram] = {}
        self._second_at = -1
        # Of that second, by phase: each delivery is recorded once and added to both views later.
        self._fresh = [Histogram() for _ in phases]
        self._run = run
        self._ends_ns = [span.end_ns for span in phase_spans(phases)]
        self._t0_ns = 0
        self._positions = {client.plan.index: i for i, client in enumerate(self.clients)}
        self.connector = Connector(self, plan, target, part=part, parts=parts)
        self.actions = ClientActions(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble: BaseException | None = None
        self._closing = False

    # --- connecting ---------------------------------------------------------

    async def connect(self) -> None:
        """Connect all clients, each population at its rate; return when each is in or has failed."""
        await self.connector.connect_all()
        for i, population in enumerate(self.plan.scenario.clients):
            positions = [at for at, client in enumerate(self.clients) if client.plan.population == i]
            if positions:
                self.spawn(f"heartbeats {population.name}", self._heartbeats(positions, population.heartbeat_s))

    def client_of(self, index: int) -> SimClient | None:
        """Return a client by its index over all clients; None when another part has it."""
        position = self._positions.get(index)
        return None if position is None else self.clients[position]

    def renew(self, client: SimClient) -> SimClient:
        """Put a new connection in the place of one that has ended."""
        position = self._positions[client.plan.index]
        new = self.clients[position] = SimClient(self, client.plan, self.clients[position])
        return new

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it ends or the swarm is closed; what it raises comes out of check()."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def check(self) -> None:
        """Raise what a task of the swarm has raised: without it the run is not the scenario's any more."""
        if self._trouble is not None:
            raise self._trouble

    # --- for clients --------------------------------------------------------

    def joined(self, client: SimClient) -> None:
        """Note that a client has read its auth reply."""
        self.alive += 1
        self.connector.joined(client)

    def lost(self, client: SimClient) -> None:
        """Note that a client's connection has ended; one that did not want it comes back where its population does."""
        if self.connector.lost(client) or not client.joined_ns or client.leaving or self._closing:
            return
        self.lost_connections += 1
        backoff = self.plan.scenario.clients[client.plan.population].reconnect
        if backoff is not None:
            self.connector.come_back(client, backoff)

    def broken(self, client: SimClient, why: str) -> None:
        """Note that a client received bytes that are not the protocol's."""
        self.failures[f"bad bytes from comet: {why}"] += 1

    def entry_of(self, frame: Frame) -> Entry | None:
        """Return what a frame is in this run's streams, None for anything else."""
        if frame.op in (Operation.AUTH_REPLY, Operation.HEARTBEAT_REPLY):
            return None
        stamp = read_stamp(frame.body, self._run)
        if stamp is None:
            return None
        stream, sequence, intended_ns = stamp
        phase = min(bisect_right(self._ends_ns, intended_ns - self._t0_ns), len(self._ends_ns) - 1)
        return Entry(stream, sequence, intended_ns, phase)

    def record(self, entries: Sequence[Entry], at_ns: int, count: int) -> None:
        """Record `count` deliveries of each of the entries, read at `at_ns`."""
        self.record_groups(group(entries), at_ns, count)

    def record_groups(self, groups: Groups, at_ns: int, count: int) -> None:
        """As record(), for messages that have been grouped."""
        second = (at_ns - self._t0_ns) // _NS_PER_S
        if second != self._second_at:
            self._fold()
            self._second_at = second
        fresh = self._fresh
        for intended_ns, phase, messages in groups:
            fresh[phase].record(at_ns - intended_ns, messages * count)
            self.delivered += messages * count

    def settle(self) -> None:
        """Bring `latency`, `seconds` and `delivered` up to date."""
        self.memo.settle_all()
        self._fold()

    def _fold(self) -> None:
        """Add what the present second has so far to its phases and to the seconds."""
        for phase, histogram in enumerate(self._fresh):
            if histogram.count:
                self.latency[phase].merge(histogram)
                self.seconds.setdefault(self._second_at, Histogram()).merge(histogram)
                self._fresh[phase] = Histogram()

    # --- the run ------------------------------------------------------------

    def begin(self, t0_ns: int) -> None:
        """Set when the first phase starts, before any message is published; events count from there."""
        self._t0_ns = t0_ns
        self.spawn("actions", self.actions.play(t0_ns))

    def take_seconds(self, *, all_of_them: bool = False) -> dict[int, Histogram]:
        """Return and forget the seconds of the run that are over."""
        self.settle()
        now = (monotonic_ns() - self._t0_ns) // _NS_PER_S
        # One second of grace: deliveries of its last moments may still be recorded.
        over = [second for second in self.seconds if all_of_them or second < now - 1]
        return {second: self.seconds.pop(second) for second in over}

    def finish(self, logs: Mapping[int, StreamLog] | None) -> SwarmResult:
        """Judge every client against the logs; call once, after the last delivery.

        Args:
            logs: By stream, those that nothing was published to left out. None when there are none to judge by.
        """
        self.settle()
        lost_seconds = self._judge(logs) if logs is not None else None
        trying = len(self.clients) - self.connected - self.failed
        if trying:
            self.failed += trying
            self.failures["still connecting when the run ended"] += trying
        return SwarmResult(
            self.deliveries,
            self.latency,
            self.connected,
            self.failed,
            self.lost_connections,
            self.failures + self.connector.failures,
            lost_seconds,
            self.connector.reconnects,
            self.connector.away,
            self.connector.again_failures,
            self.actions.done,
        )

    def _judge(self, logs: Mapping[int, StreamLog]) -> Counter[int]:
        """Add to the counts of every phase, and return the losses by second of the run."""
        phases = len(self.deliveries)
        nothing = StreamSummary(StreamLog(), phases)
        summaries = {stream: StreamSummary(log, phases) for stream, log in logs.items()}
        # What the publisher never sent has no phase of its own: it goes where the overall figures have it.
        measured = [i for i, phase in enumerate(self.plan.scenario.phases) if phase.measure]
        unknown = self.deliveries[measured[-1] if measured else -1]
        for client in self.clients:
            cursors = client.close_books()
            for stay in client.memberships():
                summaries.get(stay.stream, nothing).judge(cursors.get(stay.stream), stay, self.deliveries)
            for stream, cursor in cursors.items():
                unknown.unexpected += cursor.beyond(len(summaries.get(stream, nothing).log))
        for (stream, sequence, highest), count in self.late.items():
            phase = summaries.get(stream, nothing).reordered(sequence, highest)
            if phase is not None:
                self.deliveries[phase].reordered += count
        lost_seconds: Counter[int] = Counter()
        for summary in summaries.values():
            for sequence, missed in summary.losses():
                lost_seconds[(summary.log.sent_ns[sequence] - self._t0_ns) // _NS_PER_S] += missed
        return lost_seconds

    async def close(self) -> None:
        """Close every client and end the tasks."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            client.hang_up()
        await asyncio.sleep(0)

    async def _heartbeats(self, positions: list[int], every_s: float) -> None:
        """Send each client's heartbeat when it is due; one task for a whole population."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Spread over the interval, or all would beat in one instant.
        due = deque((now + every_s * (i + 1) / len(positions), position) for i, position in enumerate(positions))
        while True:
            await asyncio.sleep(min(max(due[0][0] - loop.time(), 0), _HEARTBEAT_TICK_S))
            now = loop.time()
            while due[0][0] <= now:
                at, position = due.popleft()
                client = self.clients[position]
                if client.is_in and not client.silenced:
                    with contextlib.suppress(OSError):
                        client.send(Operation.HEARTBEAT)
                due.append((at + every_s, position))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and self._trouble is None:
            self._trouble = task.exception()
