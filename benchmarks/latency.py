"""Room push latency as the simulator sees it: 40 messages a second to 1,000 clients in one room."""

from __future__ import annotations

from benchmarks.fanout import raw_write_us
from benchmarks.measure import Line
from benchmarks.processes import cluster
from sim.run.outcome import RunResult
from sim.run.runner import run_scenario
from sim.run.target import Target
from sim.scenario.scenario import Phase, Population, Publisher, PublishTo, Scenario

__all__ = ["run"]

_CLIENTS = 1000


async def run() -> list[Line]:
    """Run for 10 s after a second of warm-up."""
    population = Population("viewers", _CLIENTS, rooms=("live://1",), connect_rate_per_s=2000)
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
    # 5 ms where a raw write costs 5 us. The median client waits for half of the writes, which no server can avoid; the
    # other half is what there is for all before them and for the reading. Every part of both is system calls and
    # wake-ups, which a slower machine has slower alike.
    raw_ms = await raw_write_us() * _CLIENTS / 1000
    p50, p99 = report.latency_ms.p50 or 0.0, report.latency_ms.p99 or 0.0
    return [
        Line(
            "room push latency p50, 40/s to 1,000",
            "ms",
            p50,
            raw_ms,
            raw_ms / p50 if p50 else None,
            "at most a raw fan-out, to the last client (5 ms where a write costs 5 us)",
            report.latency_ms.p50 is not None and p50 <= raw_ms and report.delivery.lost == 0,
            {"p99_ms": p99, "lost": report.delivery.lost},
        )
    ]
