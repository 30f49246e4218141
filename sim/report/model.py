"""The result of a run as values; `RunReport.to_dict()` is the result document, schema version 1.

The parts are in `measured` (numbers) and `verdicts` (what is made of them); all are had from here.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.report.hops import HopsReport, HopStats, JobHopStats
from sim.report.measured import (
    ClientsReport,
    ClockReport,
    DeliveryReport,
    EventReport,
    FanoutReport,
    GeneratorReport,
    LagStats,
    LatencyStats,
    Loop,
    NodeReport,
    NodeSeriesRow,
    PhaseReport,
    PopulationReport,
    PublisherReport,
    PublishReport,
    SeriesRow,
    SpreadStats,
)
from sim.report.verdicts import (
    EXIT_CODES,
    Change,
    ComparedMetric,
    Comparison,
    ExpectResult,
    FindMaxReport,
    FindMaxStep,
    Verdict,
)

__all__ = [
    "SCHEMA_VERSION",
    "Change",
    "ClientsReport",
    "ClockReport",
    "ComparedMetric",
    "Comparison",
    "DeliveryReport",
    "EventReport",
    "ExpectResult",
    "FanoutReport",
    "FindMaxReport",
    "FindMaxStep",
    "GeneratorReport",
    "HopStats",
    "HopsReport",
    "JobHopStats",
    "LagStats",
    "LatencyStats",
    "Loop",
    "NodeReport",
    "NodeSeriesRow",
    "PhaseReport",
    "PopulationReport",
    "PublishReport",
    "PublisherReport",
    "RunReport",
    "SeriesRow",
    "SpreadStats",
    "Verdict",
    "document_key",
    "plain",
]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run.

    Args:
        scenario: Its name.
        seed: Of the schedule.
        target: The cluster under test.
        started_at: ISO 8601 in UTC.
        verdict: What the run says about the cluster.
        reasons: In order of weight, why it is no pass; of a pass without expectations, what went wrong all the same.
        clients: Connects.
        publish: Pushes of the measured phases.
        delivery: The ledger of the measured phases.
        latency_ms: Of the measured phases.
        phases: Each phase by itself, also those that are not measured.
        hops_ms: Where the latency comes from: the time of each hop.
        series: One row a second.
        generator: Whether the load generator kept up.
        nodes: Over the run; empty when nobody can ask them.
        expect: The scenario's expectations.
        machine: What the load generator ran on.
        node_series: Nodes over time.
        latency_buckets_ms: The histogram behind `latency_ms`, as [low, high, count] of each bucket that is not empty.
        baseline: Comparison with an earlier run; null when none was asked for.
        find_max: Search for the highest rate that this is the best run of; null when it is a run by itself.
        fanout: What became of each message as a whole, in the measured phases.
        populations: Each population by itself.
        publishers: Each publisher by itself.
        clocks: Of the workers, compared with the publisher's; empty when all are processes of this machine's run.
    """

    scenario: str
    seed: int
    target: str
    started_at: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    clients: ClientsReport = field(default_factory=ClientsReport)
    publish: PublishReport = field(default_factory=PublishReport)
    delivery: DeliveryReport = field(default_factory=DeliveryReport)
    latency_ms: LatencyStats = field(default_factory=LatencyStats)
    phases: tuple[PhaseReport, ...] = ()
    hops_ms: HopsReport = field(default_factory=HopsReport)
    series: tuple[SeriesRow, ...] = ()
    generator: GeneratorReport = field(default_factory=GeneratorReport)
    nodes: tuple[NodeReport, ...] = ()
    events: tuple[EventReport, ...] = ()
    expect: tuple[ExpectResult, ...] = ()
    machine: Mapping[str, str | int | float | None] = field(default_factory=dict)
    node_series: tuple[NodeSeriesRow, ...] = ()
    latency_buckets_ms: tuple[tuple[float, float, int], ...] = ()
    baseline: Comparison | None = None
    find_max: FindMaxReport | None = None
    fanout: FanoutReport = field(default_factory=FanoutReport)
    populations: tuple[PopulationReport, ...] = ()
    publishers: tuple[PublisherReport, ...] = ()
    clocks: tuple[ClockReport, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all is well: valid, every expectation holds, compared with the baseline and not slower than it."""
        return self.exit_code == 0

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it did not pass, in order of weight; () for a run that did."""
        return () if self.passed else self.reasons or (self.verdict.value,)

    @property
    def slower(self) -> bool:
        """Whether a run that passed is slower than its baseline; one that did not pass has worse to say."""
        return self.verdict is Verdict.PASS and self.baseline is not None and self.baseline.slower

    @property
    def unjudged(self) -> str:
        """Why a run that passed could not be compared with its baseline; empty when it could, or was not to be."""
        if self.verdict is not Verdict.PASS or self.baseline is None or self.baseline.slower:
            return ""
        return self.baseline.unjudged

    @property
    def exit_code(self) -> int:
        """Exit code of a command that ends with this verdict."""
        code = EXIT_CODES[self.verdict]
        return self.baseline.exit_code if code == 0 and self.baseline is not None else code

    def to_dict(self) -> dict[str, Any]:
        """Return the result document: plain dicts, lists, strings, numbers and None, ready for JSON."""
        return {"schema_version": SCHEMA_VERSION, **plain(self)}


def document_key(item: dataclasses.Field[Any]) -> str | None:
    """Return what the document calls a field of these classes, None when it does not have it."""
    key: str | None = item.metadata.get("key", item.name)
    return key


def plain(value: Any) -> Any:
    """Turn dataclasses, mappings and tuples into what the json module writes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        keys = {item.name: document_key(item) for item in dataclasses.fields(value)}
        return {key: plain(getattr(value, name)) for name, key in keys.items() if key is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return value
