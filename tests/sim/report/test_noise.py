import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.report.compare import compare_reports
from sim.report.model import Change, PhaseReport, PublishReport, SeriesRow
from sim.report.noise import ALPHA, MIN_SECONDS, is_shifted, rank_test
from tests.sim.report.samples import latency_of, run_of


def compared(a, b, tolerance=10.0):
    return compare_reports(a, b, tolerance_percent=tolerance, names=("a.json", "b.json"))


def verdict(comparison, name):
    return next((one.verdict, one.why) for one in comparison.metrics if one.metric == name)


def run_with_seconds(seconds_ms, *, delivered=None):
    """Return a run whose seconds have these latencies, and whose histogram has all of their messages."""
    stats, buckets = latency_of(*seconds_ms, repeat=1000)
    delivered = delivered or [1000] * len(seconds_ms)
    rows = tuple(
        SeriesRow(at_s, "steady", 10, 100, delivered[at_s], value, value, value, value, 0)
        for at_s, value in enumerate(seconds_ms)
    )
    publish = PublishReport(messages=1000 * len(seconds_ms), rate_per_s=100.0)
    rate = sum(delivered) / len(delivered)
    run = run_of(1)
    return replace(
        run,
        latency_ms=stats,
        latency_buckets_ms=buckets,
        series=rows,
        publish=publish,
        delivery=replace(run.delivery, deliveries_per_s=rate),
        phases=(PhaseReport("steady", float(len(seconds_ms)), True, publish, latency_ms=stats),),
    )


def uneven(seed, count=20, *, factor=1.0):
    """Return latencies of seconds that jump between good and bad ones, as those of a shared machine do."""
    rng = random.Random(seed)
    return [factor * (rng.uniform(5, 8) if rng.random() < 0.5 else rng.uniform(20, 60)) for _ in range(count)]


def test_values_apart_are_unlikely_and_values_mixed_are_likely():
    # By the exact distribution 0.0079, 0.0022 and 1.
    assert rank_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(0.0122, abs=1e-4)
    assert rank_test([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]) == pytest.approx(0.0051, abs=1e-4)
    assert rank_test([1, 4, 5, 8], [2, 3, 6, 7]) == 1.0


def test_equal_values_tell_nothing():
    assert rank_test([3, 3, 3], [3, 3, 3, 3]) == 1.0
    assert rank_test([], [1, 2]) == 1.0


def test_with_fewer_seconds_nothing_can_be_told_and_with_these_it_can():
    assert rank_test(range(MIN_SECONDS - 1), range(100, 100 + MIN_SECONDS - 1)) > ALPHA
    assert rank_test(range(MIN_SECONDS), range(100, 100 + MIN_SECONDS)) <= ALPHA


def test_a_shift_has_a_direction():
    low, high = range(6), range(10, 16)

    assert (is_shifted(low, high, up=True), is_shifted(low, high, up=False)) == (True, False)
    assert (is_shifted(high, low, up=True), is_shifted(high, low, up=False)) == (False, True)
    assert not is_shifted(low, low, up=True)


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), max_size=12))
def test_the_test_is_a_probability_and_the_same_both_ways(a, b):
    likely = rank_test(a, b)

    assert 0.0 <= likely <= 1.0
    assert likely == pytest.approx(rank_test(b, a))
    assert likely == pytest.approx(rank_test([-value for value in a], [-value for value in b]))


def test_same_runs_are_taken_for_different_about_as_often_as_alpha_says():
    rng = random.Random(5)

    wrong = sum(
        rank_test([rng.lognormvariate(0, 1) for _ in range(12)], [rng.lognormvariate(0, 1) for _ in range(12)]) <= ALPHA
        for _ in range(2000)
    )

    assert wrong <= 2000 * ALPHA * 1.5


def test_uneven_runs_of_the_same_are_not_slower():
    """The medians are often twice as large; a tolerance of 10 % alone would call half of them slower."""
    slower = [
        compared(run_with_seconds(uneven(seed)), run_with_seconds(uneven(1000 + seed))).slower for seed in range(60)
    ]

    assert sum(slower) <= 3


