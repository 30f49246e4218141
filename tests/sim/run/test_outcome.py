import json
from array import array
from collections import Counter
from dataclasses import replace

import pytest

from sim.clients.memo import Entry
from sim.clients.swarm import SwarmResult
from sim.measure.fanout import Arrivals, Reached
from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery, StreamLog
from sim.report.headline import facts_line, verdict_line
from sim.report.model import EventReport, Verdict
from sim.report.reading import read_report
from sim.report.summary import summary_text
from sim.run.messages import Health, Published, PublishProgress, Result
from sim.run.nodes import NodeSample
from sim.run.outcome import Outcome, judge_run
from sim.run.process import WorkerDiedError, WorkerHungError
from sim.scenario.expect import limit_to, parse_expectation
from sim.scenario.scenario import Phase, Population, Publisher, PublishTo, Scenario
from tests.sim.kit import NOWHERE, scenario_of

MS = 1_000_000
S = 1_000_000_000
DIED = WorkerDiedError("worker 1", -9, "")
PHASES = (Phase("warmup", 1.0, measure=False), Phase("steady", 4.0), Phase("spike", 1.0, publish_factor=4.0))


def histogram(*milliseconds):
    made = Histogram()
    for value in milliseconds:
        made.record(int(value * MS))
    return made


def health(*, cpu=10.0, lag_ms=1.0):
    return Health(cpu, histogram(lag_ms))


def result(*, deliveries=None, latency=None, cpu=10.0, lag_ms=1.0, failures=None, connected=3, failed=0, **more):
    """Return what a worker found of one population and one publisher, by phase."""
    latency = latency or [histogram(*[900.0] * 10), histogram(*[2.0] * 40), histogram(*[8.0] * 20)]
    return Result(
        SwarmResult(
            {(0, 0): deliveries or [Delivery(expected=10), Delivery(expected=40), Delivery(expected=20)]},
            {(0, 0, phase): one for phase, one in enumerate(latency)},
            connected=connected,
            failed=failed,
            failures=Counter(failures or {}),
            **more,
        ),
        health(cpu=cpu, lag_ms=lag_ms),
        {},
    )


def published(*, lag_ms=0.1, failures=None, lag_health_ms=1.0, logs=None, errors=None):
    return Published(
        logs or {0: StreamLog()},
        {(0, phase): histogram(*[lag_ms] * n) for phase, n in enumerate((5, 20, 10))},
        errors or {},
        failures or {},
        {0: 5, 1: 20, 5: 10},
        70,
        health(lag_ms=lag_health_ms),
        {(0, phase): n for phase, n in enumerate((5, 20, 10))},
    )


