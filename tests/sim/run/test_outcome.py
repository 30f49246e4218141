from array import array
from dataclasses import replace

import pytest

from sim.clients.memo import Entry
from sim.measure.fanout import Arrivals, Reached
from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery, StreamLog
from sim.report.model import EventReport, Verdict
from sim.scenario.expect import limit_to, parse_expectation
from sim.scenario.scenario import Population, Publisher, PublishTo, Scenario
from tests.sim.kit import scenario_of
from tests.sim.run.outcomes import MS, PHASES, S, histogram, judged, published, result


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
