"""Faults of the network on a whole swarm: whom they take, what clients and comet see, and where losses are put."""

import asyncio
from collections import Counter
from time import monotonic_ns

import pytest

from sim.measure.ledger import StreamLog
from sim.network.link import Link
from sim.network.network import lateness_s
from sim.scenario.scenario import Backoff, Event, EventKind, Network, Phase, Side
from tests.sim.kit import ROOM, ScriptedComet, message, scenario_of, swarm_of, until

ONE_PHASE = (Phase("steady", 3600.0),)


def network_event(kind, *, fraction=1.0, for_s=None, at_s=0.0, **what):
    return Event(at_s, kind, "viewers", fraction, for_s=for_s, **what)


class Run:
    """A swarm on a scripted comet that pushes to everybody, and the log of what was pushed."""

    def __init__(self, comet, scenario):
        self.comet = comet
        self.swarm = swarm_of(scenario, comet.target)
        self.log = StreamLog()

    def push(self):
        """Send the next message of the room to every connection that comet has."""
        sequence, now = len(self.log), monotonic_ns()
        for column, value in (
            (self.log.phase, 0),
            (self.log.sent_ns, now),
            (self.log.done_ns, now),
            (self.log.accepted, 1),
        ):
            column.append(value)
        for connection in self.comet.connections:
            if not connection.writer.is_closing():
                connection.send(message(ROOM, sequence, now))

    async def begin(self):
        await self.swarm.connect()
        self.swarm.begin(monotonic_ns())

    async def event(self, number=0):
        """Wait until an event has been done; return how many clients it took."""
        await until(lambda: number in self.swarm.actions.done)
        return self.swarm.actions.done[number].count

    def finish(self):
        self.swarm.check()
        return self.swarm.finish({ROOM: self.log})

    def counts(self):
        """Return expected, lost, duplicated and unexpected so far, and the losses by fault."""
        result = self.finish()
        rows = [one for row in result.deliveries.values() for one in row]
        sums = [sum(getattr(one, what) for one in rows) for what in ("expected", "lost", "duplicated", "unexpected")]
        places: Counter[str] = Counter()
        for (_, place), count in result.lost_network.items():
            places[place] += count
        return sums, dict(places), sum(result.lost_ends.values())


@pytest.fixture
async def run_of():
    """Run a scenario of some clients with events on a scripted comet."""
    async with ScriptedComet() as comet:
        runs = []

        async def begun(*events, count=4, phases=ONE_PHASE, **population):
            run = Run(comet, scenario_of(count=count, events=events, phases=phases, **population))
            runs.append(run)
            await run.begin()
            return run

        yield begun
        for run in runs:
            await run.swarm.close()


def seen(run):
    """Return how many messages each client has read."""
    return [sum(cursor.next for cursor in client.close_books().values()) for client in run.swarm.clients]


async def test_only_clients_that_something_may_happen_to_have_anything_in_between(run_of):
    event = network_event(EventKind.RESET, fraction=0.25, at_s=60.0)

    run = await run_of(event, count=20)

    ways = [client for client in run.swarm.clients if run.swarm.networks.way(client.plan.index) is not None]
    assert len(ways) == 5
    assert all(isinstance(client.transport, Link) == (client in ways) for client in run.swarm.clients)


@pytest.mark.parametrize("parts", [2, 3])
def test_the_same_clients_have_a_way_whatever_the_number_of_workers(parts):
    scenario = scenario_of(count=50, events=[network_event(EventKind.CUT, fraction=0.2)])

    def ways(swarm):
        return [index for index in range(50) if swarm.networks.way(index) is not None]

    shared = [ways(swarm_of(scenario, part=part, parts=parts)) for part in range(parts)]

    assert sorted(index for part in shared for index in part) == ways(swarm_of(scenario))
    assert len(ways(swarm_of(scenario))) == 10


