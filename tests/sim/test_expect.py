import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.expect import (
    EXPECTATION_PATTERN,
    ExpectationError,
    evaluate,
    explain,
    format_value,
    metric_paths,
    parse_expectation,
)
from sim.report.model import (
    ClientsReport,
    DeliveryReport,
    GeneratorReport,
    LagStats,
    LatencyStats,
    NodeReport,
    PhaseReport,
    PublishReport,
    RunReport,
    Verdict,
)
from sim.scenario import Phase

PHASES = (Phase("warmup", 1, measure=False), Phase("steady", 1), Phase("spike", 1))

LATENCY = LatencyStats(100, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
PUBLISH = PublishReport(10, 1, 40.0, LagStats(0.1, 0.2, 0.3))
DELIVERY = DeliveryReport(100, 97, 3, 1, 2, 4, 970.0, {"comet.slow_client": 3})
REPORT = RunReport(
    scenario="a",
    seed=1,
    target="t",
    started_at="2026-01-01T00:00:00Z",
    verdict=Verdict.PASS,
    clients=ClientsReport(20, 19, 1, 500.0, 2),
    publish=PUBLISH,
    delivery=DELIVERY,
    latency_ms=LATENCY,
    phases=(PhaseReport("steady", 1, True, PUBLISH, DELIVERY, LATENCY), PhaseReport("spike", 1)),
    generator=GeneratorReport(2, 41.0, 1.5),
    nodes=(
        NodeReport("comet-1", 7, 1.5, 120_000_000, {"comet.slow_client": 3, "comet.auth_failed": 1}),
        NodeReport("far"),
    ),
).to_dict()


def judge(text):
    (result,) = evaluate([parse_expectation(text, PHASES)], REPORT)
    return result


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("latency.p99 < 50ms", 50.0, "ms"),
        ("latency.p99 < 0.5s", 500.0, "ms"),
        ("phase.spike.latency.p999 >= 1m", 60_000.0, "ms"),
        ("publish.send_lag.max < 2ms", 2.0, "ms"),
        ("delivery.lost == 0", 0.0, ""),
        ("delivery.lost==0", 0.0, ""),
        ("delivery.deliveries_per_s > 1000", 1000.0, "/s"),
        ("delivery.deliveries_per_s > 1000/s", 1000.0, "/s"),
        ("publish.rate_per_s > 60/m", 1.0, "/s"),
        ("node.comet-1.rss < 200MB", 200e6, "bytes"),
        ("node.comet-1.cpu < 10s", 10.0, "s"),
        ("node.comet-1.drops.comet.slow_client == 0", 0.0, ""),
        ("delivery.lost_at.comet.slow_client != 3", 3.0, ""),
        ("generator.cpu <= 80%", 80.0, "%"),
        ("generator.cpu <= 80", 80.0, "%"),
    ],
)
def test_an_expectation_is_read_in_the_unit_of_its_metric(text, value, unit):
    expectation = parse_expectation(text, PHASES, line=3, column=5)

    assert (expectation.value, expectation.unit) == (pytest.approx(value), unit)
    assert (expectation.line, expectation.column) == (3, 5)
    assert re.search(EXPECTATION_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "latency",
            '"latency" is not an expectation; expected <metric> <operator> <number and unit>',
            "latency.p99 < 50ms",
        ),
        ("latency.p99 <", '"latency.p99 <" is not an expectation', "latency.p99 < 50ms"),
        (
            "latency.p99 = 5ms",
            '"=" in "latency.p99 = 5ms" is not an operator; expected one of < <= > >= == !=',
            "latency.p99 == 5ms",
        ),
        ("latency.p99 => 5ms", '"=>" in "latency.p99 => 5ms" is not an operator', "latency.p99 < 5ms"),
        (
            "latency.p99 < 50",
            '"50" in "latency.p99 < 50" is no value of latency.p99; expected a duration',
            "latency.p99 < 50ms",
        ),
        (
            "delivery.lost == 0ms",
            '"0ms" in "delivery.lost == 0ms" is no value of delivery.lost; expected a number without a unit',
            "delivery.lost == 0",
        ),
        ("delivery.lost == none", "expected a number without a unit", "delivery.lost == 0"),
        (
            "node.a.rss < 5ms",
            '"5ms" in "node.a.rss < 5ms" is no value of node.a.rss; expected a size',
            "node.a.rss < 200MB",
        ),
        ("generator.cpu < 5ms", "expected a number such as 80%", "generator.cpu < 80%"),
        ("publish.rate_per_s > 5ms", "expected a number or a rate such as 1000/s", "publish.rate_per_s > 1000"),
        ("latency.p98 < 5ms", "latency.p98 is not in the result", "did you mean latency.p99?"),
        ("latency_ms.p99 < 5ms", "latency_ms.p99 is not in the result", "did you mean latency.p99?"),
        ("delivery.losd == 0", "delivery.losd is not in the result", "did you mean delivery.lost?"),
        ("node.a.rss_bytes < 5", "node.a.rss_bytes is not in the result", "did you mean node.a.rss?"),
        ("node.a < 5", "node.a is not in the result; expected a metric of cpu, drops, rss", "such as node.a.cpu"),
        (
            "zzz == 0",
            "expected a metric of clients, delivery, generator, latency, node, phase, publish",
            "such as latency.count",
        ),
        (
            "phase.spik.latency.p99 < 5ms",
            'phase.spik.latency.p99 names the phase "spik"; expected one of warmup, steady, spike',
            "did you mean phase.spike.latency.p99?",
        ),
        (
            "phase.warmup.latency.p99 < 5ms",
            'names the phase "warmup", which is not measured',
            "take measure: false away from warmup, or expect this of another phase",
        ),
        (
            "phase.spike.clients.failed == 0",
            "phase.spike.clients.failed is not in the result; expected a metric of delivery, latency, publish",
            None,
        ),
        ("phase.spike.lost_at.x == 0", "phase.spike.lost_at.x is not in the result", None),
        ("delivery.lost_at. == 0", "delivery.lost_at. is not in the result", None),
        ("hops.logic < 5ms", "hops.logic is not in the result", None),
    ],
)
def test_an_expectation_that_cannot_be_read_says_why(text, message, hint):
    with pytest.raises(ExpectationError) as caught:
        parse_expectation(text, PHASES)

    assert message in caught.value.message
    if hint is not None:
        assert caught.value.hint == hint


