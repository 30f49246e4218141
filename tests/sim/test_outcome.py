from collections import Counter

import pytest

from sim.expect import parse_expectation
from sim.histogram import Histogram
from sim.ledger import Delivery, StreamLog
from sim.messages import Health, Published, Result
from sim.nodes import NodeSample
from sim.outcome import Outcome, judge_run
from sim.report.model import EventReport, Verdict
from sim.scenario import Phase
from sim.swarm import SwarmResult
from tests.sim.kit import NOWHERE, scenario_of

MS = 1_000_000
PHASES = (Phase("warmup", 1.0, measure=False), Phase("steady", 4.0), Phase("spike", 1.0, publish_factor=4.0))


def histogram(*milliseconds):
    made = Histogram()
    for value in milliseconds:
        made.record(int(value * MS))
    return made


def health(*, cpu=10.0, lag_ms=1.0):
    return Health(cpu, histogram(lag_ms))


def result(*, deliveries=None, latency=None, cpu=10.0, lag_ms=1.0, failures=None, connected=3, failed=0, **more):
    return Result(
        SwarmResult(
            deliveries or [Delivery(expected=10), Delivery(expected=40), Delivery(expected=20)],
            latency or [histogram(*[900.0] * 10), histogram(*[2.0] * 40), histogram(*[8.0] * 20)],
            connected=connected,
            failed=failed,
            failures=Counter(failures or {}),
            **more,
        ),
        health(cpu=cpu, lag_ms=lag_ms),
        {},
    )


def published(*, lag_ms=0.1, errors=(0, 0, 0), failures=None, lag_health_ms=1.0):
    return Published(
        {0: StreamLog()},
        [histogram(*[lag_ms] * n) for n in (5, 20, 10)],
        list(errors),
        failures or {},
        {0: 5, 1: 20, 5: 10},
        70,
        health(lag_ms=lag_health_ms),
    )


def judged(*, expect=(), **changes):
    scenario = scenario_of(phases=PHASES, expect=[parse_expectation(one, PHASES) for one in expect])
    parts = {
        "scenario": scenario,
        "target": NOWHERE,
        "started_at": "2026-01-01T00:00:00Z",
        "connect_s": 0.5,
        "published": published(),
        "results": [result()],
        "seconds": {0: histogram(1, 2), 1: histogram(3)},
        "alive": {0: 3, 1: 2},
        "before": [],
        "after": [],
        "dead": [],
        "workers": 1,
        "machine": {"cores": 2},
    }
    return judge_run(Outcome(**{**parts, **changes})).report


def test_only_measured_phases_count_in_the_whole():
    report = judged()

    assert report.delivery.expected == 60
    assert report.latency_ms.count == 60
    assert report.latency_ms.max == 8.0
    assert report.publish.messages == 30
    assert report.publish.rate_per_s == 6.0  # 30 in the 5 measured seconds
    assert [phase.delivery.expected for phase in report.phases] == [10, 40, 20]
    assert report.phases[0].latency_ms.p50 == pytest.approx(900, rel=0.005)
    assert (report.verdict, report.reasons) == (Verdict.PASS, ())


def test_results_of_workers_are_added_up():
    lossy = [Delivery(), Delivery(expected=5, lost=2, duplicated=1, reordered=3, unexpected=4), Delivery()]

    report = judged(results=[result(), result(deliveries=lossy, connected=2, failed=1)], workers=2)

    delivery = report.delivery
    assert (delivery.expected, delivery.delivered, delivery.lost) == (65, 63, 2)
    assert (delivery.duplicated, delivery.reordered, delivery.unexpected) == (1, 3, 4)
    assert report.latency_ms.count == 120
    assert (report.clients.connected, report.clients.failed, report.clients.connects_per_s) == (5, 1, 10.0)


def test_an_expectation_that_fails_is_the_first_reason_and_what_went_wrong_follows():
    report = judged(
        expect=["latency.p50 < 1ms", "delivery.lost == 0"],
        results=[result(failures={"no auth reply in time": 2})],
        published=published(failures={"HTTP status 500": 3}),
    )

    assert report.verdict is Verdict.FAIL
    assert report.exit_code == 1
    assert report.reasons[0].startswith("latency.p50 < 1ms: was 2")
    assert report.reasons[1:] == ("2 clients: no auth reply in time", "3 pushes: HTTP status 500")
    assert [one.passed for one in report.expect] == [False, True]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"results": [result(cpu=97.0)]}, "the load generator used 97% of a core, over 90%"),
        ({"results": [result(lag_ms=80.0)]}, "the load generator lagged 80 ms, over 50 ms"),
        ({"published": published(lag_health_ms=80.0)}, "the load generator lagged 80 ms, over 50 ms"),
        ({"published": published(lag_ms=80.0)}, "pushes began 80 ms late (p99), over 50 ms"),
        ({"published": None}, "the publisher did not finish its schedule"),
        ({"workers": 3}, "2 of 3 workers gave no result in time"),
        ({"dead": ["worker 1 ended with exit code -9"]}, "the load generator broke: worker 1 ended with exit code -9"),
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
    report = judged(dead=["worker 1 ended"], results=[], published=None, workers=2)

    assert report.reasons == ("the load generator broke: worker 1 ended",)


