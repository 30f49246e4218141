"""The search for the highest rate, with runs that are made up."""

from __future__ import annotations

import html

import pytest

from sim.errors import ScenarioError
from sim.report.files import render_report
from sim.report.json import dump_file, load_report
from sim.report.model import DeliveryReport, FindMaxStep, LatencyStats, RunReport, Verdict
from sim.report.summary import summary_text
from sim.report.tables import find_max_table
from sim.run.find_max import SearchLimits, check_searchable, find_max, mean_rate_per_s, scale_publish, step_line
from sim.scenario.expect import parse_expectation
from sim.scenario.publishing import ClosedLoop
from sim.scenario.scenario import Phase, Publisher, PublishTo
from sim.scenario.shapes import send_times
from tests.sim.kit import scenario_of

LIMITS = SearchLimits(rest_s=0.0)
TOO_SLOW = "latency.p99 < 50ms: was 61 ms"
LAGGED = "the load generator lagged 66 ms, over 50 ms"


class Cluster:
    """Holds its load up to a factor; runs take time on a clock of its own.

    Args:
        holds: The highest factor at which a run passes.
        generator: The highest at which the load generator keeps up.
        takes_s: What a run takes.
    """

    def __init__(self, holds: float = 1e9, generator: float = 1e9, takes_s: float = 1.0) -> None:
        self.holds = holds
        self.generator = generator
        self.takes_s = takes_s
        self.now_s = 0.0
        self.tried: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def run(self, factor: float) -> RunReport:
        self.tried.append(factor)
        self.now_s += self.takes_s
        verdict, reasons = Verdict.PASS, ()
        if factor > self.generator:
            verdict, reasons = Verdict.INVALID, (LAGGED, TOO_SLOW)
        elif factor > self.holds:
            verdict, reasons = Verdict.FAIL, (TOO_SLOW,)
        latency = LatencyStats(count=10, p99=5.0 * factor)
        return RunReport("max", 1, "t", "", verdict, reasons, latency_ms=latency, delivery=DeliveryReport(lost=0))


async def search(cluster: Cluster, limits: SearchLimits = LIMITS, **options):
    return await find_max(cluster.run, rate_per_s=40.0, limits=limits, clock=cluster.clock, **options)


@pytest.mark.parametrize("holds", [1.0, 1.05, 1.9, 3.0, 7.77, 100.0, 1000.0])
async def test_the_highest_rate_is_found_to_ten_percent(holds):
    cluster = Cluster(holds)

    report = await search(cluster)

    found = report.find_max
    assert holds / 1.1 <= found.factor <= holds
    assert found.rate_per_s == pytest.approx(40.0 * found.factor)
    assert not found.at_least
    assert found.limit.endswith(TOO_SLOW)


async def test_rates_double_until_one_fails_and_then_it_looks_in_between():
    cluster = Cluster(holds=5.0)

    await search(cluster)

    assert cluster.tried == [1.0, 2.0, 4.0, 8.0, 5.657, 4.757, 5.188]


async def test_a_cluster_that_does_not_hold_the_scenario_itself_is_tried_with_less():
    cluster = Cluster(holds=0.3)

    report = await search(cluster)

    assert cluster.tried[:3] == [1.0, 0.5, 0.25]
    assert 0.3 / 1.1 <= report.find_max.factor <= 0.3


async def test_the_report_is_of_the_run_at_the_rate_that_was_found():
    report = await search(Cluster(holds=5.0))

    assert report.verdict is Verdict.PASS
    assert report.latency_ms.p99 == 5.0 * report.find_max.factor
    assert [step.factor for step in report.find_max.steps] == [1.0, 2.0, 4.0, 8.0, 5.657, 4.757, 5.188]


async def test_nothing_holds_and_the_report_is_of_the_lowest_rate():
    cluster = Cluster(holds=0.0)

    report = await search(cluster)

    assert cluster.tried == [1 / 2**n for n in range(7)]
    assert report.verdict is Verdict.FAIL
    assert (report.find_max.rate_per_s, report.find_max.factor, report.find_max.at_least) == (None, None, False)
    assert "No rate that was tried holds" in find_max_table(report.find_max).note


async def test_where_the_generator_is_the_limit_the_cluster_holds_at_least_that():
    report = await search(Cluster(generator=3.0))

    assert 3.0 / 1.1 <= report.find_max.factor <= 3.0
    assert report.find_max.at_least
    assert report.find_max.limit.endswith(LAGGED)
    assert "Holds at least" in find_max_table(report.find_max).note


