import asyncio
from time import monotonic_ns

import pytest

from protocol.frame import pack_frame, parse_frames
from protocol.operation import Operation
from sim.report.model import EventReport
from sim.scenario.scenario import (
    Backoff,
    Churn,
    Event,
    EventKind,
    ExponentialTime,
    Phase,
    Publisher,
    PublishTo,
    Session,
)
from tests.sim.kit import join, joined_swarm, scenario_of, until


async def played(swarm, *, late_s=60.0):
    """Play a scenario of which everything was due long ago."""
    await swarm.actions.play(monotonic_ns() - int(late_s * 1e9))
    return swarm


def gone(swarms):
    return sorted(client.plan.index for swarm in swarms for client in swarm.clients if not client.is_in)


@pytest.mark.parametrize("parts", [2, 3, 7])
async def test_the_same_clients_are_chosen_whatever_the_number_of_workers(parts):
    events = [Event(at, EventKind.DISCONNECT, "viewers", 0.2) for at in (1.0, 2.0)]
    scenario = scenario_of(count=50, events=events)

    alone = [await played(joined_swarm(scenario))]
    shared = [await played(joined_swarm(scenario, part=part, parts=parts)) for part in range(parts)]

    assert gone(shared) == gone(alone)
    for number in range(2):
        # Of the second ten, some were gone already.
        counts = [sum(swarm.actions.done[number].count for swarm in swarms) for swarms in (alone, shared)]
        assert counts[0] == counts[1] <= 10
    assert sum(report.count for report in alone[0].actions.done.values()) == len(gone(alone))


async def test_other_clients_are_chosen_by_another_seed_and_by_another_event():
    once = [Event(1.0, EventKind.DISCONNECT, "viewers", 0.2)]

    first, other = [
        gone([await played(joined_swarm(scenario_of(count=100, seed=seed, events=once)))]) for seed in (1, 2)
    ]
    twice = await played(joined_swarm(scenario_of(count=100, events=once * 2)))

    assert len(first) == len(other) == 20
    assert first != other
    assert twice.actions.done[1].count > 0


@pytest.mark.parametrize("parts", [2, 3])
async def test_churn_takes_the_same_clients_for_as_long_whatever_the_number_of_workers(monkeypatch, parts):
    taken = []

    def come_back(connector, client, backoff, *, away_s=None):
        taken.append((client.plan.index, away_s))
        join(connector._swarm.renew(client))

    monkeypatch.setattr("sim.clients.connector.Connector.come_back", come_back)
    churn = Churn(50.0, Backoff(0.1, 2.0))
    scenario = scenario_of(count=9, phases=[Phase("steady", 2.0)], churn=churn)

    await played(joined_swarm(scenario))
    alone, taken[:] = list(taken), []
    for part in range(parts):
        await played(joined_swarm(scenario, part=part, parts=parts))

    assert sorted(taken) == sorted(alone)
    assert 99 <= len(alone) <= 101  # at 50 a second for 2 s
    assert all(0.1 <= away_s <= 2.0 for _, away_s in alone)
    assert {index for index, _ in alone} == set(range(9))


async def test_churn_takes_nobody_who_is_away_and_ends_with_the_last_phase():
    scenario = scenario_of(count=3, phases=[Phase("steady", 2.0)], churn=Churn(100.0, Backoff(60.0, 60.0)))
    swarm = joined_swarm(scenario)

    await played(swarm)
    away = swarm.connector.away
    await swarm.close()

    assert (gone([swarm]), away) == ([0, 1, 2], 3)


@pytest.fixture
def leaves(monkeypatch):
    """(client, when it was to leave, for how long) of everybody who leaves; who comes back is in again at once."""
    found = []
    clock = [0]

    async def until(at_ns):
        clock[0] = at_ns

    def come_back(connector, client, backoff, *, away_s=None):
        found.append((client.plan.index, clock[0], away_s))
        join(connector._swarm.renew(client))

    monkeypatch.setattr("sim.clients.actions._until", until)
    monkeypatch.setattr("sim.clients.connector.Connector.come_back", come_back)
    return found


@pytest.mark.parametrize("parts", [2, 3])
async def test_sessions_are_those_of_the_seed_whatever_the_number_of_workers(leaves, parts):
    session = Session(ExponentialTime(5.0), Backoff(0.5, 1.5))
    scenario = scenario_of(count=50, phases=[Phase("steady", 100.0)], session=session)
    other = scenario_of(count=50, phases=[Phase("steady", 100.0)], session=session, seed=2)

    await joined_swarm(scenario).actions.play(0)
    alone, leaves[:] = sorted(leaves), []
    for part in range(parts):
        await joined_swarm(scenario, part=part, parts=parts).actions.play(0)
    shared, leaves[:] = sorted(leaves), []
    await joined_swarm(other).actions.play(0)

    assert shared == alone != sorted(leaves)
    # 50 clients for 100 s, 6 s each time.
    assert len(alone) == pytest.approx(50 * 100 / 6, rel=0.15)
    assert all(0.5 <= away_s <= 1.5 for _, _, away_s in alone)


async def test_a_session_of_fixed_length_ends_in_time_and_the_next_begins_when_it_is_back(leaves):
    session = Session(Backoff(2.0, 2.0), Backoff(1.0, 1.0))

    await joined_swarm(scenario_of(count=1, phases=[Phase("steady", 9.0)], session=session)).actions.play(0)

    assert [at_ns / 1e9 for _, at_ns, _ in leaves] == [2.0, 5.0, 8.0]