async def test_the_latency_of_a_population_is_part_of_what_is_measured(run_of):
    run = await run_of(network=Network(latency_s=0.05))

    run.push()
    await until(lambda: seen(run) == [1] * 4)

    [histogram] = run.finish().latency.values()
    assert histogram.count == 4
    assert histogram.min_ns >= 50_000_000


async def test_an_event_adds_to_the_network_for_its_time(run_of):
    run = await run_of(network_event(EventKind.NETWORK, for_s=2.0, network=Network(latency_s=0.8)))
    assert await run.event() == 4

    run.push()
    await until(lambda: seen(run) == [1] * 4)
    await until(lambda: run.swarm.networks.way(0).conditions.is_plain)
    run.push()
    await until(lambda: seen(run) == [2] * 4)

    [histogram] = run.finish().latency.values()
    assert histogram.max_ns >= 800_000_000
    assert histogram.min_ns < 800_000_000


async def test_who_is_away_or_comes_back_has_the_network_too(run_of):
    leave = network_event(EventKind.DISCONNECT, reconnect=Backoff(0.01, 0.01))
    slow = network_event(EventKind.NETWORK, at_s=0.05, network=Network(latency_s=0.05))
    run = await run_of(leave, slow)
    assert await run.event(1) == 4
    await until(lambda: run.swarm.alive == 4)

    run.push()
    await until(lambda: seen(run) == [1] * 4)

    [histogram] = run.finish().latency.values()
    assert histogram.min_ns >= 50_000_000


@pytest.mark.parametrize("kind", [EventKind.RESET, EventKind.CUT])
async def test_who_was_cut_off_comes_back_and_what_was_on_its_way_is_lost_to_the_fault(run_of, kind):
    run = await run_of(network=Network(latency_s=0.05), reconnect=Backoff(0.01, 0.05), count=3)

    run.push()
    for index in range(3):
        assert run.swarm.networks.begin(network_event(kind), index) is not None
    await until(lambda: run.swarm.connector.reconnects == 3)
    run.push()
    await until(lambda: seen(run) == [2] * 3)

    counts, places, ends = run.counts()
    assert counts == [6, 3, 0, 0]
    assert (places, ends) == ({f"network.{kind}": 3}, 0)
    assert run.swarm.lost_connections == 3


async def test_connections_are_refused_as_long_as_a_reset_lasts(run_of):
    run = await run_of(network_event(EventKind.RESET, for_s=1.5), reconnect=Backoff(0.02, 0.02), count=2)
    await run.event()
    await until(lambda: run.swarm.connector.again_failures["connect: Connection reset by peer"] >= 2)
    assert (run.swarm.alive, len(run.comet.connections)) == (0, 2)

    await until(lambda: run.swarm.alive == 2)

    assert run.swarm.connector.reconnects == 2


async def test_what_a_black_hole_took_is_lost_to_it_and_who_was_in_it_comes_back(run_of):
    run = await run_of(
        network_event(EventKind.BLACK_HOLE, fraction=0.5, for_s=1.5), reconnect=Backoff(0.01, 0.05), count=4
    )
    assert await run.event() == 2

    for _ in range(3):
        run.push()
        await asyncio.sleep(0.01)
    assert run.swarm.alive == 4
    await until(lambda: run.swarm.connector.reconnects == 2)
    run.push()
    await until(lambda: sorted(seen(run)) == [4] * 4)

    assert run.counts() == ([4 * 4, 2 * 3, 0, 0], {"network.black_hole": 6}, 0)


async def test_what_a_black_hole_took_until_the_end_is_lost_to_it_without_any_end_of_a_connection(run_of):
    run = await run_of(network_event(EventKind.BLACK_HOLE, at_s=1.0))
    run.push()
    await until(lambda: seen(run) == [1] * 4)
    await run.event()

    run.push()
    await asyncio.sleep(0.05)

    assert run.counts() == ([8, 4, 0, 0], {"network.black_hole": 4}, 0)
    assert run.swarm.lost_connections == 0


