"""A report with something in every part of it."""

from __future__ import annotations

from sim.measure.histogram import Histogram
from sim.report.model import (
    ClientsReport,
    DeliveryReport,
    EventReport,
    ExpectResult,
    FanoutReport,
    GeneratorReport,
    LagStats,
    LatencyStats,
    NodeReport,
    NodeSeriesRow,
    PhaseReport,
    PopulationReport,
    PublisherReport,
    PublishReport,
    RunReport,
    SeriesRow,
    SpreadStats,
    Verdict,
)

__all__ = ["latency_of", "report_of", "run_of"]


def latency_of(*values_ms: float, repeat: int = 1) -> tuple[LatencyStats, tuple[tuple[float, float, int], ...]]:
    """Return the statistics and the buckets of some latencies, each counted so often."""
    if not values_ms:
        return LatencyStats(), ()
    histogram = Histogram()
    for value in values_ms:
        histogram.record(int(value * 1e6), repeat)
    percentiles = (round(histogram.percentile_ns(percent) / 1e6, 3) for percent in (50, 90, 95, 99, 99.9))
    stats = LatencyStats(histogram.count, histogram.min_ns / 1e6, *percentiles, histogram.max_ns / 1e6)
    return stats, tuple((low / 1e6, high / 1e6, count) for low, high, count in histogram.buckets())


def report_of(**parts: object) -> RunReport:
    """Return a failed run in which everything happened."""
    stats, buckets = latency_of(*(value / 10 for value in range(10, 1010)), repeat=5)
    publish = PublishReport(messages=1000, errors=3, rate_per_s=80.0, send_lag_ms=LagStats(0.1, 0.6, 2.3))
    delivery = DeliveryReport(
        expected=5031,
        delivered=5000,
        lost=31,
        duplicated=5,
        reordered=6,
        unexpected=7,
        deliveries_per_s=400.0,
        lost_at={"comet.slow_client": 30, "unknown": 1},
        lost_percent=0.6162,
    )
    fanout = FanoutReport(1000, 990, 99.0, SpreadStats(1.5, 12.25, 40.0))
    values: dict[str, object] = {
        "scenario": "room",
        "seed": 7,
        "target": "cluster default",
        "started_at": "2026-11-23T05:00:00Z",
        "verdict": Verdict.FAIL,
        "reasons": ("delivery.lost == 0: was 31", "phase.spike.latency.p99 < 200ms: nothing was delivered in spike"),
        "clients": ClientsReport(wanted=2000, connected=1999, failed=1, connects_per_s=998.2, reconnects=4),
        "publish": publish,
        "delivery": delivery,
        "latency_ms": stats,
        "phases": (
            PhaseReport("warmup", 2.0, False, publish, delivery, stats, fanout),
            PhaseReport("steady", 10.0, True, publish, delivery, stats, fanout),
            PhaseReport("spike", 0.5),
        ),
        "series": (
            SeriesRow(0, "warmup", 1999, 40, 2000, 4.0, 9.0, 7.0, 12.5, 0),
            SeriesRow(1, "warmup", 1999, 40, 0),
            SeriesRow(2, "steady", 1995, 40, 1900, 5.0, 11.0, 8.0, 14.5, 31),
        ),
        "generator": GeneratorReport(2, 41.3, 1.2),
        "nodes": (NodeReport("core", 11, 1.21, 88_000_000), NodeReport("comet-1", 12, 4.0, 121_000_000, {"a.b": 30})),
        "events": (EventReport(1.25, "disconnect", "viewers", 400), EventReport(2.0, "pause", "comet-1", 1, 2.0)),
        "expect": (
            ExpectResult("delivery.lost == 0", 31.0, False),
            ExpectResult("phase.spike.latency.p99 < 200ms", None, False, "ms", "nothing was delivered in spike"),
            ExpectResult("latency.p99 < 200ms", stats.p99, True, "ms"),
        ),
        "machine": {"system": "Linux 6.1", "cores": 2, "load_1m": None},
        "node_series": (
            NodeSeriesRow(1.01, "core", 20.5, 88_000_000),
            NodeSeriesRow(1.01, "comet-1", None, None),
            NodeSeriesRow(2.02, "core", 21.5, 88_100_000),
        ),
        "latency_buckets_ms": buckets,
        "fanout": fanout,
        "populations": (PopulationReport("viewers", delivery, stats), PopulationReport("bots|<b>")),
        "publishers": (
            PublisherReport("room-viewers", publish, delivery, stats, fanout),
            PublisherReport("chat", publish, delivery, stats),
        ),
    }
    return RunReport(**{**values, **parts})  # type: ignore[arg-type]  # as the test gives them


def run_of(*values_ms: float, messages: int = 10_000, **parts: object) -> RunReport:
    """Return a good run of one phase with these latencies, each of as many deliveries as there are messages.

    It has no series, so that only what the histogram tells decides of a comparison.
    """
    stats, buckets = latency_of(*values_ms, repeat=messages)
    publish = PublishReport(messages=messages, rate_per_s=100.0)
    values: dict[str, object] = {
        "scenario": "room",
        "seed": 7,
        "target": "cluster default",
        "started_at": "2026-11-23T05:00:00Z",
        "verdict": Verdict.PASS,
        "clients": ClientsReport(wanted=10, connected=10, connects_per_s=10.0),
        "publish": publish,
        "delivery": DeliveryReport(expected=stats.count, delivered=stats.count, deliveries_per_s=1000.0),
        "latency_ms": stats,
        "latency_buckets_ms": buckets,
        "phases": (PhaseReport("steady", 10.0, True, publish, latency_ms=stats),),
    }
    return RunReport(**{**values, **parts})  # type: ignore[arg-type]  # as the test gives them
