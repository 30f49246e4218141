"""Scenarios with content, feeds and closed loops as a whole: real processes, a real cluster, and one real receiver."""

import asyncio
import contextlib
import json

from imctl.cluster.inprocess import LocalCluster
from protocol.aio.client import Client
from protocol.bodies import AuthToken
from protocol.errors import RemoteError
from sim.language.load import load_scenario
from sim.language.shipped import find_scenario
from sim.publish.stamp import TAIL_BYTES
from sim.report.model import Loop
from sim.run.runner import run_scenario
from tests.sim.run.test_runner import no_limits, target_of

__all__ = ["no_limits"]  # a fixture

SHORT = ["phases.warmup.duration=200ms"]


def is_exact(delivery):
    faults = (delivery.lost, delivery.duplicated, delivery.reordered, delivery.unexpected)
    return delivery.delivered == delivery.expected > 0 and faults == (0, 0, 0, 0)


async def test_every_kind_of_content_is_delivered_once_and_seen_as_it_was_written(no_limits):
    scenario = load_scenario(find_scenario("feed"), sets=SHORT, duration_s=1.5, env={})
    frames = []

    async def listen(client):
        with contextlib.suppress(RemoteError):
            async for frame in client:
                frames.append(frame)

    async with LocalCluster() as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        token = AuthToken(mid=999, room_id="live://1", accepts=(1000,))
        async with await Client.connect_tcp(host, int(port), token) as client:
            listening = asyncio.create_task(listen(client))
            report = (await run_scenario(scenario, target_of(cluster), workers=1)).report
            listening.cancel()
            await asyncio.wait([listening])

    assert is_exact(report.delivery)
    assert report.publish.messages == 60
    assert sum(publisher.publish.messages for publisher in report.publishers) == 60
    assert [publisher.loop for publisher in report.publishers] == [Loop.OPEN] * 3
    chats = [frame.body for frame in frames if frame.body.startswith(b"{")]
    assert len(chats) > 5
    names = scenario.feed("user").column("name")
    for body in chats:
        document = json.loads(body)  # as a receiver does, with the mark behind it
        assert body[:-TAIL_BYTES] == json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        assert document["from"] == names[int(document["text"].removeprefix("number ")) % len(names)]


async def test_a_closed_loop_is_driven_by_deliveries_and_marked_in_the_report(no_limits):
    sets = [*SHORT, "publish.writers.closed.think=20ms"]
    scenario = load_scenario(find_scenario("closed"), sets=sets, clients=20, duration_s=1.5, env={})

    async with LocalCluster() as cluster:
        report = (await run_scenario(scenario, target_of(cluster), workers=2)).report

    writers, clock = report.publishers
    assert is_exact(report.delivery)
    assert (writers.loop, clock.loop) == (Loop.CLOSED, Loop.OPEN)
    # It has no planned times, so it cannot be late. If deliveries were not told, each of the up to 60 had sent once.
    assert writers.publish.send_lag_ms.p50 is None
    assert clock.publish.send_lag_ms.p50 is not None
    assert writers.publish.messages > 120
    assert writers.latency_ms.count == writers.publish.messages
    assert not any("read by nobody" in reason for reason in report.reasons)
