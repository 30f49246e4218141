import random
from dataclasses import replace

import pytest

from sim.report.compare import compare_reports
from sim.report.model import Change, ClientsReport, DeliveryReport, PhaseReport, PublishReport, Verdict
from tests.sim.report.samples import latency_of, report_of, run_of


def compared(a, b, tolerance=10.0):
    return compare_reports(a, b, tolerance_percent=tolerance, names=("a.json", "b.json"))


def verdicts(comparison, *names):
    found = {metric.metric: metric.verdict for metric in comparison.metrics}
    return [found[name] for name in names] if len(names) > 1 else found[names[0]]


def why(comparison, name):
    return next(metric.why for metric in comparison.metrics if metric.metric == name)


def test_a_run_is_not_slower_than_itself():
    comparison = compared(report_of(), report_of())

    assert not comparison.slower
    assert verdicts(comparison, "latency.p99", "delivery.lost") == [Change.NOT_JUDGED, Change.SAME]  # of one second
    assert {metric.verdict for metric in comparison.metrics} == {Change.SAME, Change.SHOWN, Change.NOT_JUDGED}
    assert comparison.notes == ("the baseline did not pass: fail", "the second run did not pass: fail")


def test_beyond_the_tolerance_is_worse_and_named():
    comparison = compared(run_of(10), run_of(12))

    assert comparison.slower
    assert verdicts(comparison, "latency.p50", "latency.p99") == [Change.WORSE, Change.WORSE]
    assert comparison.reasons[0] == ("latency.p50: 12 ms, in the baseline 10 ms (+20%, over the tolerance of 10%)")


def test_within_the_tolerance_is_the_same():
    assert not compared(run_of(10), run_of(12), tolerance=25).slower


def test_a_millisecond_is_never_worse():
    comparison = compared(run_of(0.5), run_of(1.4))

    assert not comparison.slower
    assert why(comparison, "latency.p50") == "within 1 ms"


def test_the_error_of_the_histogram_is_never_worse():
    comparison = compared(run_of(1000), run_of(1010), tolerance=0)

    assert not comparison.slower
    assert why(comparison, "latency.p50") == "within the histogram's error"


def test_faster_is_better_by_the_same_rule():
    comparison = compared(run_of(12), run_of(10))

    assert verdicts(comparison, "latency.p99") is Change.BETTER
    assert not comparison.slower


@pytest.mark.parametrize(
    ("messages", "judged"),
    [
        (4, []),
        (5, ["p50"]),
        (29, ["p50", "p90"]),
        (59, ["p50", "p90", "p95"]),
        (299, ["p50", "p90", "p95", "p99"]),
        (2995, ["p50", "p90", "p95", "p99", "p999"]),
    ],
)
def test_a_percentile_needs_messages_enough_to_be_known(messages, judged):
    comparison = compared(run_of(10, messages=messages), run_of(100, messages=messages))

    found = {one.metric.removeprefix("latency."): one for one in comparison.metrics}
    worse = [key for key in ("p50", "p90", "p95", "p99", "p999") if found[key].verdict is Change.WORSE]
    assert worse == judged
    assert {found[key].verdict for key in ("p50", "p999")} - {Change.WORSE} <= {Change.NOT_JUDGED}


def test_a_percentile_of_too_few_messages_is_not_judged_however_alike_the_two_are():
    comparison = compared(run_of(10, messages=298), run_of(10, messages=3000))

    assert verdicts(comparison, "latency.p95", "latency.p99") == [Change.SAME, Change.NOT_JUDGED]
    assert why(comparison, "latency.p99") == "too few messages: 298 of 299"
    assert (comparison.unjudged, comparison.exit_code) == ("", 0)


def test_a_comparison_in_which_no_latency_could_be_judged_says_so():
    comparison = compared(run_of(10, messages=4), run_of(100, messages=4))

    assert (comparison.slower, comparison.unjudged) == (False, "too few messages: 4 of 5")
    assert comparison.exit_code == 9


def test_without_any_latency_there_is_nothing_that_could_not_be_judged():
    comparison = compared(run_of(), run_of())

    assert (comparison.unjudged, comparison.exit_code) == ("", 0)


def test_chance_alone_is_hardly_ever_slower():
    rng = random.Random(11)

    def run():
        values = [rng.lognormvariate(1.5, 0.8) for _ in range(400)]
        stats, buckets = latency_of(*values, repeat=50)
        return replace(run_of(1), latency_ms=stats, latency_buckets_ms=buckets, publish=PublishReport(400, 0, 100.0))

    slower = sum(compared(run(), run()).slower for _ in range(100))

    assert slower <= 5


def test_a_real_change_is_found_in_the_noise():
    rng = random.Random(11)

    def run(factor):
        values = [factor * rng.lognormvariate(1.5, 0.8) for _ in range(1200)]
        stats, buckets = latency_of(*values, repeat=50)
        return replace(run_of(1), latency_ms=stats, latency_buckets_ms=buckets, publish=PublishReport(1200, 0, 100.0))

    assert all(compared(run(1.0), run(1.6)).slower for _ in range(20))


@pytest.mark.parametrize("key", ["lost", "duplicated", "reordered", "unexpected"])
def test_every_single_fault_counts(key):
    before = DeliveryReport(expected=1000, delivered=1000, deliveries_per_s=1000.0)
    comparison = compared(run_of(5, delivery=before), run_of(5, delivery=replace(before, **{key: 1})))

    assert comparison.reasons == (f"delivery.{key}: 1, in the baseline 0",)


def test_fewer_deliveries_a_second_are_worse():
    before = DeliveryReport(deliveries_per_s=1000.0)

    assert compared(run_of(5, delivery=before), run_of(5, delivery=DeliveryReport(deliveries_per_s=899.0))).slower
    assert not compared(run_of(5, delivery=before), run_of(5, delivery=DeliveryReport(deliveries_per_s=901.0))).slower


def test_connecting_is_slower_by_half_a_second_at_least():
    def run(connects_per_s):
        return run_of(5, clients=ClientsReport(wanted=100, connected=100, connects_per_s=connects_per_s))

    assert not compared(run(1000.0), run(200.0)).slower  # 0.1 s and 0.5 s
    assert compared(run(100.0), run(50.0)).slower  # 1 s and 2 s


def test_measured_phases_are_compared_and_others_are_not():
    def run(p50):
        stats, _ = latency_of(p50)
        publish = PublishReport(5000, 0, 100.0)
        phases = [PhaseReport(name, 5.0, name != "warmup", publish, latency_ms=stats) for name in ("warmup", "a", "b")]
        return run_of(5, phases=tuple(phases))

    comparison = compared(run(5), run(50))

    assert {reason.split(".latency")[0] for reason in comparison.reasons} == {"phase.a", "phase.b"}


def test_what_makes_two_runs_hard_to_compare_is_said():
    other = run_of(5, messages=20_000, verdict=Verdict.INVALID, machine={"cores": 8})

    notes = compared(run_of(5, machine={"cores": 2}), replace(other, seed=9, scenario="mids")).notes

    assert notes == (
        "the second run did not pass: invalid",
        "not the same scenario: room and mids",
        "not the same seed: 7 and 9",
        "not the same messages: 10000 and 20000",
        "not the same machine's cores: 2 and 8",
    )


def test_what_one_run_did_not_measure_is_not_judged():
    comparison = compared(run_of(5), run_of())

    assert verdicts(comparison, "latency.p99") is Change.SHOWN
