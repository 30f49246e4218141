import asyncio

import sim.publish.sightings
from sim.clients.plan import make_plan
from sim.publish.sightings import Sightings, watched_streams
from sim.scenario.publishing import ClosedLoop, Publisher, PublishTo, WaitFor
from tests.sim.kit import message, scenario_of, swarm_of, until


def test_only_streams_somebody_waits_for_are_watched():
    waiting, patient = ClosedLoop(1, 0.0, WaitFor.DELIVERY), ClosedLoop(1)
    publish = [
        Publisher(PublishTo.ROOM, "viewers", 1.0),
        Publisher(PublishTo.ALL, "", 0.0, closed=patient),
        Publisher(PublishTo.MID, "viewers", 0.0, closed=waiting, mix="m"),
        Publisher(PublishTo.ALL, "", 0.0, op=1001, closed=waiting, mix="m"),
    ]

    plan = make_plan(scenario_of(count=2, mids=1, publish=publish))

    assert [plan.streams[stream].to for stream in sorted(watched_streams(plan))] == ["mid", "mid", "all"]


async def test_what_is_read_in_one_turn_is_told_together_and_once(monkeypatch):
    monkeypatch.setattr(sim.publish.sightings, "_REMEMBERED", 3)
    told = []
    sightings = Sightings(frozenset((1, 2)))
    sightings.tell = told.append

    for place in ((1, 0), (1, 1), (1, 0), (2, 0)):
        sightings.note(*place)
    await asyncio.sleep(0)
    sightings.note(2, 0)
    sightings.note(1, 2)
    await asyncio.sleep(0)

    assert told == [((1, 0), (1, 1), (2, 0)), ((1, 2),)]


async def test_a_swarm_notes_what_its_clients_read_first():
    loop = ClosedLoop(1, 0.0, WaitFor.DELIVERY)
    publish = [Publisher(PublishTo.ROOM, "viewers", 0.0, closed=loop), Publisher(PublishTo.ALL, "", 1.0)]
    swarm = swarm_of(scenario_of(publish=publish))
    told = []
    swarm.sightings.tell = told.append

    for frame in (message(0, 5), message(0, 5), message(1, 6)):
        swarm.entry_of(frame)
    await until(lambda: told)

    assert told == [((0, 5),)]
