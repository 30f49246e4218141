"""What may be written as an expectation, and what a mistake is answered with."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.scenario.expect import (
    EXPECTATION_PATTERN,
    ExpectationError,
    evaluate,
    format_value,
    metric_paths,
    parse_expectation,
)
from tests.sim.scenario.judging import NAMES, PHASES, REPORT


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
        ("node.a.rss_mb < 5", "node.a.rss_mb is not in the result", "did you mean node.a.rss_bytes?"),
        (
            "node.a < 5",
            "node.a is not in the result; expected a metric of cpu, cpu_percent, drops, rss, rss_bytes, rss_max_bytes",
            "such as node.a.cpu_percent",
        ),
        (
            "nodes.memory < 5",
            "nodes.memory is not in the result; expected a metric of cpu",
            "such as nodes.cpu_percent",
        ),
        (
            "population.viewer.latency.p99 < 5ms",
            'population.viewer.latency.p99 names the population "viewer"; expected one of viewers, others',
            "did you mean population.viewers.latency.p99?",
        ),
        (
            "phase.steady.population.view.latency.p99 < 5ms",
            'names the population "view"; expected one of viewers, others',
            "did you mean population.viewers.latency.p99?",
        ),
        (
            "population.viewers.publish.errors == 0",
            "population.viewers.publish.errors is not in the result; expected a metric of delivery, latency",
            None,
        ),
        (
            "population.viewers.delivery.lost_at.comet.slow_client == 0",
            "population.viewers.delivery.lost_at.comet.slow_client is not in the result",
            None,
        ),
        (
            "publisher.news.latency.p99 < 5ms",
            'names the publisher "news", which shares a target with "sport", so their messages cannot be told apart',
            "expect this of the phase, or of the population",
        ),
        (
            "zzz == 0",
            "expected a metric of clients, delivery, fanout, generator, hops, latency, node, nodes, phase, population",
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
            "phase.spike.clients.failed is not in the result; expected a metric of delivery, fanout, latency, publish",
            None,
        ),
        ("phase.spike.lost_at.x == 0", "phase.spike.lost_at.x is not in the result", None),
        ("delivery.lost_at. == 0", "delivery.lost_at. is not in the result", None),
        ("hops.logic < 5ms", "hops.logic is not in the result", None),
    ],
)
def test_an_expectation_that_cannot_be_read_says_why(text, message, hint):
    with pytest.raises(ExpectationError) as caught:
        parse_expectation(text, PHASES, **NAMES)

    assert message in caught.value.message
    if hint is not None:
        assert caught.value.hint == hint


@given(st.text(max_size=40) | st.text(alphabet="latency.p9 <>=!0ms%/.phase.steady.", max_size=40))
def test_any_text_is_an_expectation_or_an_error(text):
    with contextlib.suppress(ExpectationError):  # anything else is a fault
        parse_expectation(text, PHASES)


def test_every_metric_can_be_parsed_and_judged():
    units = ("0", "1ms", "1KB")
    for path in metric_paths(PHASES):
        path = path.replace("NODE", "comet-1").replace("PLACE", "comet.slow_client")
        path = path.replace("population.NAME", "population.viewers").replace("publisher.NAME", "publisher.chat")
        if path.startswith("phase.warmup"):
            continue
        parsed = []
        for value in units:
            try:
                parsed.append(parse_expectation(f"{path} >= {value}", PHASES, **NAMES))
            except ExpectationError:
                continue
        assert parsed, path
        (result,) = evaluate(parsed[:1], REPORT)
        assert (result.value is None) == bool(result.reason), path


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
        (99.9996, "%", "99.9996%"),
        (100.0, "%", "100%"),
        (1.5e6, "bytes", "1.5 MB"),
    ],
)
def test_format_value(value, unit, text):
    assert format_value(value, unit) == text
