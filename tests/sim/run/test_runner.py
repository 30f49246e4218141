import asyncio
import os
import signal

import psutil
import pytest

from imctl.cluster.inprocess import LocalCluster
from protocol.frame import Frame
from sim.errors import SimError, TargetError
from sim.report.model import Verdict
from sim.run.nodes import NodeSample
from sim.run.runner import default_workers, run_scenario
from sim.run.target import Target
from sim.scenario.expect import parse_expectation
from sim.scenario.scenario import Event, EventKind, Phase, Publisher, PublishTo
from tests.sim.kit import ScriptedComet, ScriptedLogic, scenario_of, until


def target_of(cluster):
    def split(address):
        host, _, port = address.rpartition(":")
        return ((host, int(port)),)

    return Target("local", split(cluster.tcp), split(cluster.ws), split(cluster.http))


@pytest.fixture
def no_limits(monkeypatch):
    """What makes a run invalid is tested by itself; a busy machine is none of the other tests' business."""
    for name in ("MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS"):
        monkeypatch.setattr(f"sim.run.outcome.{name}", 1e9)


def generators():
    """Return the processes of runs that this process has started, by what they are."""
    found = {}
    for child in psutil.Process().children():
        try:
            words = child.cmdline()
        except psutil.Error:  # it has just ended
            continue
        if "sim.clients.worker" in words or "sim.publish.publisher" in words:
            found.setdefault(words[-1], []).append(child.pid)
    return found


def scenario(**more):
    publish = [
        Publisher(PublishTo.ROOM, "viewers", 50.0),
        Publisher(PublishTo.MID, "viewers", 50.0),
        Publisher(PublishTo.ALL, "", 10.0),
    ]
    phases = (Phase("warmup", 0.2, measure=False), Phase("steady", 0.5))
    expect = [parse_expectation("delivery.lost == 0", phases)]
    return scenario_of(
        **{
            "count": 20,
            "rooms": ("a://1", "a://2"),
            "mids": 100,
            "publish": publish,
            "phases": phases,
            "expect": expect,
            **more,
        }
    )


@pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])
async def test_a_run_counts_every_message_for_every_receiver(no_limits, ws):
    progress = []
    async with LocalCluster() as cluster:
        result = await run_scenario(
            scenario(ws=ws),
            target_of(cluster),
            workers=2,
            on_progress=lambda now: progress.append((now.stage, now.connected)),
        )

    report = result.report
    assert (report.verdict, report.reasons) == (Verdict.PASS, ())
    # Of 0.5 measured seconds: 25 to rooms of ten, 25 to one client each, 5 to all.
    assert report.publish.messages == 55
    assert report.delivery.expected == report.delivery.delivered == 25 * 10 + 25 + 5 * 20
    assert report.latency_ms.count == 375
    delivery = report.delivery
    assert (delivery.lost, delivery.duplicated, delivery.reordered, delivery.unexpected) == (0, 0, 0, 0)
    assert sum(row.messages for row in report.series) == 55 + 22
    assert sum(row.delivered for row in report.series) == 375 + 150
    assert (report.clients.connected, report.generator.workers) == (20, 2)
    assert ("connecting", 0) in progress
    assert ("steady", 20) in progress
    assert sum(count for _, _, count in result.buckets) == 375
    assert generators() == {}


async def test_nodes_are_asked_before_the_first_phase_and_after_the_last_delivery(no_limits):
    progress, stages = [], []

    async def sample(within_s):
        stages.append(progress[-1].stage)
        return [NodeSample("comet-1", 5, float(len(stages)), 10, {})]

    async with LocalCluster() as cluster:
        result = await run_scenario(
            scenario(), target_of(cluster), workers=1, sample_nodes=sample, on_progress=progress.append
        )

    # One RunProgress tells of the whole run. A run that was held up for a second is asked in between too.
    assert (stages[0], stages[-1]) == ("connecting", "settling")
    assert result.report.nodes[0].cpu_s == len(stages) - 1


@pytest.mark.parametrize("victim", ["sim.clients.worker", "sim.publish.publisher"])
@pytest.mark.parametrize("stage", ["connecting", "steady"])
async def test_a_process_that_dies_makes_the_run_invalid_and_is_named(no_limits, victim, stage):
    killed = []

    def kill(now):
        pids = generators().get(victim, []) if now.stage == stage and not killed else []
        if pids:
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

    async with LocalCluster() as cluster:
        rate_per_s = 5.0 if stage == "connecting" else 100.0
        slow = scenario(phases=(Phase("steady", 90.0),), expect=(), connect_rate_per_s=rate_per_s)
        async with asyncio.timeout(80):
            result = await run_scenario(slow, target_of(cluster), workers=2, on_progress=kill)

    name = "publisher" if victim == "sim.publish.publisher" else "worker "
    assert result.report.verdict is Verdict.INVALID
    assert result.report.exit_code == 5
    assert result.report.reasons[0].startswith(f"the load generator broke: {name}")
    assert "exit code -9" in result.report.reasons[0]
    assert generators() == {}