async def test_without_away_a_session_ends_for_good(leaves):
    session = Session(Backoff(1.0, 3.0))
    swarm = joined_swarm(scenario_of(count=20, phases=[Phase("steady", 2.0)], session=session))

    await swarm.actions.play(0)

    assert leaves == []
    assert 0 < len(gone([swarm])) < 20


async def test_a_part_without_clients_of_the_population_has_no_churn():
    scenario = scenario_of(count=1, phases=[Phase("soak", 1e6)], churn=Churn(1e6, Backoff(1.0, 1.0)))

    async with asyncio.timeout(60):
        await played(joined_swarm(scenario, part=1, parts=2), late_s=2e6)


async def test_a_share_of_few_is_one_at_least():
    swarm = joined_swarm(scenario_of(count=3, events=[Event(0.0, EventKind.DISCONNECT, "viewers", 0.01)]))

    await played(swarm)

    assert swarm.actions.done[0].count == len(gone([swarm])) == 1


async def test_a_disconnect_without_reconnect_is_for_good_and_no_lost_connection():
    swarm = joined_swarm(scenario_of(count=2, events=[Event(0.0, EventKind.DISCONNECT, "viewers")]))
    transports = [client.transport for client in swarm.clients]

    await played(swarm)
    for client in swarm.clients:
        client.connection_lost(None)

    assert all(transport.aborted for transport in transports)
    assert (swarm.connector.away, swarm.lost_connections, swarm.alive) == (0, 0, 0)


async def test_what_lasts_ends_and_does_not_end_what_else_goes_on():
    events = [
        Event(0.0, EventKind.STOP_READING, "viewers", for_s=0.9),
        Event(0.0, EventKind.SILENCE, "viewers", for_s=0.9),
        Event(0.0, EventKind.STOP_READING, "viewers", for_s=1.8),
        Event(0.0, EventKind.SILENCE, "viewers"),
    ]
    swarm = joined_swarm(scenario_of(count=1, events=events))
    [client] = swarm.clients
    transport = client.transport
    playing = asyncio.create_task(played(swarm, late_s=0.0))

    await until(lambda: client.silenced == 2)
    assert (client.stopped, transport.reads) == (2, False)
    await until(lambda: client.silenced == 1)
    assert (client.stopped, transport.reads) == (1, False)
    await playing

    assert (client.silenced, client.stopped, transport.reads) == (1, 0, True)
    assert swarm.actions.done[0] == EventReport(swarm.actions.done[0].at_s, "stop_reading", "viewers", 1, 0.9)


async def test_who_left_meanwhile_is_not_made_to_read_again():
    swarm = joined_swarm(scenario_of(count=1, events=[Event(0.0, EventKind.STOP_READING, "viewers", for_s=1.0)]))
    [client] = swarm.clients
    playing = asyncio.create_task(played(swarm))
    await until(lambda: client.stopped)

    client.leave()
    client.connection_lost(None)
    join(swarm.renew(client))
    await playing

    assert swarm.clients[0].transport.reads
    assert (swarm.clients[0].stopped, swarm.clients[0].silenced) == (0, 0)


async def test_changes_of_membership_are_asked_for_and_hold_from_the_answer_on():
    events = [
        Event(0.0, EventKind.CHANGE_ROOM, "viewers", room="live://2"),
        Event(0.0, EventKind.SUBSCRIBE, "viewers", ops=(2000, 2001)),
        Event(0.0, EventKind.UNSUBSCRIBE, "viewers", ops=(1000,)),
    ]
    publish = [
        Publisher(PublishTo.ROOM, "viewers", 1.0),
        Publisher(PublishTo.ALL, "", 1.0),
        Publisher(PublishTo.ALL, "", 1.0, op=2001),
    ]
    swarm = joined_swarm(scenario_of(count=2, rooms=("live://1", "live://2"), events=events, publish=publish))
    [client, _] = swarm.clients
    client.transport.written.clear()

    await played(swarm)

    frames, _ = parse_frames(bytes(client.transport.written))
    asked = [(Operation.CHANGE_ROOM, b"live://2"), (Operation.SUB, b"2000,2001"), (Operation.UNSUB, b"1000")]
    assert [(frame.op, frame.body) for frame in frames] == asked
    assert [swarm.actions.done[number].count for number in range(3)] == [2, 2, 2]
    members = [set(client.streams)]
    for op, body in asked:
        client.data_received(pack_frame(op + 1, body))
        members.append(set(client.streams))
    # Streams: the two rooms, all by operation 1000, all by 2001.
    assert members == [{0, 2}, {1, 2}, {1, 2, 3}, {1, 3}]


async def test_others_have_their_turn_while_an_event_takes_many():
    swarm = joined_swarm(scenario_of(count=1000, events=[Event(0.0, EventKind.DISCONNECT, "viewers")]))
    turns = []
    playing = asyncio.create_task(played(swarm))

    while not playing.done():
        await asyncio.sleep(0)
        turns.append(swarm.alive)

    assert turns[-1] == 0
    assert len([alive for alive in turns if 0 < alive < 1000]) >= 9


async def test_an_event_comes_at_its_time():
    swarm = joined_swarm(scenario_of(count=1, events=[Event(0.1, EventKind.DISCONNECT, "viewers")]))
    begin_ns = monotonic_ns()

    await played(swarm, late_s=0.0)

    assert monotonic_ns() - begin_ns >= 99_000_000
    assert 0.09 <= swarm.actions.done[0].at_s < 60.0