def sample(name="comet-1", *, pid=1, cpu_s=1.0, **drops):
    return NodeSample(name, pid, cpu_s, 1000, {key.replace("__", "."): count for key, count in drops.items()})


def lost(count, **more):
    return [result(deliveries=[Delivery(), Delivery(expected=40, lost=count, **more), Delivery()])]


def test_losses_are_told_by_the_place_that_counted_the_drop():
    report = judged(
        results=lost(10, lost_dead=3),
        before=[sample(comet__slow_client=5), sample("core", job__full=1)],
        after=[sample(comet__slow_client=9), sample("core", job__full=1)],
    )

    assert report.delivery.lost_at == {"comet.slow_client": 4, "client.connection_lost": 3, "unknown": 3}
    assert [(node.name, dict(node.drops)) for node in report.nodes] == [
        ("comet-1", {"comet.slow_client": 4}),
        ("core", {}),
    ]


def test_the_places_of_losses_are_no_more_than_the_losses():
    report = judged(results=lost(10, lost_dead=8), after=[sample(comet__unknown_key=50, comet__slow_client=60)])

    assert report.delivery.lost_at == {"client.connection_lost": 8, "comet.slow_client": 2}
    assert dict(report.nodes[0].drops) == {"comet.unknown_key": 50, "comet.slow_client": 60}


def test_drops_without_a_loss_are_not_losses():
    report = judged(before=[sample()], after=[sample(comet__slow_client=9)])

    assert report.delivery.lost_at == {}


def test_a_node_that_was_restarted_counts_from_zero():
    report = judged(
        results=lost(2),
        before=[sample(pid=1, cpu_s=50.0, comet__slow_client=100)],
        after=[sample(pid=2, cpu_s=0.25, comet__slow_client=2)],
    )

    assert report.delivery.lost_at == {"comet.slow_client": 2}
    assert (report.nodes[0].cpu_s, dict(report.nodes[0].drops)) == (0.25, {"comet.slow_client": 2})


def test_cpu_of_a_node_is_that_of_the_run_and_none_where_it_does_not_tell():
    report = judged(
        before=[sample(cpu_s=1.0), sample("other", cpu_s=None)], after=[sample(cpu_s=3.5), sample("other", cpu_s=None)]
    )

    assert [node.cpu_s for node in report.nodes] == [2.5, None]


def test_series_has_a_row_a_second_with_its_phase():
    rows = judged().series

    assert [(row.at_s, row.phase, row.connected, row.messages, row.delivered) for row in rows] == [
        (0, "warmup", 3, 5, 2),
        (1, "steady", 2, 20, 1),
        (2, "steady", 2, 0, 0),
        (3, "steady", 2, 0, 0),
        (4, "steady", 2, 0, 0),
        (5, "spike", 2, 10, 0),
    ]
    assert rows[2].p50_ms is None


def test_nothing_published_is_no_zero_latency():
    empty = [result(deliveries=[Delivery()] * 3, latency=[Histogram()] * 3)]

    report = judged(results=empty, expect=["latency.p99 < 1s"])

    assert report.latency_ms.p99 is None
    assert report.verdict is Verdict.FAIL


def test_an_event_on_clients_is_one_whatever_the_number_of_workers():
    again = EventReport(2.001, "disconnect", "viewers", 5)
    workers = [
        {0: EventReport(1.499, "disconnect", "viewers", 3, None), 1: again},
        {0: EventReport(1.501, "disconnect", "viewers", 4, None), 1: again},
    ]
    node = EventReport(1.6, "kill", "comet-1", 1)

    report = judged(results=[result(events=events) for events in workers], workers=2, node_events=[node])

    assert report.events == (
        EventReport(1.499, "disconnect", "viewers", 7),
        node,
        EventReport(2.001, "disconnect", "viewers", 10),
    )


def test_two_events_of_a_kind_in_one_second_stay_two():
    events = {0: EventReport(1.2, "change_room", "viewers", 3), 1: EventReport(1.3, "change_room", "viewers", 4)}

    assert [event.count for event in judged(results=[result(events=events)]).events] == [3, 4]


def test_an_event_that_could_not_be_carried_out_makes_the_run_invalid():
    report = judged(failed_events=["kill comet-1 at 1.5 s: comet-1 is starting, not running"])

    assert report.verdict is Verdict.INVALID
    assert report.reasons == (
        "an event could not be carried out: kill comet-1 at 1.5 s: comet-1 is starting, not running",
    )


def test_connections_that_ended_and_attempts_to_come_back_are_told():
    again = Counter({"connect: refused": 7})
    results = [result(lost_connections=3, reconnects=1, away=2, again_failures=again)] * 2

    report = judged(results=results, workers=2, expect=["delivery.lost > 0"])

    assert (report.clients.disconnected, report.clients.reconnects) == (6, 2)
    assert report.reasons[1:] == (
        "6 clients: connection ended during the run",
        "4 clients: on their way back when the run ended",
        "14 attempts to come back: connect: refused",
    )
