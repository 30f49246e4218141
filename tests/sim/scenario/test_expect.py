import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.report.model import (
    ClientsReport,
    DeliveryReport,
    FanoutReport,
    GeneratorReport,
    LagStats,
    LatencyStats,
    NodeReport,
    PhaseReport,
    PopulationReport,
    PublisherReport,
    PublishReport,
    RunReport,
    SpreadStats,
    Verdict,
)
from sim.scenario.expect import (
    EXPECTATION_PATTERN,
    ExpectationError,
    end_early,
    evaluate,
    explain,
    find_event,
    format_value,
    limit_to,
    metric_paths,
    parse_expectation,
    without_window,
)
from sim.scenario.scenario import Event, EventKind, Phase

PHASES = (Phase("warmup", 1, measure=False), Phase("steady", 1), Phase("spike", 1))

LATENCY = LatencyStats(100, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
PUBLISH = PublishReport(10, 1, 40.0, LagStats(0.1, 0.2, 0.3))
DELIVERY = DeliveryReport(100, 97, 3, 1, 2, 4, 970.0, {"comet.slow_client": 3}, 3.0)
FANOUT = FanoutReport(10, 9, 90.0, SpreadStats(1.0, 2.0, 3.0))
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
    phases=(PhaseReport("steady", 1, True, PUBLISH, DELIVERY, LATENCY, FANOUT), PhaseReport("spike", 1)),
    fanout=FANOUT,
    populations=(PopulationReport("viewers", DELIVERY, LATENCY),),
    publishers=(PublisherReport("chat", PUBLISH, DELIVERY, LATENCY, FANOUT),),
    generator=GeneratorReport(2, 41.0, 1.5),
    nodes=(
        NodeReport("comet-1", 7, 1.5, 120_000_000, {"comet.slow_client": 3, "comet.auth_failed": 1}, 12.5, 130_000_000),
        NodeReport("far"),
    ),
).to_dict()


NAMES = {"populations": ["viewers", "others"], "publishers": {"chat": "", "news": "sport", "sport": "news"}}


def judge(text):
    (result,) = evaluate([parse_expectation(text, PHASES, **NAMES)], REPORT)
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


@pytest.mark.parametrize(
    ("window", "label", "span"),
    [
        ({"from_s": 1.0, "to_s": 2.5}, " from 1s to 2.5s", (1.0, 2.5)),
        ({"from_s": 1.0, "to_s": None}, " from 1s", (1.0, None)),
        ({"from_s": None, "to_s": 2.0}, " until 2s", (0.0, 2.0)),
        (
            {"from_s": None, "to_s": 1.0, "event": Event(1.5, EventKind.KILL, node="comet-1")},
            " from 0ms to 1s after kill comet-1",
            (1.5, 2.5),
        ),
    ],
)
def test_a_window_is_part_of_the_text_and_a_span_of_the_run(window, label, span):
    plain = parse_expectation("latency.p99 < 5ms", PHASES)

    limited = limit_to(plain, PHASES, **window)

    assert limited.expr == f"latency.p99 < 5ms{label}"
    assert (limited.from_s, limited.to_s) == span
    assert without_window(limited.expr) == plain.expr


@pytest.mark.parametrize(
    ("text", "window", "message"),
    [
        ("phase.steady.latency.p99 < 5ms", (1.0, 2.0), "is of a phase already"),
        ("clients.failed == 0", (1.0, 2.0), "clients.failed is of the whole run"),
        ("latency.p99 < 5ms", (2.0, 2.0), "the window ends at 2s and begins at 2s"),
        ("latency.p99 < 5ms", (3.0, None), "the window begins at 3s, and the run is over at 3s"),
        ("latency.p99 < 5ms", (0.0, 1.0), "nothing in the window is measured"),
    ],
)
def test_a_window_without_sense_is_refused(text, window, message):
    with pytest.raises(ExpectationError, match=message):
        limit_to(parse_expectation(text, PHASES), PHASES, from_s=window[0], to_s=window[1])


def test_memory_of_a_node_can_be_limited_to_a_time_that_is_not_measured():
    limited = limit_to(parse_expectation("nodes.rss_bytes < 1GB", PHASES), PHASES, from_s=0.0, to_s=1.0)

    assert limited.to_s == 1.0


EVENTS = (
    Event(1.0, EventKind.KILL, node="comet-1"),
    Event(2.0, EventKind.KILL, node="comet-1"),
    Event(1.5, EventKind.DISCONNECT, who="viewers"),
)


def test_an_event_is_found_by_what_it_does_and_where_that_is_not_enough_by_its_time():
    assert find_event("disconnect  viewers", EVENTS) is EVENTS[2]
    assert find_event("kill comet-1 at 2000ms", EVENTS) is EVENTS[1]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "kill comet-1",
            "2 events are kill comet-1; expected one of kill comet-1 at 1s, kill comet-1 at 2s",
            "kill comet",
        ),
        ("kill comet-2", 'no event is "kill comet-2"', "event: kill comet-1 at "),
        ("kill comet-1 at noon", '"noon" in "kill comet-1 at noon" is no time', ""),
    ],
)
def test_an_event_that_is_not_there_is_said_with_those_that_are(text, message, hint):
    with pytest.raises(ExpectationError) as caught:
        find_event(text, EVENTS)

    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "path", ["latency.p99", "clients.failed", "node.core.rss", "nodes.drops.a.b", "delivery.unexpected"]
)
def test_what_is_known_meanwhile_can_end_a_run(path):
    value = "5ms" if path.startswith("latency") else "5"

    ending = end_early(parse_expectation(f"{path} < {value if 'rss' not in path else '1GB'}", PHASES), after_s=3.0)

    assert (ending.abort, ending.after_s) == (True, 3.0)


@pytest.mark.parametrize(
    "path", ["delivery.lost", "fanout.complete", "generator.cpu", "delivery.lost_at.comet.slow_client"]
)
def test_what_is_only_known_at_the_end_cannot_end_a_run(path):
    with pytest.raises(ExpectationError, match="only known when the run is over"):
        end_early(parse_expectation(f"{path} < 5", PHASES), after_s=0.0)


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
        (99.9996, "%", "99.9996%"),
        (100.0, "%", "100%"),
        (1.5e6, "bytes", "1.5 MB"),
    ],
)
def test_format_value(value, unit, text):
    assert format_value(value, unit) == text
