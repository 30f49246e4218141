import asyncio
from time import monotonic_ns

import pytest

from sim.measure.attribution import Drop, Outage
from sim.report.model import EventReport, NodeSeriesRow
from sim.run.nodes import NodeHistory, NodeSample, watch_nodes

S = 1_000_000_000


def node_series_of(samples):
    return NodeHistory(samples).series()


def test_cpu_is_counted_from_the_sample_before():
    rows = node_series_of(
        [
            (-S // 2, [NodeSample("core", 1, 10.0, 100)]),
            (S, [NodeSample("core", 1, 10.75, 110)]),
            (2 * S, [NodeSample("core", 1, 12.25, 120)]),
        ]
    )

    assert rows == (NodeSeriesRow(1.0, "core", 50.0, 110), NodeSeriesRow(2.0, "core", 150.0, 120))


def test_a_node_that_was_restarted_or_tells_nothing_has_no_cpu():
    rows = node_series_of(
        [
            (0, [NodeSample("core", 1, 10.0, 100), NodeSample("far")]),
            (S, [NodeSample("core", 2, 0.5, 50), NodeSample("far")]),
            (2 * S, [NodeSample("far"), NodeSample("core", 2, 0.75, 50)]),
        ]
    )

    assert [(row.at_s, row.name, row.cpu_percent, row.rss_bytes) for row in rows] == [
        (0, "core", None, 100),
        (0, "far", None, None),
        (1, "core", None, 50),
        (1, "far", None, None),
        (2, "core", 25.0, 50),
        (2, "far", None, None),
    ]


def history(*samples):
    """Return the history of one node, told as (second, pid, CPU seconds, drops)."""
    return NodeHistory(
        [
            (int(at_s * S), [NodeSample("comet-1", pid, cpu_s, int(at_s * 100) + 100, drops)])
            for at_s, pid, cpu_s, drops in samples
        ]
    )


def test_cpu_and_drops_go_on_through_a_restart():
    found = history(
        (0, 1, 10.0, {"a.b": 5}), (1, 1, 10.5, {"a.b": 7}), (2, 2, 0.25, {"a.b": 1}), (3, 2, 0.75, {"a.b": 4})
    )

    [report] = found.reports()

    assert (report.pid, report.cpu_s, dict(report.drops)) == (2, 1.25, {"a.b": 6})
    assert report.cpu_percent == pytest.approx(41.7)
    assert (report.rss_bytes, report.rss_max_bytes) == (400, 400)
    assert found.drops() == (Drop(S, "a.b", 2), Drop(2 * S, "a.b", 1), Drop(3 * S, "a.b", 3))


def test_a_node_that_does_not_answer_has_dropped_nothing_and_forgets_nothing():
    found = history((0, 1, 0.0, {}), (1, 1, 0.5, {"a.b": 3}), (2, 1, 1.0, {}), (3, 1, 1.5, {"a.b": 4}))

    assert found.drops() == (Drop(S, "a.b", 3), Drop(3 * S, "a.b", 1))


def test_a_part_of_the_time_counts_from_the_sample_before_it():
    found = history(*((at_s, 1, 0.1 * at_s + (1.0 if at_s > 5 else 0.0), {}) for at_s in range(10)))

    assert [found.reports(from_s, to_s)[0].cpu_percent for from_s, to_s in ((2, 4), (5, 7), (0, 9))] == [
        10.0,
        pytest.approx(43.3),
        pytest.approx(21.1),
    ]
    assert found.reports(2, 4)[0].rss_max_bytes == 500


@pytest.mark.parametrize(
    ("event", "outage"),
    [
        (EventReport(2.0, "kill", "comet-1", 1), Outage("comet-1", "killed", S, 9 * S)),
        (EventReport(2.0, "restart", "comet-1", 1), Outage("comet-1", "restarted", S, 9 * S)),
        (EventReport(2.0, "pause", "comet-1", 1, 3.0), Outage("comet-1", "paused", S, 10 * S)),
    ],
)
def test_a_fault_of_the_scenario_is_a_time_of_trouble_until_the_node_is_back(event, outage):
    pids = (1, 1, 1, None, 2, 2) if event.do != "pause" else (1,) * 6

    found = history(*((at_s, pid, 0.0, {}) for at_s, pid in enumerate(pids)))

    assert found.outages([event, EventReport(1.0, "disconnect", "viewers", 3)]) == (outage,)


def test_a_process_that_ended_without_being_asked_is_told_so():
    found = history(*((at_s, pid, 0.0, {}) for at_s, pid in enumerate((1, 1, 2, 2))))

    assert found.outages([]) == (Outage("comet-1", "died", 0, 7 * S),)


async def test_nodes_are_asked_at_each_whole_second_until_cancelled():
    samples = []
    asked = asyncio.Event()

    async def sample(within_s):
        asked.set()
        return [NodeSample("core")]

    # It began 990 ms ago: the next whole second is near.
    t0_ns = monotonic_ns() - 990_000_000
    watching = asyncio.create_task(watch_nodes(sample, t0_ns, samples))
    await asyncio.wait_for(asked.wait(), 5)
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait([watching])

    [(at_ns, nodes)] = samples
    assert at_ns - t0_ns >= S
    assert nodes == [NodeSample("core")]


async def test_what_the_sampler_raises_ends_the_watching():
    async def sample(within_s):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await watch_nodes(sample, monotonic_ns() - 990_000_000, [])
