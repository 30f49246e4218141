from dataclasses import replace

import pytest

from imctl.cluster.inprocess import LocalCluster
from protocol.trace import Place, TracePoint
from sim.measure.hops import NOBODY_TELLS, SWITCHED_OFF, TraceBook, hop_report
from sim.publish.sampling import Reads, TracedPush
from sim.report.hops import HOPS, HopsReport, HopStats
from sim.report.hops_table import hops_table
from sim.report.model import RunReport, Verdict
from sim.report.summary import summary_text
from sim.run.runner import run_scenario
from sim.scenario.expect import evaluate, parse_expectation
from sim.scenario.publishing import Publisher, PublishTo
from sim.scenario.scenario import Phase
from tests.sim.kit import scenario_of
from tests.sim.run.outcomes import judged
from tests.sim.run.test_runner import target_of

MS = 1_000_000
PUSH = TracedPush(7 << 32 | 1, 101 * MS, 0, 3)


def at(place, at_ms, server="", *, trace=PUSH.trace, **facts):
    return TracePoint(trace, place, "node", round((101 + at_ms) * MS), server, **facts)


def way(server, sent_ms, began_ms, written_ms, clients):
    began_ns = round((101 + began_ms) * MS)
    return [at(Place.SENT, sent_ms, server), at(Place.WRITTEN, written_ms, server, began_ns=began_ns, clients=clients)]


START = [at(Place.ACCEPTED, 1), at(Place.PUBLISHED, 2), at(Place.READ, 4), at(Place.ROUTED, 10, calls=2)]


def report_of(points, latencies_ms=(), pushes=(PUSH,)):
    reads = Reads()
    for latency_ms in latencies_ms:
        reads.add(PUSH.intended_ns, 1, round(latency_ms * MS))
    return hop_report(pushes, {PUSH.trace: points}, reads)


def test_each_hop_is_the_time_between_two_nodes():
    report = report_of([*START, *way("comet-1", 11, 12, 12, 1)], [15.5])

    assert {name: getattr(report, name).max for name in HOPS} == {
        "publish": 1.0,
        "logic": 1.0,
        "bus": 2.0,
        "job": 7.0,
        "comet": 1.0,
        "wire": 3.5,
        "total": 15.5,
    }
    assert (report.traced, report.reason, report.job.count) == (1, "", 1)
    assert report.job.batching_percent == pytest.approx(6 / 7 * 100, abs=0.1)


def test_of_a_message_to_many_the_mean_receiver_counts_and_hops_add_up():
    # Three clients written to from 12 to 14 ms, one at 20: on the average at (3 * 13 + 20) / 4.
    points = [*START, *way("comet-1", 11, 12, 14, 3), *way("comet-2", 15, 20, 20, 1), *way("comet-3", 11, 90, 90, 0)]

    report = report_of(points, [14, 15, 16, 22])

    assert report.job.max == 12.0 - 4
    assert report.comet.max == 14.75 - 12
    assert report.wire.max == 16.75 - 14.75
    assert sum(getattr(report, name).max for name in HOPS[:-1]) == report.total.max == 16.75


def test_hops_behind_a_go_job_are_missing_and_it_says_so():
    report = report_of(START[:2], [15.5])

    assert [name for name in HOPS if getattr(report, name).count] == ["publish", "logic", "total"]
    assert (report.job.p50, report.job.batching_percent) == (None, None)
    assert report.reason == "nobody told of bus, job, comet, wire; Go nodes never do"


def test_behind_a_go_logic_nothing_is_known():
    report = report_of([], [15.5])

    assert report.reason == "logic told of none of the followed messages; a Go logic never does"
    assert report_of([], pushes=()).reason == "no message was followed"


def test_where_nobody_was_to_get_it_there_is_no_way_to_a_client():
    report = report_of([*START, *way("comet-1", 11, 12, 12, 0)])

    assert (report.job.count, report.comet.count, report.wire.count, report.total.count) == (1, 0, 0, 0)


