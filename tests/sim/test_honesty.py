"""Whole runs against a comet that does wrong what the test says: the report finds exactly that."""

from __future__ import annotations

import asyncio
import re

import pytest

from protocol.frame import Frame
from sim.report.model import Verdict
from sim.run.runner import run_scenario
from sim.run.target import Target
from sim.scenario.expect import end_early, parse_expectation
from sim.scenario.scenario import Phase, Publisher, PublishTo, UniformSize
from tests.sim.kit import ScriptedComet, ScriptedLogic, scenario_of

CLIENTS = 10
PHASES = (Phase("steady", 1.0),)
RATE = 40
HELD_BACK = 60
"""Messages that overtake one held back: pushes that overlap have no order, and a busy machine makes many overlap."""
OK = (200, b'{"code":0}')


@pytest.fixture(autouse=True)
def no_limits(monkeypatch):
    """A busy machine is none of these tests' business; nor is how long a run waits for what will not come."""
    for name in ("MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS"):
        monkeypatch.setattr(f"sim.run.outcome.{name}", 1e9)
    monkeypatch.setattr("sim.run.runner._QUIET_S", 1.0)


class Room:
    """A logic and a comet of a few lines: what is pushed goes to every client, but for what the test says.

    Args:
        wrong: Told (sequence, client, frame) of each delivery; returns the frames that are sent in its place.
    """

    def __init__(self, wrong=lambda sequence, client, frame: [frame]):
        self.comet = ScriptedComet()
        self.logic = ScriptedLogic(self._push)
        self.pushed = []
        self.held = asyncio.Event()
        self.held.set()
        self._wrong = wrong

    async def __aenter__(self):
        await self.comet.__aenter__()
        await self.logic.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.logic.__aexit__(*error)
        await self.comet.__aexit__(*error)

    @property
    def target(self):
        return Target("scripted", self.comet.target.tcp, self.comet.target.ws, (("127.0.0.1", self.logic.port),))

    async def _push(self, path, body):
        sequence = int.from_bytes(body[12:16], "big")
        self.pushed.append((path, sequence, len(body)))
        await self.held.wait()
        for client, connection in enumerate(self.comet.connections):
            for frame in self._wrong(sequence, client, Frame(1, 1000, 0, body)):
                connection.send(frame)
        return OK

    async def run(self, *, workers=2, phases=PHASES, expect=(), seed=1, **more):
        publish = [Publisher(PublishTo.ROOM, "viewers", RATE, name="room")]
        scenario = scenario_of(count=CLIENTS, publish=publish, phases=phases, expect=expect, seed=seed)
        return (await run_scenario(scenario, self.target, workers=workers, **more)).report


def faults(part):
    return {key: getattr(part.delivery, key) for key in ("lost", "duplicated", "reordered", "unexpected")}


class Wrong:
    """Does one thing wrong with one message for one client."""

    def __init__(self, what, sequence=17, client=3):
        self.what = what
        self.sequence = sequence
        self.client = client
        self._kept = []

    def __call__(self, sequence, client, frame):
        if client != self.client:
            return [frame]
        match self.what:
            case "drop" if sequence == self.sequence:
                return []
            case "repeat" if sequence == self.sequence:
                return [frame, frame]
            case "swap" if sequence == self.sequence:
                self._kept = [frame]
                return []
            case "swap" if sequence == self.sequence + HELD_BACK:
                return [frame, *self._kept]
            case "invent" if sequence == self.sequence:
                body = bytearray(frame.body)
                body[12:16] = (10_000).to_bytes(4, "big")
                return [frame, Frame(1, 1000, 0, bytes(body))]
        return [frame]


async def test_a_message_that_one_receiver_missed_is_the_only_thing_found():
    async with Room(Wrong("drop")) as room:
        report = await room.run()

    assert faults(report) == {"lost": 1, "duplicated": 0, "reordered": 0, "unexpected": 0}
    assert report.delivery.expected == RATE * CLIENTS
    assert report.delivery.lost_at == {"unknown": 1}
    assert (report.fanout.messages, report.fanout.complete) == (RATE, RATE - 1)
    assert sum(row.lost for row in report.series) == 1


