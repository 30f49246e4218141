"""Runs on Locust itself: its master and workers are processes of their own."""

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from imctl.cluster.inprocess import LocalCluster
from sim.errors import RunInterruptedError, SimError
from sim.report.model import Verdict
from sim.run.locust_crew import LocustCrew, worker_command
from sim.run.runner import run_scenario
from sim.scenario.expect import parse_expectation
from sim.scenario.scenario import Phase, Publisher, PublishTo
from tests.sim.kit import scenario_of
from tests.sim.run.test_runner import no_limits, target_of

__all__ = ["no_limits"]

needs_locust = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="Locust is missing: pip install 'imctl[locust]'"
)


def scenario(duration_s=0.6, **more):
    phases = (Phase("steady", duration_s),)
    publish = [Publisher(PublishTo.ROOM, "viewers", 50.0), Publisher(PublishTo.ALL, "", 10.0)]
    expect = [parse_expectation("delivery.lost == 0", phases)]
    return scenario_of(count=20, rooms=("a://1", "a://2"), publish=publish, phases=phases, expect=expect, **more)


def locust_processes():
    """Return the Locust processes and engines that this test has started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.Error:  # it has just ended
            continue
        if "sim.run.locustfile" in words or "sim.clients.worker" in words:
            found.append((child.pid, words))
    return found


def totals(report):
    return report.verdict, report.reasons, report.publish.messages, report.clients.connected, report.delivery


@needs_locust
async def test_a_run_on_locust_has_the_totals_of_one_without(no_limits):
    async with LocalCluster() as cluster:
        plain = await run_scenario(scenario(), target_of(cluster), workers=2)
        on_locust = await run_scenario(scenario(), target_of(cluster), crew=LocustCrew(2))

    assert totals(on_locust.report) == totals(plain.report)
    assert on_locust.report.verdict is Verdict.PASS
    assert on_locust.report.delivery.expected == 30 * 10 + 6 * 20
    assert on_locust.report.latency_ms.count == plain.report.latency_ms.count
    assert (on_locust.report.generator.workers, len(on_locust.report.clocks)) == (2, 2)
    # One machine, one clock: nothing was measured, and nothing is uncertain.
    assert {(clock.offset_ms, clock.bound_ms) for clock in on_locust.report.clocks} == {(0.0, 0.0)}
    assert plain.report.clocks == ()
    assert locust_processes() == []


@needs_locust
async def test_a_worker_that_is_killed_is_named_and_makes_the_run_invalid(no_limits):
    killed = []

    def kill(now):
        if now.stage == "steady" and not killed:
            [pid, *_] = [pid for pid, words in locust_processes() if "--worker" in words]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    async with LocalCluster() as cluster:
        async with asyncio.timeout(60):
            result = await run_scenario(
                scenario(duration_s=30.0), target_of(cluster), crew=LocustCrew(2), on_progress=kill
            )

    assert (result.report.verdict, result.report.exit_code) == (Verdict.INVALID, 5)
    broken = result.report.reasons[0]
    assert broken.startswith("the load generator broke: worker ")
    assert broken.endswith(f"pid {killed[0]}): its heartbeats stopped")
    assert locust_processes() == []


@needs_locust
async def test_the_run_time_of_locust_ends_a_run_and_its_tables_are_passed_on(no_limits, tmp_path):
    with (tmp_path / "output").open("w") as output:
        crew = LocustCrew(1, ["--run-time", "6s", "--csv", str(tmp_path / "run")], output)
        async with LocalCluster() as cluster:
            async with asyncio.timeout(60):
                result = await run_scenario(scenario(duration_s=40.0), target_of(cluster), crew=crew)

    assert (result.report.verdict, result.report.exit_code) == (Verdict.ABORTED, 6)
    # The worker was still there to tell what its clients had got.
    [reason] = result.report.reasons
    assert reason.startswith("ended by Locust after ")
    assert result.report.clients.connected == 20
    assert (result.report.delivery.lost, result.report.generator.workers) == (0, 1)
    rows = (tmp_path / "run_stats.csv").read_text().splitlines()
    delivered = [int(row.split(",")[2]) for row in rows if row.startswith("DELIVER,messages,")]
    assert sum(delivered) == sum(row.delivered for row in result.report.series)
    assert "DELIVER" in (tmp_path / "output").read_text()


def a_time_namespace_can_be_made():
    unshare = shutil.which("unshare")
    return unshare is not None and not subprocess.run([unshare, "-T", "true"], capture_output=True).returncode


@needs_locust
@pytest.mark.skipif(not a_time_namespace_can_be_made(), reason="another clock needs unshare -T, and to be root")
async def test_the_latency_of_a_worker_with_another_clock_is_corrected(no_limits, unused_tcp_port):
    port = str(unused_tcp_port)
    to_master = worker_command(["--worker", "--master-host", "127.0.0.1", "--master-port", port])
    elsewhere = ["unshare", "-T", "--monotonic", "3600", *to_master]
    worker = subprocess.Popen(elsewhere, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        crew = LocustCrew(1, ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port])
        async with LocalCluster() as cluster:
            async with asyncio.timeout(60):
                result = await run_scenario(scenario(), target_of(cluster), crew=crew)
        await asyncio.to_thread(worker.wait, 20)
    finally:
        worker.kill()
        worker.wait()

    assert result.report.verdict is Verdict.PASS
    [clock] = result.report.clocks
    assert clock.bound_ms > 0
    assert abs(clock.offset_ms - 3_600_000) <= clock.bound_ms
    assert result.report.delivery.lost == 0
    assert result.report.latency_ms.count == 30 * 10 + 6 * 20
    assert result.report.latency_ms.max < 60_000


@needs_locust
async def test_an_option_that_locust_does_not_know_is_an_error_in_its_words():
    async with LocalCluster() as cluster:
        with pytest.raises(SimError, match=r"master ended with exit code 2 .*--bogus"):
            await run_scenario(scenario(), target_of(cluster), crew=LocustCrew(1, ["--bogus"]))

    assert locust_processes() == []


@needs_locust
async def test_a_wait_for_workers_of_other_machines_can_be_ended(unused_tcp_port):
    interrupt = asyncio.Event()
    crew = LocustCrew(2, ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(unused_tcp_port)])
    async with LocalCluster() as cluster:
        running = asyncio.create_task(run_scenario(scenario(), target_of(cluster), crew=crew, interrupt=interrupt))
        await asyncio.wait([running], timeout=0.5)
        interrupt.set()
        with pytest.raises(RunInterruptedError, match="before it had its workers"):
            await asyncio.wait_for(running, 30)

    assert locust_processes() == []


async def test_without_locust_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("sim.run.locust_crew.importlib.util.find_spec", lambda name: None)

    with pytest.raises(SimError, match="Locust is not installed") as caught:
        await LocustCrew(1).start()

    assert caught.value.hint == "pip install 'imctl[locust]'"


@needs_locust
def test_the_locustfile_tells_a_locust_that_was_started_by_itself_what_to_do():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sim.run.locustfile", "--headless"], capture_output=True, text=True, timeout=60
    )

    assert done.returncode
    assert "a run is started by: imctl sim SCENARIO --locust" in done.stderr