async def test_points_are_collected_once_and_those_of_other_runs_are_passed_over():
    asked = []
    answers = [[START[0], at(Place.ACCEPTED, 1, trace=8 << 32 | 1)], [START[0], START[1]], []]

    async def read(after_ns):
        asked.append(after_ns)
        return answers[len(asked) - 1]

    book = TraceBook(read, 7)
    for _ in answers:
        await book.collect()

    assert book.points == {PUSH.trace: {START[0], START[1]}}
    assert asked[0] > 0
    # Again what nodes may have noted late.
    assert asked[2] - asked[1] < 1_000_000_000


def run_report(**hops):
    return RunReport("room", 1, "here", "2026-01-01T00:00:00Z", Verdict.PASS, **hops)


def test_the_table_says_what_was_measured():
    hops = report_of([*START, *way("comet-1", 11, 12, 12, 1)], [15.5])
    table = hops_table(run_report(hops_ms=replace(hops, reason="nobody told of bus")))

    assert table is not None
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert list(rows) == list(HOPS)
    assert rows["job"] == ["to comet, 86% of it for room batches", "1", "7.00", "7.00", "7.00"]
    assert table.note.endswith("1 followed messages, each the mean over its receivers, in ms. Nobody told of bus.")


@pytest.mark.parametrize(("hops", "line"), [({}, ""), ({"reason": NOBODY_TELLS}, f"Not measured: {NOBODY_TELLS}.")])
def test_without_hops_the_summary_says_why(hops, line):
    text = summary_text(run_report(hops_ms=HopsReport(**hops)))

    assert ("Hops" in text) == bool(line)
    assert " ".join(line.split()) in " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "passed", "reason"),
    [
        ("hops.job.p99 < 8ms", True, ""),
        ("hops.total.p50 < 15ms", False, ""),
        ("hops.wire.max > 0ms", False, "nobody told of this hop"),
    ],
)
def test_an_expectation_can_name_a_hop(text, passed, reason):
    hops = report_of([*START, *way("comet-1", 11, 12, 12, 1)], [15.5])
    document = run_report(hops_ms=replace(hops, wire=HopStats())).to_dict()

    [result] = evaluate([parse_expectation(text, (Phase("steady", 1.0),))], document)

    assert (result.passed, result.reason) == (passed, reason)


# --- a whole run ------------------------------------------------------------


def small(trace_per_s):
    return replace(
        scenario_of(
            count=20,
            mids=100,
            publish=[Publisher(PublishTo.ROOM, "viewers", 40.0), Publisher(PublishTo.MID, "viewers", 20.0)],
            phases=(Phase("warmup", 0.2, measure=False), Phase("steady", 1.0)),
        ),
        trace_per_s=trace_per_s,
    )


async def test_hops_of_a_run_add_up_to_the_latency_of_its_deliveries(monkeypatch):
    for name in ("MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS"):
        monkeypatch.setattr(f"sim.run.outcome.{name}", 1e9)

    async with LocalCluster(comets=2) as cluster:

        async def read(after_ns):
            return cluster.traces()

        target = replace(target_of(cluster), tcp=tuple(_split(address) for address in cluster.tcp_all))
        result = await run_scenario(small(30.0), target, workers=2, read_traces=read)
        followed = {point.trace for point in cluster.traces()}

    hops, latency = result.report.hops_ms, result.report.latency_ms
    assert hops.reason == ""
    assert 15 <= hops.traced <= 40
    assert len(followed) >= hops.traced  # those of the phase that is not measured too
    assert {getattr(hops, name).count for name in HOPS} == {hops.traced}
    # Each hop is a part of the whole, and the largest whole no more than all largest parts together.
    assert all(0 <= getattr(hops, name).max <= hops.total.max for name in HOPS)
    assert hops.total.max <= sum(getattr(hops, name).max for name in HOPS[:-1]) + 0.01
    assert latency.min * 0.99 <= hops.total.p50 <= latency.max * 1.01
    assert hops.job.batching_percent is not None
    assert result.report.delivery.lost == result.report.delivery.unexpected == 0


def _split(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


async def test_where_nobody_asks_no_message_is_followed():
    async with LocalCluster() as cluster:
        result = await run_scenario(small(30.0), target_of(cluster), workers=1)
        points = cluster.traces()

    assert (result.report.hops_ms.traced, result.report.hops_ms.reason) == (0, NOBODY_TELLS)
    assert points == []


def test_what_the_scenario_switches_off_is_said():
    assert judged(scenario=small(0.0)).hops_ms.reason == SWITCHED_OFF
