import asyncio
from time import monotonic_ns

import pytest

from sim.nodes import NodeSample, node_series, watch_nodes
from sim.report.model import NodeSeriesRow

S = 1_000_000_000


def test_cpu_is_counted_from_the_sample_before():
    rows = node_series(
        [
            (-S // 2, [NodeSample("core", 1, 10.0, 100)]),
            (S, [NodeSample("core", 1, 10.75, 110)]),
            (2 * S, [NodeSample("core", 1, 12.25, 120)]),
        ]
    )

    assert rows == (NodeSeriesRow(1.0, "core", 50.0, 110), NodeSeriesRow(2.0, "core", 150.0, 120))


def test_a_node_that_was_restarted_or_tells_nothing_has_no_cpu():
    rows = node_series(
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
        (2, "far", None, None),
        (2, "core", 25.0, 50),
    ]


async def test_nodes_are_asked_at_each_whole_second_until_cancelled():
    samples = []
    asked = asyncio.Event()

    async def sample():
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
    async def sample():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await watch_nodes(sample, monotonic_ns() - 990_000_000, [])