def judged(*, expect=(), before=(), after=(), **changes):
    expect = [parse_expectation(one, PHASES) if isinstance(one, str) else one for one in expect]
    scenario = scenario_of(phases=PHASES, expect=expect)
    parts = {
        "scenario": scenario,
        "target": NOWHERE,
        "started_at": "2026-01-01T00:00:00Z",
        "connect_s": 0.5,
        "published": published(),
        "results": [result()],
        "seconds": {0: histogram(1, 2), 1: histogram(3)},
        "alive": {0: 3, 1: 2},
        "dead": [],
        "workers": 1,
        "machine": {"cores": 2},
        "nodes": [(-S // 2, before), (7 * S, after)],
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


def test_a_run_that_expects_nothing_passes_and_its_reasons_say_what_was_lost():
    lossy = [Delivery(expected=9, lost=9), Delivery(expected=40, lost=2, duplicated=1), Delivery(expected=20)]

    report = judged(results=[result(deliveries=lossy, failures={"connection ended": 2})])

    assert (report.verdict, report.exit_code) == (Verdict.PASS, 0)
    assert report.reasons == (
        "no expectation was given, and 2 messages were lost, 1 duplicated",
        "2 clients: connection ended",
    )


def test_a_loss_within_what_was_expected_is_no_reason():
    lossy = [Delivery(), Delivery(expected=40, lost=2), Delivery()]

    report = judged(expect=["delivery.lost < 5"], results=[result(deliveries=lossy)])

    assert (report.verdict, report.reasons) == (Verdict.PASS, ())


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


def sample(name="comet-1", *, pid=1, cpu_s=1.0, **drops):
    return NodeSample(name, pid, cpu_s, 1000, {key.replace("__", "."): count for key, count in drops.items()})


def lost(*, whole=0, some=0, cut_off=0):
    """Return what was published, and a worker whose three clients of a room missed some of it at second 2.

    Args:
        whole: Messages that all three missed.
        some: Messages that one of them missed.
        cut_off: Deliveries to clients whose connection ended.
    """
    messages = whole + some
    log = StreamLog([1] * messages, [2 * S] * messages, [2 * S + MS] * messages, [1] * messages)
    missed = array("q", [3] * whole + [1] * some)
    found = result(
        deliveries=[Delivery(), Delivery(expected=40, lost=3 * whole + some + cut_off), Delivery()],
        reached={(0, 0, False): Reached(array("q", [3] * messages), missed)},
        lost_ends=Counter({(1, 0, 21): cut_off}),
    )
    return {"published": published(logs={0: log}), "results": [found]}


def test_losses_are_told_by_the_place_that_counted_the_drop():
    report = judged(
        **lost(some=7, cut_off=3),
        before=[sample(comet__slow_client=5), sample("core", job__full=1)],
        after=[sample(comet__slow_client=9), sample("core", job__full=1)],
    )

    assert report.delivery.lost_at == {"comet.slow_client": 4, "client.connection_lost": 3, "unknown": 3}
    assert report.phases[1].delivery.lost_at == report.delivery.lost_at
    assert report.phases[0].delivery.lost_at == {}
    assert [(node.name, dict(node.drops)) for node in report.nodes] == [
        ("comet-1", {"comet.slow_client": 4}),
        ("core", {}),
    ]


def test_a_drop_of_a_message_stands_for_everybody_who_was_to_get_it():
    report = judged(**lost(whole=2, some=1), before=[sample()], after=[sample(job__comet_timeout=2)])

    assert report.delivery.lost_at == {"job.comet_timeout": 6, "unknown": 1}


def test_the_places_of_losses_are_no_more_than_the_losses():
    report = judged(
        **lost(some=2, cut_off=8), before=[sample()], after=[sample(comet__unknown_key=50, comet__slow_client=60)]
    )

    assert sum(report.delivery.lost_at.values()) == report.delivery.lost == 10
    assert report.delivery.lost_at["client.connection_lost"] == 8
    assert dict(report.nodes[0].drops) == {"comet.unknown_key": 50, "comet.slow_client": 60}


def test_losses_of_a_worker_that_did_not_tell_which_are_unknown():
    report = judged(results=[result(deliveries=[Delivery(), Delivery(expected=40, lost=4), Delivery()])])

    assert report.delivery.lost_at == {"unknown": 4}


def test_who_was_cut_off_by_a_killed_comet_is_told_with_its_name():
    kill = EventReport(2.0, "kill", "comet-1", 1)
    target = replace(NOWHERE, names=("comet-1",))

    report = judged(**lost(cut_off=5), target=target, node_events=[kill])

    assert report.delivery.lost_at == {"comet-1.killed": 5}


def test_messages_that_reached_everybody_are_counted_and_the_spread_of_their_readers():
    log = StreamLog([1] * 3, [2 * S] * 3, [2 * S + MS] * 3, [1] * 3)
    arrivals = Arrivals([0])
    arrivals.note([Entry(0, 0, 0, 0), Entry(0, 1, 0, 0), Entry(0, 2, 0, 0)], 3 * S, 3 * S)
    arrivals.note([Entry(0, 1, 0, 0)], 3 * S, 3 * S + 30 * MS)
    one = result(arrivals=arrivals, reached={(0, 0, False): Reached(array("q", [1] * 3), array("q", [0] * 3))})
    other = result(reached={(0, 0, False): Reached(array("q", [2] * 3), array("q", [0, 0, 1]))})

    report = judged(published=published(logs={0: log}), results=[one, other], workers=2)

    assert (report.fanout.messages, report.fanout.complete) == (3, 2)
    assert report.fanout.complete_percent == pytest.approx(66.667, abs=0.001)
    assert report.fanout.spread_ms.p50 <= 0.001
    assert report.fanout.spread_ms.max == 30.0
    assert report.phases[1].fanout == report.fanout
    assert report.phases[2].fanout.messages == 0


def test_a_window_is_judged_by_what_was_planned_in_it():
    steady = limit_to(parse_expectation("latency.p50 < 5ms", PHASES), PHASES, from_s=2.0, to_s=3.0)
    # Segments: warmup, 1 to 2 s, 2 to 3 s, 3 to 5 s, spike.
    latency = {(0, 0, segment): histogram(*[value] * 4) for segment, value in ((1, 90.0), (2, 2.0), (3, 90.0))}
    found = result()
    found.swarm.latency = latency
    found.swarm.deliveries = {(0, 0): [Delivery(expected=4) for _ in range(5)]}

    report = judged(expect=[steady, "latency.p50 < 5ms"], results=[found])

    assert [(one.value, one.passed) for one in report.expect] == [(2.0, True), (pytest.approx(90, rel=0.01), False)]
    assert report.reasons[0].startswith("latency.p50 < 5ms: was 89.9")


def test_a_population_in_a_phase_is_judged_by_itself():
    scenario = scenario_of(phases=PHASES)
    other = replace(scenario.clients[0], name="others")
    expect = [
        parse_expectation(text, PHASES, populations=["viewers", "others"])
        for text in ("phase.spike.population.others.latency.p50 < 5ms", "population.viewers.latency.p50 < 5ms")
    ]
    found = result()
    found.swarm.latency |= {(1, 0, 2): histogram(70.0), (1, 0, 1): histogram(1.0)}

    report = judged(
        scenario=replace(scenario, clients=(*scenario.clients, other), expect=tuple(expect)), results=[found]
    )

    assert [one.passed for one in report.expect] == [False, True]
    assert report.expect[0].value == pytest.approx(70, rel=0.01)
    assert [one.name for one in report.populations] == ["viewers", "others"]
    assert [one.latency_ms.count for one in report.populations] == [60, 2]


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


def test_drops_without_a_loss_are_not_losses():
    report = judged(before=[sample()], after=[sample(comet__slow_client=9)])

    assert report.delivery.lost_at == {}


def test_a_node_that_was_restarted_counts_from_zero():
    report = judged(
        **lost(some=2),
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


@pytest.mark.parametrize(("rooms", "shares"), [(("r://1",), True), (("r://2",), False)])
def test_of_publishers_that_share_a_target_nobody_knows_whose_messages_came(rooms, shares):
    people = (Population("a", 2, rooms=("r://1",)), Population("b", 2, rooms=rooms))
    publish = tuple(Publisher(PublishTo.ROOM, name, 1.0, name=f"to-{name}") for name in "ab")
    logs = {0: StreamLog(), 1: StreamLog()}

    report = judged(scenario=Scenario("t", 1, people, publish, PHASES), published=published(logs=logs))

    first, second = report.publishers
    assert (first.publish.messages, second.publish.messages) == (30, 0)
    assert report.delivery.expected == 60
    if shares:
        assert (first.delivery, first.latency_ms, first.fanout) == (second.delivery, second.latency_ms, second.fanout)
        assert (first.delivery, first.latency_ms, first.fanout) == (None, None, None)
        assert first.reason == "it shares a target with to-b, and no message tells whose it is"
        assert second.reason == "it shares a target with to-a, and no message tells whose it is"
    else:
        assert (first.delivery.expected, first.latency_ms.count, second.delivery.expected) == (60, 60, 0)
        assert (first.reason, second.reason) == ("", "")