async def test_a_worker_that_stood_still_makes_the_run_invalid(monkeypatch):
    # CPU and send lag depend on the machine; how long the worker is stopped does not.
    monkeypatch.setattr("sim.run.outcome.MAX_CPU_PERCENT", 1e9)
    monkeypatch.setattr("sim.run.outcome.MAX_SEND_LAG_MS", 1e9)
    stopped = asyncio.Event()

    async def stop_a_while():
        await stopped.wait()
        [pid] = generators()["sim.clients.worker"]
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(0.8)
        os.kill(pid, signal.SIGCONT)

    stopping = asyncio.create_task(stop_a_while())
    async with LocalCluster() as cluster:
        result = await run_scenario(
            scenario(phases=(Phase("steady", 4.0),), expect=()),
            target_of(cluster),
            workers=1,
            on_progress=lambda now: stopped.set() if now.at_s > 0.3 else None,
        )
    await stopping

    assert result.report.verdict is Verdict.INVALID
    assert any("lagged" in reason for reason in result.report.reasons)
    assert result.report.latency_ms.max >= 500


async def test_a_cancelled_run_leaves_no_process(no_limits):
    steady = asyncio.Event()
    async with LocalCluster() as cluster:
        running = asyncio.create_task(
            run_scenario(
                scenario(phases=(Phase("steady", 90.0),), expect=()),
                target_of(cluster),
                workers=2,
                on_progress=lambda now: steady.set() if now.stage == "steady" else None,
            )
        )
        await asyncio.wait_for(steady.wait(), 80)
        pids = [pid for group in generators().values() for pid in group]
        running.cancel()
        await asyncio.wait([running])

    assert running.cancelled()
    assert len(pids) == 3
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


async def test_a_target_that_is_not_there_is_an_error_before_anything_starts():
    async with ScriptedComet() as comet:
        target = comet.target

    with pytest.raises(TargetError, match=r"comet tcp 127\.0\.0\.1:\d+ cannot be reached"):
        await run_scenario(scenario(), target)

    assert generators() == {}


async def test_only_what_the_scenario_uses_has_to_be_there(no_limits):
    async with ScriptedComet() as comet:
        nobody = (("127.0.0.1", 1),)
        silent = scenario(publish=(), phases=(Phase("steady", 0.1),), expect=())

        result = await run_scenario(silent, Target("t", comet.target.tcp, nobody, nobody), workers=1)

    assert result.report.clients.connected == 20


async def test_a_push_that_was_refused_and_came_all_the_same_hides_no_other(no_limits):
    # It makes up for a message still under way in the sum of deliveries, which must not end the wait for that one.
    async with ScriptedComet() as comet:
        late = []

        async def answer(path, body):
            sequence = int.from_bytes(body[12:16], "big")
            for connection in comet.connections:
                frame = Frame(1, 1000, 0, body)
                if sequence == 4:
                    late.append(asyncio.get_running_loop().call_later(1.5, connection.send, frame))
                else:
                    connection.send(frame)
            return (500, b"") if sequence == 1 else (200, b'{"code":0}')

        async with ScriptedLogic(answer) as logic:
            target = Target("t", comet.target.tcp, comet.target.ws, (("127.0.0.1", logic.port),))
            publish = [Publisher(PublishTo.ROOM, "viewers", 10.0)]
            one_room = scenario(rooms=("a://1",), publish=publish, phases=(Phase("steady", 0.5),), expect=())
            result = await run_scenario(one_room, target, workers=1)

    report = result.report
    assert (report.publish.messages, report.publish.errors) == (5, 1)
    assert (report.delivery.expected, report.delivery.lost, report.delivery.unexpected) == (80, 0, 0)


async def test_copies_behind_the_last_message_are_seen(no_limits):
    async with ScriptedComet() as comet:

        async def answer(path, body):
            frame = Frame(1, 1000, 0, body)
            for connection in comet.connections:
                connection.send(frame)
                asyncio.get_running_loop().call_later(0.05, connection.send, frame)
            return 200, b'{"code":0}'

        async with ScriptedLogic(answer) as logic:
            target = Target("t", comet.target.tcp, comet.target.ws, (("127.0.0.1", logic.port),))
            publish = [Publisher(PublishTo.ROOM, "viewers", 10.0)]
            one_room = scenario(rooms=("a://1",), publish=publish, phases=(Phase("steady", 0.3),), expect=())
            result = await run_scenario(one_room, target, workers=1)

    assert result.report.delivery.duplicated == 3 * 20


