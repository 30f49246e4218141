import pytest

from sim.report.model import RunReport, Verdict
from sim.scenario.expect import evaluate, explain, parse_expectation
from tests.sim.scenario.judging import PHASES, REPORT, judge


@pytest.mark.parametrize(
    ("text", "value", "passed"),
    [
        ("latency.p99 < 5ms", 4.0, True),
        ("latency.p99 < 4ms", 4.0, False),
        ("latency.p99 <= 4ms", 4.0, True),
        ("latency.min > 0.5ms", 0.5, False),
        ("latency.count >= 100", 100.0, True),
        ("phase.steady.latency.p50 == 1ms", 1.0, True),
        ("phase.steady.delivery.lost == 0", 3.0, False),
        ("phase.spike.delivery.expected == 0", 0.0, True),
        ("publish.send_lag.p99 < 1ms", 0.2, True),
        ("publish.errors != 1", 1.0, False),
        ("clients.failed == 0", 1.0, False),
        ("clients.connects_per_s > 100", 500.0, True),
        ("delivery.unexpected == 4", 4.0, True),
        ("delivery.lost_at.comet.slow_client == 0", 3.0, False),
        ("delivery.lost_at.job.queue_full == 0", 0.0, True),
        ("node.comet-1.rss < 200MB", 120e6, True),
        ("node.comet-1.drops == 0", 4.0, False),
        ("node.comet-1.drops.comet.auth_failed == 1", 1.0, True),
        ("node.comet-1.drops.comet.other == 0", 0.0, True),
        ("generator.cpu < 80%", 41.0, True),
        ("generator.loop_lag < 1ms", 1.5, False),
    ],
)
def test_an_expectation_is_judged_by_the_result(text, value, passed):
    result = judge(text)

    assert (result.expr, result.value, result.passed, result.reason) == (text, value, passed, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("phase.spike.latency.p99 < 1h", "nothing was delivered in spike"),
        ("phase.spike.delivery.lost == 0", "no delivery was expected in spike"),
        ("phase.spike.publish.errors == 0", "nothing was published in spike"),
        ("phase.spike.publish.send_lag.max < 1s", "nothing was published in spike"),
        ("node.nobody.rss < 1GB", "no node nobody; the result has comet-1, far"),
        ("node.far.rss < 1GB", "far does not tell its rss"),
        ("node.far.cpu != 1s", "far does not tell its cpu"),
    ],
)
def test_what_was_not_measured_never_passes(text, reason):
    result = judge(text)

    assert (result.value, result.passed, result.reason) == (None, False, reason)


def test_a_run_that_ended_early_fails_the_expectations_of_later_phases():
    (result,) = evaluate([parse_expectation("phase.spike.delivery.expected == 0", PHASES)], {**REPORT, "phases": []})

    assert (result.passed, result.reason) == (False, "the run did not reach the phase spike")


def test_an_empty_run_passes_nothing():
    empty = RunReport("a", 1, "t", "x", Verdict.PASS).to_dict()
    texts = ["delivery.lost == 0", "delivery.duplicated == 0", "publish.errors == 0", "latency.p99 < 1h",
             "delivery.lost_at.comet.slow_client == 0", "delivery.deliveries_per_s >= 0"]  # fmt: skip

    results = evaluate([parse_expectation(text, ()) for text in texts], empty)

    assert [result.passed for result in results] == [False] * len(texts)
    assert all(result.reason for result in results)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("population.viewers.latency.p99 < 5ms", 4.0),
        ("population.viewers.delivery.lost_percent <= 3%", 3.0),
        ("publisher.chat.publish.errors == 1", 1.0),
        ("publisher.chat.fanout.complete == 9", 9.0),
        ("fanout.complete_percent >= 90%", 90.0),
        ("phase.steady.fanout.spread.p99 < 3ms", 2.0),
        ("node.comet-1.cpu_percent < 90%", 12.5),
        ("node.comet-1.rss_max_bytes < 1GB", 130e6),
        ("delivery.lost_at.comet-1.killed == 0", 0.0),
    ],
)
def test_what_an_expectation_can_be_limited_to(text, value):
    result = judge(text)

    assert (result.value, result.passed) == (value, True)


def test_of_all_nodes_together_numbers_are_added_up():
    nodes = [{"name": name, "rss_bytes": 100, "drops": {"a.b": 2, "c.d": 1}} for name in ("core", "comet-1")]
    texts = ["nodes.rss_bytes < 1KB", "nodes.drops.a.b == 4", "nodes.drops == 6", "nodes.cpu_percent < 5%"]

    results = evaluate([parse_expectation(text, PHASES) for text in texts], {**REPORT, "nodes": nodes})

    assert [result.value for result in results] == [200, 4, 6, None]
    assert results[-1].reason == "core does not tell its cpu_percent"


def test_explain_names_the_number_that_was():
    assert explain(judge("latency.p99 < 1ms")) == "latency.p99 < 1ms: was 4 ms"
    assert explain(judge("node.comet-1.rss < 1MB")) == "node.comet-1.rss < 1MB: was 120 MB"
    assert explain(judge("phase.spike.delivery.lost == 0")) == (
        "phase.spike.delivery.lost == 0: no delivery was expected in spike"
    )
