"""Every case passes on our own nodes."""

from __future__ import annotations

import pytest

from imctl.cluster.inprocess import LocalCluster
from imctl.conform import Report, Verdict
from tests.imctl.conform.rig import failed, run_only, target_of

# Defects of goim that our nodes do not have by default; they answer with the right thing.
SAYS_WHY = "says why, where goim leaves the message empty"


def known(report: Report) -> set[str]:
    return {result.note for result in report.results if result.verdict is Verdict.KNOWN}


async def test_all_cases_pass_on_our_nodes():
    async with LocalCluster() as cluster:
        report = await run_only(target_of(cluster), [])

    assert failed(report) == {}
    assert known(report) <= {SAYS_WHY}
    assert report.not_tested == []
    skipped = [result for result in report.results if result.verdict is Verdict.SKIPPED]
    assert {result.note for result in skipped} == {"slow: only with --slow"}
    assert report.took_s < 100


async def test_all_cases_pass_as_goim_does_it():
    async with LocalCluster(compat_goim=True) as cluster:
        report = await run_only(target_of(cluster), [])

    assert failed(report) == {}
    # What stays is what --compat goim is there for.
    assert known(report) <= {
        "goim's handler panics",
        "goim ends the call at the first client whose queue is full, and skips the rest",
    }


async def test_two_runs_do_not_disturb_each_other():
    import asyncio

    async with LocalCluster() as cluster:
        reports = await asyncio.gather(*(run_only(target_of(cluster), ["tcp-push", "tcp-sessions"]) for _ in range(2)))

    assert [failed(report) for report in reports] == [{}, {}]


async def test_a_run_leaves_nothing_behind():
    async with LocalCluster() as cluster:
        report = await run_only(target_of(cluster), [])
        stats = cluster.stats()
        registry = cluster.assemblies[0].nodes["registry"].stats()["gauges"]

    assert report.failed == []
    assert stats["comet-1"]["comet"]["gauges"]["connections"] == 0
    assert registry["instances"] == 3  # infra.discovery, logic and comet


@pytest.mark.parametrize("case", ["timers.handshake", "timers.heartbeat", "cluster-count", "online-room", "online-top"])
async def test_slow_cases_pass_with_short_times(case):
    settings = {
        "comet": {"handshake_timeout_s": 3.0, "renew_online_s": 0.2, "online_delay_s": 0.1},
        "logic": {"heartbeat_s": 1, "heartbeat_max": 2},
    }
    async with LocalCluster(settings=settings) as cluster:
        report = await run_only(target_of(cluster), [case], slow=True)

    assert failed(report) == {}
    assert report.counts["pass"] == len(report.results) > 0


async def test_a_heartbeat_limit_that_is_too_long_to_wait_for_is_told():
    async with LocalCluster() as cluster:
        report = await run_only(target_of(cluster), ["tcp-timers.heartbeat"], slow=True)

    assert [result.note for result in report.results] == ["the heartbeat limit is 480 s; tried up to 25 s"]
