"""A report, and expectations judged by it."""

from sim.report.model import (
    ClientsReport,
    DeliveryReport,
    FanoutReport,
    GeneratorReport,
    LagStats,
    LatencyStats,
    NodeReport,
    PhaseReport,
    PopulationReport,
    PublisherReport,
    PublishReport,
    RunReport,
    SpreadStats,
    Verdict,
)
from sim.scenario.expect import evaluate, parse_expectation
from sim.scenario.scenario import Phase

__all__ = ["DELIVERY", "FANOUT", "LATENCY", "NAMES", "PHASES", "PUBLISH", "REPORT", "judge"]

PHASES = (Phase("warmup", 1, measure=False), Phase("steady", 1), Phase("spike", 1))
LATENCY = LatencyStats(100, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
PUBLISH = PublishReport(10, 1, 40.0, LagStats(0.1, 0.2, 0.3))
DELIVERY = DeliveryReport(100, 97, 3, 1, 2, 4, 970.0, {"comet.slow_client": 3}, 3.0)
FANOUT = FanoutReport(10, 9, 90.0, SpreadStats(1.0, 2.0, 3.0))
REPORT = RunReport(
    scenario="a",
    seed=1,
    target="t",
    started_at="2026-01-01T00:00:00Z",
    verdict=Verdict.PASS,
    clients=ClientsReport(20, 19, 1, 500.0, 2),
    publish=PUBLISH,
    delivery=DELIVERY,
    latency_ms=LATENCY,
    phases=(PhaseReport("steady", 1, True, PUBLISH, DELIVERY, LATENCY, FANOUT), PhaseReport("spike", 1)),
    fanout=FANOUT,
    populations=(PopulationReport("viewers", DELIVERY, LATENCY),),
    publishers=(PublisherReport("chat", PUBLISH, DELIVERY, LATENCY, FANOUT),),
    generator=GeneratorReport(2, 41.0, 1.5),
    nodes=(
        NodeReport("comet-1", 7, 1.5, 120_000_000, {"comet.slow_client": 3, "comet.auth_failed": 1}, 12.5, 130_000_000),
        NodeReport("far"),
    ),
).to_dict()
NAMES = {"populations": ["viewers", "others"], "publishers": {"chat": "", "news": "sport", "sport": "news"}}


def judge(text):
    (result,) = evaluate([parse_expectation(text, PHASES, **NAMES)], REPORT)
    return result