def test_a_change_in_every_second_is_found_in_uneven_runs():
    slower = [
        compared(run_with_seconds(uneven(seed, 60)), run_with_seconds(uneven(1000 + seed, 60, factor=4.0))).slower
        for seed in range(20)
    ]

    assert sum(slower) >= 19


def test_one_bad_second_is_no_slower_run_and_says_so():
    calm, spoiled = [5.0] * 10, [5.0] * 8 + [400.0] * 2

    comparison = compared(run_with_seconds(calm), run_with_seconds(spoiled))

    assert not comparison.slower
    assert verdict(comparison, "latency.p99") == (Change.SAME, "within the spread of the seconds")


def test_all_seconds_a_little_slower_is_within_the_tolerance_and_more_is_not():
    before = run_with_seconds([10.0 + at / 100 for at in range(10)])

    assert not compared(before, run_with_seconds([10.8 + at / 100 for at in range(10)])).slower
    assert compared(before, run_with_seconds([13.0 + at / 100 for at in range(10)])).slower


def test_faster_is_better_by_the_same_rule():
    calm = run_with_seconds([5.0 + at / 100 for at in range(10)])
    slow = run_with_seconds([9.0 + at / 100 for at in range(10)])

    assert verdict(compared(slow, calm), "latency.p50") == (Change.BETTER, "")


@pytest.mark.parametrize("second", [[5.0] * 4, [7.0] * 4, [14.0] * 4, [50.0, 50.0, 50.0, 5.0]])
def test_a_short_run_is_not_judged_by_a_tolerance_that_it_is_too_short_for(second):
    comparison = compared(run_with_seconds([5.0] * 4), run_with_seconds(second))

    assert verdict(comparison, "latency.p50") == (Change.NOT_JUDGED, "too short to tell: 4 s")
    assert (comparison.slower, comparison.unjudged, comparison.exit_code) == (False, "too short to tell: 4 s", 9)


@pytest.mark.parametrize("length", [3, 4])
def test_a_short_run_is_worse_when_it_is_three_times_as_slow_in_every_second(length):
    comparison = compared(run_with_seconds([5.0] * length), run_with_seconds([16.0] * length))

    assert verdict(comparison, "latency.p50") == (Change.WORSE, "")
    assert (comparison.slower, comparison.unjudged, comparison.exit_code) == (True, "", 7)


def test_a_short_run_is_better_by_the_same_rule():
    comparison = compared(run_with_seconds([16.0] * 3), run_with_seconds([5.0] * 3))

    assert verdict(comparison, "latency.p50") == (Change.BETTER, "")
    assert (comparison.slower, comparison.unjudged) == (False, "")


def test_two_seconds_tell_nothing_at_all():
    comparison = compared(run_with_seconds([5.0] * 2), run_with_seconds([500.0] * 2), tolerance=1000.0)

    assert verdict(comparison, "latency.p50") == (Change.NOT_JUDGED, "too short to tell: 2 s")
    assert comparison.exit_code == 9


def test_a_tolerance_that_a_short_run_can_answer_judges_it():
    before = run_with_seconds([5.0] * 3)

    assert compared(before, run_with_seconds([14.0] * 3), tolerance=200.0).exit_code == 0
    assert compared(before, run_with_seconds([16.0] * 3), tolerance=200.0).exit_code == 7
    assert compared(before, run_with_seconds([16.0] * 3), tolerance=400.0).exit_code == 0


def test_deliveries_of_a_short_run_are_not_judged():
    before, fewer = (run_with_seconds([5.0] * 4, delivered=[count] * 4) for count in (1000, 800))

    assert verdict(compared(before, fewer), "delivery.deliveries_per_s")[0] is Change.NOT_JUDGED


def test_fewer_deliveries_count_when_the_seconds_show_it():
    many = run_with_seconds([5.0] * 10, delivered=[1000 + at for at in range(10)])
    fewer = run_with_seconds([5.0] * 10, delivered=[800 + at for at in range(10)])
    gap = run_with_seconds([5.0] * 10, delivered=[1000 + at for at in range(8)] + [0, 0])

    assert verdict(compared(many, fewer), "delivery.deliveries_per_s") == (Change.WORSE, "")
    assert verdict(compared(many, gap), "delivery.deliveries_per_s")[0] is Change.SAME
