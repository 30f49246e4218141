"""Room push latency as the simulator sees it: 40 messages a second to 1,000 clients in one room."""

from __future__ import annotations

from benchmarks.measure import Line
from benchmarks.processes import cluster
from sim.outcome import RunResult
from sim.runner import run_scenario
from sim.scenario import Phase, Population, Publisher, PublishTo, Scenario
from sim.target import Target

__all__ = ["run"]

_GOAL_MS = 5.0


async def run() -> list[Line]:
    """Run for 10 s after a second of warm-up."""
    population = Population("viewers", 1000, rooms=("live://1",), connect_rate_per_s=2000)
    publisher = Publisher(PublishTo.ROOM, "viewers", rate_per_s=40.0, size_bytes=64)
    phases = (Phase("warm", 1.0, measure=False), Phase("steady", 10.0))
    scenario = Scenario("latency", 1, (population,), (publisher,), phases)
    async with cluster() as info:
        host, _, port = info.comet_tcp[0].rpartition(":")
        http_host, _, http_port = info.logic_http.rpartition(":")
        comet = ((host, int(port)),)
        target = Target("bench", comet, comet, ((http_host, int(http_port)),))
        result: RunResult = await run_scenario(scenario, target, workers=1)
    report = result.report
    p50, p99 = report.latency_ms.p50 or 0.0, report.latency_ms.p99 or 0.0
    return [
        Line(
            "room push latency p50, 40/s to 1,000",
            "ms",
            p50,
            goal="at most 5 ms",
            met=report.latency_ms.p50 is not None and p50 <= _GOAL_MS and report.delivery.lost == 0,
            detail={"p99_ms": p99, "lost": report.delivery.lost},
        )
    ]
