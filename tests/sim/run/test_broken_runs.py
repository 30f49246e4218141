import asyncio
import os
import signal

from imctl.cluster.inprocess import LocalCluster
from sim.report.model import Verdict
from sim.run.runner import run_scenario
from sim.scenario.scenario import Phase
from tests.sim.run.test_runner import generators, no_limits, scenario, target_of

__all__ = ["no_limits"]


async def test_a_worker_that_hangs_is_told_while_it_runs_named_and_not_waited_for(no_limits, monkeypatch):
    monkeypatch.setattr("sim.run.heartbeats.LIMIT_S", 4.0)
    stopped, troubles = [], set()

    def stop(now):
        troubles.add(now.trouble)
        if now.stage == "steady" and now.delivered and not stopped:
            stopped.append(generators()["sim.clients.worker"][0])
            os.kill(stopped[0], signal.SIGSTOP)

    async with LocalCluster() as cluster:
        long = scenario(phases=(Phase("steady", 600.0),))
        async with asyncio.timeout(60):
            result = await run_scenario(long, target_of(cluster), workers=2, on_progress=stop)

    report = result.report
    assert report.verdict is Verdict.INVALID
    # A machine that has no time for the others either may add them.
    assert "worker 1 hung" in report.generator.broken or "worker 2 hung" in report.generator.broken
    assert any(reason.endswith("hung: nothing came from it for 4 s") for reason in report.reasons)
    assert any(" for 3 s" in trouble for trouble in troubles)
    assert [one.passed for one in report.expect] == [None]
    assert 0 < report.publish.messages < 600 * 110
    assert generators() == {}