async def test_when_the_clients_side_is_gone_it_comes_back_beside_the_old_connection(run_of):
    run = await run_of(network_event(EventKind.HALF_OPEN), reconnect=Backoff(0.01, 0.05), count=3)
    await run.event()
    await until(lambda: run.swarm.connector.reconnects == 3)

    run.push()
    await until(lambda: seen(run) == [1] * 3)

    # Comet still has the old ones, which nobody reads.
    assert len(run.comet.connections) == 6
    assert not any(connection.writer.is_closing() for connection in run.comet.connections)
    assert run.counts() == ([3, 0, 0, 0], {}, 0)


async def test_when_comets_side_is_gone_the_client_waits_for_messages_that_never_come(run_of):
    run = await run_of(network_event(EventKind.HALF_OPEN, side=Side.COMET), count=3)
    await run.event()
    run.push()
    await asyncio.sleep(0.03)

    assert (run.swarm.alive, run.swarm.lost_connections) == (3, 0)
    assert run.counts() == ([3, 3, 0, 0], {"network.half_open": 3}, 0)


async def test_a_stall_makes_everything_late_and_loses_nothing(run_of):
    run = await run_of(network_event(EventKind.STALL, for_s=1.0))
    await run.event()

    run.push()
    run.push()
    await until(lambda: seen(run) == [2] * 4)

    assert run.counts() == ([8, 0, 0, 0], {}, 0)
    [histogram] = run.finish().latency.values()
    assert histogram.min_ns >= 50_000_000


async def test_what_a_stall_still_holds_at_the_end_is_lost_to_it(run_of):
    run = await run_of(network_event(EventKind.STALL))
    await run.event()

    run.push()
    await asyncio.sleep(0.02)

    assert run.counts() == ([4, 4, 0, 0], {"network.stall": 4}, 0)


async def test_what_was_on_its_way_to_who_left_by_will_is_no_loss_however_slow_the_network(run_of):
    slow = network_event(EventKind.NETWORK, network=Network(latency_s=5.0))
    run = await run_of(slow, network_event(EventKind.DISCONNECT, at_s=0.05))
    # Pushed 3 s before: longer ago than what everybody is granted.
    now = monotonic_ns()
    run.log = StreamLog([0], [now - 3_000_000_000], [now], [1])
    for client in run.swarm.clients:
        client.joined_ns = now - 4_000_000_000
    await run.event(1)

    assert run.counts() == ([0, 0, 0, 0], {}, 0)


async def test_losses_before_a_fault_are_not_put_down_to_it(run_of):
    run = await run_of(network_event(EventKind.RESET, at_s=0.1), count=2)
    # Long before, comet dropped one.
    now = monotonic_ns()
    for client in run.swarm.clients:
        client.joined_ns -= 60_000_000_000
    run.log = StreamLog([0], [now - 30_000_000_000], [now], [1])
    await run.event()

    counts, places, ends = run.counts()

    assert counts == [2, 2, 0, 0]
    assert (places, ends) == ({}, 2)


async def test_nothing_is_left_open_at_the_end(run_of):
    events = [
        network_event(EventKind.HALF_OPEN, fraction=0.5),
        network_event(EventKind.BLACK_HOLE, at_s=0.02),
        network_event(EventKind.CUT, at_s=0.04),
    ]
    run = await run_of(*events, reconnect=Backoff(0.01, 0.01), count=8)
    await run.event(2)

    await run.swarm.close()

    await until(lambda: all(connection.writer.is_closing() for connection in run.comet.connections))


def test_a_run_waits_for_what_its_network_still_brings():
    slow = Network(latency_s=2.0, jitter_s=0.5)
    stall = network_event(EventKind.STALL, at_s=8.0, for_s=5.0)
    worse = network_event(EventKind.NETWORK, network=Network(latency_s=1.0))

    phases = [Phase("steady", 10.0)]
    assert lateness_s(scenario_of(phases=phases)) == 0
    assert lateness_s(scenario_of(phases=phases, network=slow, events=[worse])) == 3.5
    assert lateness_s(scenario_of(phases=phases, network=slow, events=[stall])) == 5.5
