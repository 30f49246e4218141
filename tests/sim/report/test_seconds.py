import math
from dataclasses import replace

import pytest

from sim.report.compare import compare_reports
from sim.report.model import Change, PhaseReport, SeriesRow
from sim.report.seconds import seconds_of
from tests.sim.report.samples import latency_of, run_of

CALM_MS = (2.0, 3.0, 4.0, 6.0)


def row(at_s, delivered=100, p50=2.0, p90=3.0, p99=4.0, largest=6.0, *, phase="steady", messages=10, lost=0):
    if not delivered:
        return SeriesRow(at_s, phase, 10, messages, 0, lost=lost)
    return SeriesRow(at_s, phase, 10, messages, delivered, p50, p99, p90, largest, lost)


def run_with(rows, *, values=CALM_MS, length=20):
    """Return a run of one phase with this series, and with these latencies over all of it."""
    stats, buckets = latency_of(*values, repeat=1000)
    run = run_of(1, messages=400)
    return replace(
        run,
        series=tuple(rows),
        latency_ms=stats,
        latency_buckets_ms=buckets,
        phases=(PhaseReport("steady", float(length), True, run.publish, latency_ms=stats),),
    )


def calm(length=20):
    return run_with([row(at_s) for at_s in range(length)], length=length)


def stalled_for(seconds):
    """Return a run of 20 s whose cluster stood still from the first second on, and then delivered all at once."""
    late = row(seconds + 1, 100 * (seconds + 1), 500.0 * seconds, 900.0 * seconds, 990.0 * seconds, 1000.0 * seconds)
    rows = [row(0), *(row(at_s, 0) for at_s in range(1, seconds + 1)), late]
    rows += [row(at_s) for at_s in range(seconds + 2, 20)]
    slow = [1000.0 * at_s for at_s in range(seconds)]
    return run_with(rows, values=[2.0] * (20 - seconds) + slow)


def compared(a, b, tolerance=10.0):
    return compare_reports(a, b, tolerance_percent=tolerance, names=("a.json", "b.json"))


def verdict(comparison, name):
    return next((one.verdict, one.a, one.b) for one in comparison.metrics if one.metric == name)


def test_only_whole_seconds_of_measured_phases_count():
    rows = tuple(
        SeriesRow(at_s, phase, 1, 1, 1) for at_s, phase in enumerate(("warmup", "warmup", "a", "a", "b", "b", ""))
    )
    phases = (PhaseReport("warmup", 1.5, False), PhaseReport("a", 2.5), PhaseReport("b", 1.5))
    report = replace(run_of(5), series=rows, phases=phases)

    assert [row.at_s for row in seconds_of(report).rows] == [2, 3, 4]
    assert [row.at_s for row in seconds_of(report, "b").rows] == [4]


def test_a_second_in_which_the_cluster_stood_still_is_the_worst_of_all():
    seconds = seconds_of(stalled_for(17))

    assert len(seconds.stalled) == 17
    assert seconds.latencies("p50_ms").count(math.inf) == 17
    assert len(seconds.latencies("p50_ms")) == 20


def test_a_run_that_stood_still_nearly_all_the_time_is_slower():
    comparison = compared(calm(), stalled_for(17))

    assert comparison.slower
    for name in ("latency.p50", "latency.p90", "delivery.stalled"):
        assert verdict(comparison, name)[0] is Change.WORSE


def test_a_run_that_stood_still_for_two_fifths_is_slower_though_its_median_is_not():
    comparison = compared(calm(), stalled_for(8))

    assert verdict(comparison, "latency.p50")[0] is Change.SAME  # it fell, and no second says so
    assert "delivery.stalled: 8 s, in the baseline 0 s" in comparison.reasons


def test_standing_still_for_no_more_than_the_tolerance_or_one_second_is_the_same():
    assert verdict(compared(calm(), stalled_for(2)), "delivery.stalled") == (Change.SAME, 0, 2)
    assert verdict(compared(calm(), stalled_for(1), tolerance=1.0), "delivery.stalled") == (Change.SAME, 0, 1)
    assert verdict(compared(stalled_for(8), calm()), "delivery.stalled")[0] is Change.BETTER


def test_one_of_several_comets_that_stood_still_makes_every_second_of_it_slow():
    """Its clients read nothing for 15 s, while the seconds of the others look like any."""
    late = row(16, 600, 8000.0, 14_000.0, 15_000.0, 15_100.0)
    rows = [*(row(at_s, 66) for at_s in range(16)), late, *(row(at_s) for at_s in range(17, 20))]

    comparison = compared(calm(), run_with(rows, values=[2.0] * 15 + [3000.0, 6000.0, 9000.0, 12_000.0, 15_000.0]))

    assert verdict(comparison, "latency.p90")[0] is Change.WORSE
    assert verdict(comparison, "delivery.stalled") == (Change.SAME, 0, 0)


def test_what_was_read_late_says_how_long_it_was_waited_for_in_each_second():
    seconds = seconds_of(run_with([row(0), row(1), row(2), row(3, 100, 2500.0)], length=4))

    assert seconds.latencies("p50_ms") == [2.0, 2000.0, 1000.0, 2500.0]


@pytest.mark.parametrize(
    ("rows", "stalled"),
    [
        ([row(0), row(1, 0, messages=0), row(2, largest=5000.0)], []),  # nothing was pushed
        ([row(0), row(1, 0, messages=1), row(2)], []),  # pushed at the end of it, read in the next
        ([row(0), row(1, 0), row(2, largest=900.0)], [1]),
        ([row(0), row(1, 0), row(2, 0)], []),  # nobody had to get it
        ([row(0), row(1, 0, lost=100), row(2, 0, lost=100)], [1, 2]),
        ([row(0), row(1, 0, lost=3), row(2)], [1]),
        ([row(0), row(1, 0, lost=None), row(2, 0, lost=None)], [1, 2]),  # nobody can tell, and nothing came
        ([row(0), row(1, 0), row(2, 0), row(3, largest=2500.0, phase="")], [1, 2]),  # after the last phase
    ],
)
def test_a_second_without_a_delivery_is_a_stall_when_something_came_late_or_never(rows, stalled):
    assert sorted(seconds_of(run_with(rows, length=3)).stalled) == stalled