async def test_what_is_done_to_four_receivers_is_found_once_each_and_nothing_else():
    wrongs = [Wrong(what, client=client) for client, what in enumerate(("drop", "repeat", "swap", "invent"))]

    def wrong(sequence, client, frame):
        return wrongs[client](sequence, client, frame) if client < len(wrongs) else [frame]

    async with Room(wrong) as room:
        report = await room.run(phases=(Phase("steady", 2.0),))

    assert faults(report) == {"lost": 1, "duplicated": 1, "reordered": 1, "unexpected": 1}
    # It was done to one population and to one publisher's messages, and they know it too.
    for part in (*report.phases, *report.populations, *report.publishers):
        assert faults(part) == faults(report)


async def test_a_cluster_that_stood_still_shows_in_full_in_what_was_meant_to_be_sent_then():
    async with Room() as room:

        async def stand_still():
            await started.wait()
            room.held.clear()
            await asyncio.sleep(2.0)
            room.held.set()

        started = asyncio.Event()
        standing = asyncio.create_task(stand_still())
        report = await room.run(
            workers=1,
            phases=(Phase("steady", 4.0),),
            on_progress=lambda now: started.set() if now.at_s > 1.0 else None,
        )
        await standing

    # Half of the 160 messages were planned for the time of standing still, evenly: the first waited all of it.
    assert report.delivery.lost == 0
    assert report.latency_ms.max >= 1900
    assert report.latency_ms.p90 >= 1300
    assert report.latency_ms.p50 < 1000


async def test_the_spread_is_that_from_the_first_receiver_to_the_last():
    late = []

    def wrong(sequence, client, frame):
        if client != 3:
            return [frame]
        send = room.comet.connections[3].send
        late.append(asyncio.get_running_loop().call_later(1.0, send, frame))
        return []

    async with Room(wrong) as room:
        report = await room.run(workers=1)

    assert report.delivery.lost == 0
    assert report.fanout.spread_ms.p50 >= 990
    assert report.latency_ms.p50 < 990


async def test_one_seed_is_one_schedule():
    runs = []
    for _ in range(2):
        publish = [Publisher(PublishTo.ROOM, "viewers", RATE, size_bytes=UniformSize(24, 500), name="room")]
        rooms = {"rooms": ("a://1", "a://2"), "count": 2}
        scenario = scenario_of(publish=publish, phases=(Phase("steady", 0.5),), seed=5, **rooms)
        async with Room() as room:
            await run_scenario(scenario, room.target, workers=1)
        runs.append(sorted(room.pushed))

    assert runs[0] == runs[1]
    assert len(runs[0]) == RATE // 2
    assert len({size for _, _, size in runs[0]}) > 10


async def test_a_run_that_is_asked_to_end_tells_what_there_was_until_then():
    asked = asyncio.Event()
    async with Room(Wrong("drop", sequence=3)) as room:
        report = await room.run(
            phases=(Phase("first", 1.0), Phase("second", 30.0), Phase("third", 30.0)),
            on_progress=lambda now: asked.set() if now.messages > RATE + 15 else None,
            interrupt=asked,
        )

    assert report.verdict is Verdict.ABORTED
    assert (found := re.match(r"interrupted after (\d+\.\d) s of 61 s", report.reasons[0]))
    assert [phase.name for phase in report.phases] == ["first", "second"]
    assert 0.3 < report.phases[1].duration_s == pytest.approx(float(found[1]) - 1.0, abs=0.051)
    assert report.delivery.expected == report.publish.messages * CLIENTS == len(room.pushed) * CLIENTS
    assert (report.delivery.lost, report.delivery.delivered) == (1, len(room.pushed) * CLIENTS - 1)
    assert report.phases[0].publish.messages == RATE


async def test_an_expectation_that_does_not_hold_ends_the_run_and_is_named():
    phases = (Phase("steady", 60.0),)
    slow = end_early(parse_expectation("latency.p99 < 1s", phases), after_s=1.0)
    async with Room() as room:

        def stand_still(now):
            if now.stage == "steady" and now.at_s > 0.5:
                room.held.clear()
            if now.stage == "last answers":
                room.held.set()

        async with asyncio.timeout(40):
            report = await room.run(workers=1, phases=phases, expect=[slow], on_progress=stand_still)

    assert (report.verdict, report.exit_code) == (Verdict.ABORTED, 6)
    assert "latency.p99 < 1s: nothing was delivered" in report.reasons[0]
    assert report.phases[0].duration_s < 10
