"""The clients of one worker: connecting them, keeping them alive, counting what they receive."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol.frame import Frame
from protocol.operation import Operation
from sim.clients.actions import ClientActions
from sim.clients.client import SimClient
from sim.clients.connector import Connector
from sim.clients.heartbeats import Heartbeats
from sim.clients.memo import Entry
from sim.clients.plan import Plan
from sim.clients.tally import Tally
from sim.measure.cells import Cells
from sim.measure.fanout import Arrivals, Group, Reached
from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery, LostEnd, StreamLog, StreamSummary
from sim.network.network import Networks
from sim.publish.sampling import Reads
from sim.publish.sightings import Sightings, watched_streams
from sim.publish.stamp import read_stamp
from sim.report.model import EventReport
from sim.run.clocks import monotonic_ns
from sim.run.target import Target

__all__ = ["Swarm", "SwarmResult"]

_NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class SwarmResult:
    """What one worker found.

    Args:
        deliveries: Counts by segment, of each (population, publisher).
        latency: Histograms of each (population, publisher, segment).
        failed: Did not get in; with those that were still trying at the end, so nobody is left out.
        lost_connections: Got in, and their connection ended before the run did.
        provoked: As lost_connections, where the scenario gave comet a reason to end it.
        second_logins: Connections beside the clients' own that got in.
        second_failures: Why others did not: {reason: logins}.
        failures: Why clients did not get in, or did not stay: {reason: clients}.
        reconnects: Times that clients came back.
        away: Were on their way back when the run ended.
        again_failures: Why attempts to come back failed: {reason: attempts}.
        events: What was done to clients of this worker, by place of the event in the scenario.
        lost_seconds: Lost deliveries by the second of the run in which their push began; None when unknown.
        lost_ends: Losses to clients whose connection had ended.
        lost_network: Losses to a fault of the network, by segment and fault; not among those.
        reached: Who had to get which message and missed it, by group of receivers; a stream of one receiver that
            lost nothing is left out.
        arrivals: When the first and the last receiver read each message, of streams with several.
        reads: When receivers read the messages that are followed.
    """

    deliveries: dict[tuple[int, int], list[Delivery]] = field(default_factory=dict)
    latency: dict[tuple[int, int, int], Histogram] = field(default_factory=dict)
    connected: int = 0
    failed: int = 0
    lost_connections: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lost_seconds: Counter[int] | None = None
    reconnects: int = 0
    away: int = 0
    again_failures: Counter[str] = field(default_factory=Counter)
    events: dict[int, EventReport] = field(default_factory=dict)
    provoked: int = 0
    second_logins: int = 0
    second_failures: Counter[str] = field(default_factory=Counter)
    lost_ends: Counter[LostEnd] = field(default_factory=Counter)
    lost_network: Counter[tuple[int, str]] = field(default_factory=Counter)
    reached: dict[Group, Reached] = field(default_factory=dict)
    arrivals: Arrivals = field(default_factory=lambda: Arrivals(()))
    reads: Reads = field(default_factory=Reads)


class Swarm:
    """Thousands of clients in one event loop.

    Args:
        plan: The scenario's plan.
        target: Where to connect.
        run: Mark of this run's messages.
        part, parts: Which share of the clients this is.

    Attributes:
        cells: Where the figures of a message go.
        tallies: What the clients receive, by population.
        arrivals: When the first and the last of them read each message.
        live: Whether the parent is told of figures as they come.
        clients: Each client's last connection.
        others: Connections beside those: second devices, and those whose key another one has taken over.
        connected: Clients that got in.
        failed: Clients that did not.
        lost_connections: Connections that ended without the client wanting it.
        provoked: As lost_connections, where the scenario gave comet a reason to end it; not among those.
        alive: Clients that are in now.
    """

    def __init__(self, plan: Plan, target: Target, *, run: int, part: int, parts: int) -> None:
        self.plan = plan
        self.cells = Cells(plan)
        self.arrivals = Arrivals(i for i, stream in enumerate(plan.streams) if stream.members > 1)
        self.live = any(expectation.abort for expectation in plan.scenario.expect)
        self._reads = Reads()
        reads = self._reads if plan.scenario.trace_per_s else None
        self.tallies = [
            Tally(len(self.cells.segments), self.arrivals, live=self.live, reads=reads) for _ in plan.scenario.clients
        ]
        self.clients: list[SimClient] = [SimClient(self, one) for one in plan.clients(part, parts)]
        self.others: list[SimClient] = []
        self.failures: Counter[str] = Counter()
        self.connected = 0
        self.failed = 0
        self.lost_connections = 0
        self.provoked = 0
        self.alive = 0
        self.heartbeat_replies = 0
        self.foreign = 0
        self._run = run
        self._t0_ns = 0
        self._positions = {client.plan.index: i for i, client in enumerate(self.clients)}
        self.networks = Networks(plan.scenario, self._positions, part=part)
        self.sightings = Sightings(watched_streams(plan))
        self.connector = Connector(self, plan, target, part=part, parts=parts)
        self.actions = ClientActions(self)
        self._takers: dict[SimClient, tuple[SimClient, int]] = {}  # whose key they take over, and since when
        self._heartbeats: dict[int, Heartbeats] = {}  # by population
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble: BaseException | None = None
        self._closing = False

    # --- connecting ---------------------------------------------------------

    async def connect(self) -> None:
        """Connect all clients, each population at its rate; return when each is in or has failed."""
        await self.connector.connect_all()
        positions: list[list[int]] = [[] for _ in self.plan.scenario.clients]
        for at, client in enumerate(self.clients):
            positions[client.plan.population].append(at)
        for number, population in enumerate(self.plan.scenario.clients):
            if positions[number]:
                heartbeats = Heartbeats(self.clients, positions[number], population.heartbeat_s)
                self._heartbeats[number] = heartbeats
                self.spawn(f"heartbeats {population.name}", heartbeats.send())

    def client_of(self, index: int) -> SimClient | None:
        """Return a client by its index over all clients; None when another part has it."""
        position = self._positions.get(index)
        return None if position is None else self.clients[position]

    def renew(self, client: SimClient) -> SimClient:
        """Put a new connection in the place of one that has ended."""
        position = self._positions[client.plan.index]
        new = self.clients[position] = SimClient(self, client.plan, self.clients[position])
        return new

    async def take_over(self, client: SimClient, *, other_comet: bool) -> bool:
        """Log a client in once more with its key; return whether the new connection is now the client."""
        async with self.connector.slots(client):
            if not client.is_in or client.replaced:
                return False
            new = SimClient(self, client.plan)
            self._takers[new] = client, monotonic_ns()
            client.replaced = True  # from now on: comet may end it before the new one has its auth reply
            try:
                if await self.connector.log_in(new, client, other_comet=other_comet):
                    return True
            finally:
                self._takers.pop(new, None)
        client.replaced = False
        if client.left_ns and not client.leaving:
            self._come_back(client)
        return False

    async def add_device(self, client: SimClient, number: int, *, other_comet: bool) -> SimClient | None:
        """Log a client's user in once more with a key of its own; return that connection, None when it failed.

        Args:
            client: Whose mid.
            number: Makes the key; each once.
            other_comet: To another comet than the client's.
        """
        new = SimClient(self, self.plan.device(client.plan, number))
        self.others.append(new)
        async with self.connector.slots(client):
            if not await self.connector.log_in(new, client, other_comet=other_comet):
                return None
        self._heartbeats[new.plan.population].beat_too(new)
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
        if client in self._takers:
            self._replace(*self._takers.pop(client), client)
        self.connector.joined(client)

    def lost(self, client: SimClient) -> None:
        """Note that a client's connection has ended; one that did not want it comes back where its population does."""
        if self.connector.lost(client) or not client.joined_ns or client.leaving or self._closing:
            return
        if client.is_provoked:
            self.provoked += 1
        else:
            self.lost_connections += 1
        if not client.replaced and self.clients[self._positions[client.plan.index]] is client:
            self._come_back(client)

    def _come_back(self, client: SimClient) -> None:
        """Connect a client again that has lost its connection, where its population does that."""
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
        if stream in self.sightings.streams:
            self.sightings.note(stream, sequence)
        return Entry(stream, sequence, intended_ns, self.cells.cell(stream, intended_ns - self._t0_ns))

    def settle(self) -> None:
        """Bring what the tallies have counted up to date."""
        for tally in self.tallies:
            tally.settle()

    @property
    def delivered(self) -> int:
        """Deliveries recorded, copies not counted; after settle() all of them."""
        return sum(tally.delivered for tally in self.tallies)

    # --- the run ------------------------------------------------------------

    def begin(self, t0_ns: int) -> None:
        """Set when the first phase starts, before any message is published; events count from there."""
        self._t0_ns = t0_ns
        for tally in self.tallies:
            tally.begin(t0_ns)
        self.spawn("actions", self.actions.play(t0_ns))

    def take_seconds(self, *, all_of_them: bool = False) -> dict[int, Histogram]:
        """Return and forget the seconds of the run that are over."""
        self.settle()
        seconds: dict[int, Histogram] = {}
        for tally in self.tallies:
            for second, histogram in tally.take_seconds(all_of_them=all_of_them).items():
                seconds.setdefault(second, Histogram()).merge(histogram)
        return seconds

    def take_live(self) -> dict[tuple[int, int, int], Histogram]:
        """Return and forget the latencies since the last call, by population, publisher and segment.

        {} unless the scenario has an expectation that can end the run.
        """
        return {
            (population, *self.cells.split(cell)): histogram
            for population, tally in enumerate(self.tallies)
            for cell, histogram in tally.take_live().items()
        }

    def live_deliveries(self) -> dict[tuple[int, int], list[Delivery]]:
        """Return what is known of deliveries before the end (copies, and what nobody was to get), as take_live()."""
        if not self.live:
            return {}
        return self._deliveries()

    def finish(self, logs: Mapping[int, StreamLog] | None) -> SwarmResult:
        """Judge every client against the logs; call once, after the last delivery.

        Args:
            logs: By stream, those that nothing was published to left out. None when there are none to judge by.
        """
        self.settle()
        for tally in self.tallies:
            tally.close()
        result = SwarmResult(arrivals=self.arrivals, reads=self._reads)
        if logs is not None:
            self._judge(logs, result)
        trying = len(self.clients) - self.connected - self.failed
        if trying:
            self.failed += trying
            self.failures["still connecting when the run ended"] += trying
        result.connected = self.connected
        result.failed = self.failed
        result.lost_connections = self.lost_connections
        result.provoked = self.provoked
        result.second_logins = self.connector.second_logins
        result.second_failures = self.connector.second_failures
        if self.networks.unsent:
            self.failures["requests not sent, 64 KiB of them waited on the network"] += self.networks.unsent
        result.failures = self.failures + self.connector.failures
        result.reconnects = self.connector.reconnects
        result.away = self.connector.away
        result.again_failures = self.connector.again_failures
        result.events = self.actions.done
        result.deliveries = self._deliveries()
        for population, tally in enumerate(self.tallies):
            for cell, histogram in tally.latency.items():
                result.latency[population, *self.cells.split(cell)] = histogram
        return result

    def _deliveries(self) -> dict[tuple[int, int], list[Delivery]]:
        return {(i, number): row for i, tally in enumerate(self.tallies) for number, row in tally.deliveries.items()}

    def _judge(self, logs: Mapping[int, StreamLog], result: SwarmResult) -> None:
        """Count what every client missed."""
        segments = self.cells.segments
        nothing = StreamSummary(StreamLog(), len(segments))
        summaries = {stream: StreamSummary(log, len(segments)) for stream, log in logs.items()}
        # What the publisher never sent has no segment of its own: it goes where the overall figures have it.
        phases = self.plan.scenario.phases
        measured = segments.of_phases(lambda phase: phases[phase].measure)
        last = measured[-1] if measured else -1
        publishers = self.cells.publishers
        for client in (*self.clients, *self.others):
            tally, cursors = self.tallies[client.plan.population], client.close_books()
            for stay in client.memberships():
                row = tally.row(publishers[stay.stream])
                summaries.get(stay.stream, nothing).judge(cursors.get(stay.stream), stay, row)
            for stream, cursor in cursors.items():
                beyond = cursor.beyond(len(summaries.get(stream, nothing).log))
                tally.row(publishers[stream])[last].unexpected += beyond
        for tally in self.tallies:
            for (stream, sequence, highest), count in tally.late.items():
                segment = summaries.get(stream, nothing).reordered(sequence, highest)
                if segment is not None:
                    tally.row(publishers[stream])[segment].reordered += count
        result.lost_seconds = Counter()
        for stream, summary in summaries.items():
            for sequence, missed in summary.losses():
                result.lost_seconds[(summary.log.sent_ns[sequence] - self._t0_ns) // _NS_PER_S] += missed
            result.lost_ends += summary.lost_ends
            result.lost_network += summary.lost_network
            for comet, ended, reached in summary.reached():
                if self.plan.streams[stream].members > 1 or any(reached.lost):
                    result.reached[stream, comet, ended] = reached

    async def close(self) -> None:
        """Close every client and end the tasks."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in (*self.clients, *self.others, *self._takers):
            client.hang_up()
        self.networks.close()
        await asyncio.sleep(0)

    def _replace(self, old: SimClient, asked_ns: int, new: SimClient) -> None:
        """Put a connection that has taken over a client's key in its place; the old one may stay for other things."""
        position = self._positions[new.plan.index]
        if old.leaving:  # it comes back by itself, or is to stay away
            self.others.append(new)
            new.leave()
            return
        old.give_way(asked_ns, new.joined_ns)
        self.clients[position] = new
        self.others.append(old)
        self._heartbeats[old.plan.population].beat_too(old)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and self._trouble is None:
            self._trouble = task.exception()