async def test_a_comet_that_dies_is_told_by_client(no_limits):
    gone = []
    async with LocalCluster() as cluster:

        def kill(now):
            if now.at_s > 0.3 and not gone:
                gone.append(asyncio.create_task(cluster.assemblies[1].stop(0.0)))

        phases = (Phase("steady", 2.0),)
        expect = [parse_expectation("delivery.duplicated == 1", phases)]
        result = await run_scenario(
            scenario(phases=phases, expect=expect), target_of(cluster), workers=1, on_progress=kill
        )
        await until(lambda: gone[0].done())

    assert "20 clients: connection ended during the run" in result.report.reasons
    assert (result.report.clients.disconnected, result.report.clients.reconnects) == (20, 0)
    assert result.report.series[-1].connected == 0


async def test_what_movers_get_more_does_not_end_the_wait_for_what_others_still_miss(no_limits):
    # All move from a room of half of the pushes to that of both halves; one of them gets its last message late.
    async with ScriptedComet() as comet:
        late = []

        async def answer(path, body):
            sequence = int.from_bytes(body[12:16], "big")
            is_second = path.endswith("room=2")
            for number, connection in enumerate(comet.connections):
                frame = Frame(1, 1000, 0, body)
                if not is_second:
                    continue
                if number == 0 and sequence == 9:
                    late.append(asyncio.get_running_loop().call_later(1.0, connection.send, frame))
                else:
                    connection.send(frame)
            return 200, b'{"code":0}'

        async with ScriptedLogic(answer) as logic:
            target = Target("t", comet.target.tcp, comet.target.ws, (("127.0.0.1", logic.port),))
            publish = [Publisher(PublishTo.ROOM, "viewers", 20.0)]
            move = [Event(0.0, EventKind.CHANGE_ROOM, "viewers", room="a://2")]
            moving = scenario(publish=publish, phases=(Phase("steady", 1.0),), expect=(), events=move)
            result = await run_scenario(moving, target, workers=1)

    assert late
    assert result.report.events[0].count == 20
    assert (result.report.delivery.lost, result.report.delivery.unexpected) == (0, 0)


class Faults:
    """Pauses a scripted cluster, and says so."""

    nodes = ("comet-1",)

    def __init__(self, broken=False):
        self.seen = []
        self.paused = asyncio.Event()
        self._broken = broken

    async def kill(self, node):
        self.seen.append("kill")
        if self._broken:
            raise SimError("comet-1 is starting, not running")

    async def pause(self, node):
        self.seen.append("pause")
        self.paused.set()

    async def resume(self, node):
        self.seen.append("resume")

    async def restart(self, node):
        self.seen.append("restart")


async def test_a_run_that_is_cancelled_or_over_leaves_no_node_paused(no_limits):
    pause = [Event(0.1, EventKind.PAUSE, node="comet-1", for_s=60.0)]
    async with LocalCluster() as cluster:
        faults = Faults()
        long = scenario(phases=(Phase("steady", 90.0),), expect=(), events=pause)
        running = asyncio.create_task(run_scenario(long, target_of(cluster), workers=1, faults=faults))
        await asyncio.wait_for(faults.paused.wait(), 80)
        running.cancel()
        await asyncio.wait([running])
        cancelled = faults.seen

        faults = Faults()
        result = await run_scenario(scenario(events=pause), target_of(cluster), workers=1, faults=faults)

    assert running.cancelled()
    assert cancelled == faults.seen == ["pause", "resume"]
    assert [(event.do, event.target) for event in result.report.events] == [("pause", "comet-1")]


async def test_a_fault_that_cannot_be_carried_out_makes_the_run_invalid_and_the_report_is_there(no_limits):
    kill = [Event(0.1, EventKind.KILL, node="comet-1")]
    async with LocalCluster() as cluster:
        result = await run_scenario(scenario(events=kill), target_of(cluster), workers=1, faults=Faults(broken=True))

    assert result.report.verdict is Verdict.INVALID
    assert result.report.reasons[0].startswith("an event could not be carried out: kill comet-1 at 0.")
    assert result.report.delivery.expected > 0


async def test_a_fault_that_nobody_can_carry_out_is_an_error_before_anything_starts():
    with pytest.raises(SimError, match="the nodes of this target cannot be reached"):
        await run_scenario(scenario(events=[Event(0.1, EventKind.KILL, node="comet-1")]), Target("t", (), (), ()))

    assert generators() == {}


def test_workers_are_one_a_core_but_no_more_than_clients_keep_busy(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)

    assert [default_workers(count) for count in (1, 500, 501, 1600, 60_000)] == [1, 1, 2, 4, 4]


def test_no_worker_has_more_clients_than_it_can_have_files_open(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)

    assert [default_workers(count) for count in (60_001, 100_000)] == [5, 7]
