"""Reports on runs that prove nothing: a generator that did not keep up, processes that died, early ends."""

import json
from dataclasses import replace

import pytest

from sim.measure.ledger import Delivery
from sim.report.headline import facts_line, verdict_line
from sim.report.model import Verdict
from sim.report.reading import read_report
from sim.report.summary import summary_text
from sim.run.messages import PublishProgress
from sim.run.process import WorkerHungError
from sim.scenario.expect import limit_to, parse_expectation
from tests.sim.kit import scenario_of
from tests.sim.run.outcomes import DIED, PHASES, judged, published, result


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"results": [result(cpu=97.0)]}, "the load generator used 97% of a core, over 90%"),
        ({"results": [result(lag_ms=80.0)]}, "the load generator lagged 80 ms, over 50 ms"),
        ({"published": published(lag_health_ms=80.0)}, "the load generator lagged 80 ms, over 50 ms"),
        ({"published": published(lag_ms=80.0)}, "pushes began 80 ms late (p99), over 50 ms"),
        ({"published": None}, "the publisher did not finish its schedule"),
        ({"workers": 3}, "2 of 3 workers gave no result in time"),
        ({"dead": [DIED]}, "the load generator broke: worker 1 ended with exit code -9"),
    ],
    ids=["cpu", "worker lag", "publisher lag", "send lag", "no publisher", "silent workers", "dead worker"],
)
def test_a_generator_that_did_not_keep_up_makes_the_run_invalid_whatever_was_expected(changes, reason):
    for expect in (["latency.p50 < 1s"], ["latency.p50 < 1ms"]):
        report = judged(expect=expect, **changes)

        assert report.verdict is Verdict.INVALID
        assert report.exit_code == 5
        assert report.reasons[0] == reason


def test_a_dead_process_is_the_only_thing_said_of_processes():
    report = judged(dead=[DIED], results=[], published=None, workers=2)

    assert report.reasons == ("the load generator broke: worker 1 ended with exit code -9",)


def test_what_died_with_a_worker_makes_no_expectation_fail_and_none_hold():
    scenario = scenario_of(count=6, phases=PHASES)
    lossy = [Delivery(), Delivery(expected=40, lost=4), Delivery(expected=20)]
    found = [parse_expectation(text, PHASES) for text in ("delivery.lost == 0", "publish.errors == 0")]

    report = judged(
        scenario=replace(scenario, expect=tuple(found)), dead=[DIED], results=[result(deliveries=lossy)], workers=2
    )

    assert [(one.value, one.passed, one.reason) for one in report.expect] == [
        (None, None, "not known: worker 1 died"),
        (None, None, "not known: worker 1 died"),
    ]
    assert report.reasons == ("the load generator broke: worker 1 ended with exit code -9",)
    assert verdict_line(report)[:2] == ("INVALID", "worker 1 died: no word on the cluster")
    assert "3 of 6 clients" in facts_line(report)
    # What the other one's clients got, and what was published, is known.
    assert (report.publish.messages, report.delivery.expected, report.delivery.lost) == (30, 60, 4)
    shown = summary_text(report)
    assert "unknown  delivery.lost == 0" in shown
    assert "not known: worker 1 died" in shown
    assert "ok  " not in shown
    assert "FAILED" not in shown


def test_what_a_publisher_had_told_before_it_died_is_in_the_report():
    told = PublishProgress(41, 2, 900, {(0, 0): 5, (0, 1): 36}, {(0, 1): 2})
    hung = WorkerHungError("publisher", "nothing came from it for 10 s")

    report = judged(dead=[hung], published=None, pushing=told, expect=["publish.errors == 0"], end_s=3.0)

    assert (report.publish.messages, report.publish.errors, report.publish.rate_per_s) == (36, 2, 18.0)
    assert report.expect[0].reason == "not known: publisher hung"
    assert report.reasons[0] == "the load generator broke: publisher hung: nothing came from it for 10 s"
    shown = " ".join(summary_text(report).split())
    assert (
        "Not known: the publisher hung, so nobody can tell what was to be delivered. Clients read 50 messages." in shown
    )
    assert "nothing was published" not in shown


def test_an_invalid_run_that_was_no_bottleneck_is_not_called_one():
    lagging, failed = judged(results=[result(lag_ms=80.0)]), judged(failed_events=["kill comet-1: no"])

    assert verdict_line(lagging)[1] == "the load generator was the bottleneck: no word on the cluster"
    assert verdict_line(failed)[1] == "the run did not go as planned: no word on the cluster"
    assert [report.generator.overloaded for report in (lagging, failed)] == [True, False]


def test_a_report_of_a_broken_run_is_read_back_as_it_was():
    report = judged(dead=[DIED], expect=["delivery.lost == 0"], workers=2)

    document = report.to_dict()

    assert document["expect"] == [{"expr": "delivery.lost == 0", "value": None, "pass": None}]
    assert document["generator"]["broken"] == ["worker 1 died"]
    assert read_report(json.loads(json.dumps(document))) == report


def test_a_run_that_was_ended_early_is_aborted_and_tells_what_there_was():
    late = limit_to(parse_expectation("latency.p50 < 5ms", PHASES), PHASES, from_s=4.0, to_s=None)

    report = judged(
        expect=["delivery.lost == 0", "phase.spike.latency.p50 < 1s", late],
        end_s=3.0,
        ended_by=["interrupted after 3.0 s of 6 s"],
    )

    assert (report.verdict, report.exit_code) == (Verdict.ABORTED, 6)
    assert report.reasons == (
        "interrupted after 3.0 s of 6 s",
        "phase.spike.latency.p50 < 1s: the run did not reach the phase spike",
        "latency.p50 < 5ms from 4s: the run did not reach that time",
    )
    assert [(phase.name, phase.duration_s) for phase in report.phases] == [("warmup", 1.0), ("steady", 2.0)]
    # The window cuts the phase in two segments; 20 and 10 messages of them in the 2 s there were.
    assert report.phases[1].publish.rate_per_s == 15.0


def test_an_event_that_could_not_be_carried_out_makes_the_run_invalid():
    report = judged(failed_events=["kill comet-1 at 1.5 s: comet-1 is starting, not running"])

    assert report.verdict is Verdict.INVALID
    assert report.reasons == (
        "an event could not be carried out: kill comet-1 at 1.5 s: comet-1 is starting, not running",
    )