async def test_a_failure_below_an_invalid_run_is_the_clusters_own():
    report = await search(Cluster(holds=5.0, generator=7.0))

    assert [step.verdict for step in report.find_max.steps[:5]] == [*[Verdict.PASS] * 3, Verdict.INVALID, Verdict.FAIL]
    assert not report.find_max.at_least
    assert report.find_max.limit.endswith(TOO_SLOW)


async def test_no_run_begins_that_would_not_end_in_time():
    cluster = Cluster(takes_s=3.0)

    report = await search(cluster, SearchLimits(time_s=10.0, rest_s=0.0))

    assert cluster.tried == [1.0, 2.0, 4.0]
    assert report.find_max.factor == 4.0
    assert report.find_max.at_least
    assert report.find_max.limit == "the time was up before a higher rate was tried"


async def test_one_run_is_made_however_short_the_time():
    report = await search(Cluster(takes_s=30.0), SearchLimits(time_s=1.0, rest_s=0.0))

    assert len(report.find_max.steps) == 1


async def test_the_number_of_runs_has_a_limit():
    cluster = Cluster(holds=5.0)

    report = await search(cluster, SearchLimits(runs=5, rest_s=0.0))

    assert len(cluster.tried) == 5
    assert report.find_max.factor == 4.0
    assert report.find_max.at_least
    assert report.find_max.limit == f"at 226/s {TOO_SLOW}; 5 runs were made, and no higher rate was tried"


async def test_every_step_is_told_as_it_ends():
    told = []

    report = await search(Cluster(holds=1.0), on_step=told.append)

    assert tuple(told) == report.find_max.steps
    assert step_line(told[0]) == "x1               40/s  p99     5 ms  lost 0  pass"
    assert step_line(told[1]).endswith(f"fail: {TOO_SLOW}")


def test_a_step_without_deliveries_has_a_line():
    step = FindMaxStep(0.5, 1_234_567.0, None, 3, Verdict.INVALID, LAGGED)

    assert step_line(step) == f"x0.5      1,234,567/s  p99        -  lost 3  invalid: {LAGGED}"


async def test_a_report_of_a_search_can_be_kept(tmp_path):
    report = await search(Cluster(holds=5.0))
    path = tmp_path / "max.json"

    dump_file(report, path)

    assert load_report(path).find_max == report.find_max


@pytest.mark.parametrize("suffix", [".md", ".html", ".xml", "terminal"])
async def test_every_format_shows_what_was_found(suffix):
    report = await search(Cluster(holds=5.0))

    text = summary_text(report) if suffix == "terminal" else render_report(report, suffix)

    assert ("190.28" if suffix == ".xml" else "Holds 190/s (x4.757): at 208/s latency.p99") in html.unescape(text)


PHASES = (
    Phase("warmup", 2.0, measure=False, publish_factor=3.0),
    Phase("steady", 2.0),
    Phase("ramp", 2.0, publish_factor=1.0, publish_factor_end=3.0),
)


def test_every_rate_is_multiplied_in_every_phase():
    scenario = scenario_of(phases=PHASES, publish=[Publisher(PublishTo.ROOM, "viewers", 10.0)])

    twice = scale_publish(scenario, 2.0)

    def counts(one):
        sends = list(send_times(one.publish, one.phases, one.seed))
        return [sum(send.phase == phase for send in sends) for phase in range(3)]

    assert counts(scenario) == [60, 20, 40]
    assert counts(twice) == [120, 40, 80]


def test_the_rate_is_the_mean_of_all_publishers_over_the_measured_phases():
    publish = [Publisher(PublishTo.ROOM, "viewers", 10.0), Publisher(PublishTo.ALL, "", 2.0)]

    assert mean_rate_per_s(scenario_of(phases=PHASES, publish=publish)) == pytest.approx(12 * 1.5)
    assert mean_rate_per_s(scenario_of(phases=PHASES[:1], publish=publish)) == 0.0


def test_a_search_needs_a_rate_and_something_that_must_hold():
    with pytest.raises(ScenarioError) as caught:
        check_searchable(scenario_of(publish=[]))

    assert [problem.path for problem in caught.value.problems] == ["publish", "expect"]
    check_searchable(scenario_of(expect=[parse_expectation("delivery.lost == 0", ())]))


def test_a_closed_loop_has_no_rate_to_search_for():
    publish = [
        Publisher(PublishTo.ALL, "", 0.0, name="writers", closed=ClosedLoop(3)),
        Publisher(PublishTo.ALL, "", 1.0),
    ]

    with pytest.raises(ScenarioError) as caught:
        check_searchable(scenario_of(publish=publish, expect=[parse_expectation("delivery.lost == 0", ())]))

    [problem] = caught.value.problems
    assert problem.message == "writers: the rate of a closed loop is a result; --find-max needs one to raise"