@given(st.text(max_size=40) | st.text(alphabet="latency.p9 <>=!0ms%/.phase.steady.", max_size=40))
def test_any_text_is_an_expectation_or_an_error(text):
    with contextlib.suppress(ExpectationError):  # anything else is a fault
        parse_expectation(text, PHASES)


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


def test_every_metric_can_be_parsed_and_judged():
    units = ("0", "1ms", "1KB")
    for path in metric_paths(PHASES):
        path = path.replace("NODE", "comet-1").replace("PLACE", "comet.slow_client")
        if path.startswith("phase.warmup"):
            continue
        parsed = []
        for value in units:
            try:
                parsed.append(parse_expectation(f"{path} >= {value}", PHASES))
            except ExpectationError:
                continue
        assert parsed, path
        (result,) = evaluate(parsed[:1], REPORT)
        assert (result.value is None) == bool(result.reason), path


def test_explain_names_the_number_that_was():
    assert explain(judge("latency.p99 < 1ms")) == "latency.p99 < 1ms: was 4 ms"
    assert explain(judge("node.comet-1.rss < 1MB")) == "node.comet-1.rss < 1MB: was 120 MB"
    assert explain(judge("phase.spike.delivery.lost == 0")) == (
        "phase.spike.delivery.lost == 0: no delivery was expected in spike"
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "-"),
        (61.23, "ms", "61.2 ms"),
        (1234.5, "ms", "1,234 ms"),
        (0.4213, "ms", "0.421 ms"),
        (31.0, "", "31"),
        (1_200_000.0, "", "1,200,000"),
        (39_997.9, "/s", "39,998/s"),
        (41.32, "%", "41.3%"),
        (1.5e6, "bytes", "1.5 MB"),
    ],
)
def test_format_value(value, unit, text):
    assert format_value(value, unit) == text
