"""The result of a run as values; `RunReport.to_dict()` is the result document, schema version 1.

Every number says its unit in its name. A number that was not measured is None,
never 0: a 0 means that it was looked at and there was nothing.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "SCHEMA_VERSION",
    "Change",
    "ClientsReport",
    "ComparedMetric",
    "Comparison",
    "DeliveryReport",
    "EventReport",
    "ExpectResult",
    "FindMaxReport",
    "FindMaxStep",
    "GeneratorReport",
    "LagStats",
    "LatencyStats",
    "NodeReport",
    "NodeSeriesRow",
    "PhaseReport",
    "PublishReport",
    "RunReport",
    "SeriesRow",
    "Verdict",
    "document_key",
    "plain",
]

SCHEMA_VERSION = 1


class Verdict(enum.StrEnum):
    """What a run says about the cluster under test."""

    PASS = "pass"
    FAIL = "fail"  # an expectation does not hold
    INVALID = "invalid"  # the load generator was the bottleneck: the run says nothing
    ABORTED = "aborted"  # a safety limit ended it


EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INVALID: 5, Verdict.ABORTED: 6}
SLOWER_EXIT_CODE = 7


class Change(enum.StrEnum):
    """What the second of two runs makes of one metric."""

    BETTER = "better"
    SAME = "same"  # within the tolerance, or too small or too uncertain a change to mean anything
    WORSE = "worse"
    SHOWN = "shown"  # never judged: it depends on the machine, or on one sample


@dataclass(frozen=True, slots=True)
class LatencyStats:
    """From a message's intended send time to the moment a client read it, in ms; all None when `count` is 0."""

    count: int = 0
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class LagStats:
    """How late publishers sent, in ms after the intended time; None when nothing was sent."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class ClientsReport:
    """Connects.

    Args:
        wanted: Clients of the scenario.
        connected: Got in.
        failed: Never got in.
        connects_per_s: While all of them connected, before the first phase.
        disconnected: Connections that ended without the client wanting it.
        reconnects: Times that a client came back, whyever it was away.
    """

    wanted: int = 0
    connected: int = 0
    failed: int = 0
    connects_per_s: float = 0.0
    disconnected: int = 0
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class PublishReport:
    """Pushes that were sent; `errors` were refused, failed or got no answer in time."""

    messages: int = 0
    errors: int = 0
    rate_per_s: float = 0.0
    send_lag_ms: LagStats = LagStats()


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """The ledger, summed over receivers.

    Args:
        expected: One for each message and each client that had to get it.
        delivered: Of those, how many came (each once).
        lost: `expected - delivered`.
        duplicated: Copies after the first.
        reordered: Came after a later message of the same stream.
        unexpected: Came to a client that was not to get it.
        deliveries_per_s: `delivered` over the measured time.
        lost_at: Drops the nodes counted, by place and reason (`comet.slow_client`).
    """

    expected: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unexpected: int = 0
    deliveries_per_s: float = 0.0
    lost_at: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """One phase; what the whole report has, over its messages only."""

    name: str
    duration_s: float
    measure: bool = True
    publish: PublishReport = PublishReport()
    delivery: DeliveryReport = field(default_factory=DeliveryReport)
    latency_ms: LatencyStats = LatencyStats()


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One second of the run.

    Args:
        at_s: Its start, counted from the start of the first phase.
        phase: Name of the phase it begins in; empty after the last.
        connected: Clients with a connection.
        messages: Pushes that began in it.
        delivered: Messages that clients read in it, copies too.
        p50_ms: Latency of those, as are the other percentiles; null when there were none.
        lost: Deliveries that never came, of the messages whose push began in it; null when nobody can tell.
    """

    at_s: int
    phase: str
    connected: int
    messages: int
    delivered: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    p90_ms: float | None = None
    max_ms: float | None = None
    lost: int | None = None


@dataclass(frozen=True, slots=True)
class NodeSeriesRow:
    """One node at one moment of the run, about once a second.

    Args:
        at_s: Counted from the start of the first phase.
        name: As in `nodes`.
        cpu_percent: Of one core, since the row before; null after a restart, and when the node does not tell.
        rss_bytes: Memory in use; null when the node does not tell.
    """

    at_s: float
    name: str
    cpu_percent: float | None = None
    rss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class EventReport:
    """An event of the scenario as it happened.

    Args:
        at_s: When, counted from the start of the first phase.
        do: What, such as `disconnect` or `pause`.
        target: Population or node.
        count: Clients, or 1 for a node.
        for_s: How long it lasted; None for one that does not.
    """

    at_s: float
    do: str
    target: str
    count: int
    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class GeneratorReport:
    """Health of the load generator: the busiest worker's CPU share and its p99 event-loop lag."""

    workers: int = 0
    cpu_percent: float = 0.0
    loop_lag_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node of the cluster under test, over the run. None: the node does not tell."""

    name: str
    pid: int | None = None
    cpu_s: float | None = None
    rss_bytes: int | None = None
    drops: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExpectResult:
    """An expectation and what was measured.

    Args:
        expr: As the scenario wrote it.
        value: Measured, in the metric's unit; None when there was nothing to measure, which is never a pass.
        passed: Whether it holds; `pass` in the document.
        unit: Unit of `value`; empty for a count. Not in the document: the metric's name there has it.
        reason: Why there is no value; empty when there is one. Not in the document: the run's reasons have it.
    """

    expr: str
    value: float | None
    passed: bool = field(metadata={"key": "pass"})
    unit: str = field(default="", metadata={"key": None})
    reason: str = field(default="", metadata={"key": None})


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One metric in two runs.

    Args:
        metric: Its path, as in expectations.
        unit: Of both values; empty for a count.
        a: In the first run, the baseline; null when it was not measured there, as for `b`.
        b: In the second.
        change_percent: From a to b; null when there is no such share (a is 0, or one is missing).
        verdict: What to make of it.
        why: What kept a change beyond the tolerance from being judged; empty when nothing did.
    """

    metric: str
    unit: str
    a: float | None
    b: float | None
    change_percent: float | None
    verdict: Change
    why: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    Args:
        a: What the first is, the baseline: its file.
        b: What the second is; empty for the run that the document is of.
        tolerance_percent: How much worse a metric may be.
        slower: Whether any metric is worse.
        reasons: One line for each metric that is worse.
        notes: What makes the two hard to compare: another load, another machine, a run that was not valid.
        metrics: In the order of a report.
    """

    a: str
    b: str
    tolerance_percent: float
    slower: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: tuple[ComparedMetric, ...] = ()


@dataclass(frozen=True, slots=True)
class FindMaxStep:
    """One run of a search for the highest rate.

    Args:
        factor: Every publisher's rate was multiplied by it.
        rate_per_s: What all of them published together by it, over the measured phases.
        p99_ms: Latency; null when nothing was delivered.
        lost: Deliveries that never came.
        verdict: Of this run.
        reason: The weightiest one why it is no pass; empty for a pass.
    """

    factor: float
    rate_per_s: float
    p99_ms: float | None
    lost: int
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FindMaxReport:
    """A search for the highest publish rate that holds the expectations; the rest of the report is of the run at it.

    Args:
        rate_per_s: The highest rate that held; null when none did.
        factor: Of that rate; null as there.
        at_least: The cluster may hold more: it was not the cluster that set the limit.
        limit: What did: the expectation that failed at the next higher rate, the load generator, or the time.
        steps: Every run, in order.
    """

    rate_per_s: float | None
    factor: float | None
    at_least: bool
    limit: str
    steps: tuple[FindMaxStep, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run.

    Args:
        scenario: Its name.
        seed: Of the schedule.
        target: The cluster under test.
        started_at: ISO 8601 in UTC.
        verdict: What the run says about the cluster.
        reasons: In order of weight, why it is no pass.
        clients: Connects.
        publish: Pushes of the measured phases.
        delivery: The ledger of the measured phases.
        latency_ms: Of the measured phases.
        phases: Each phase by itself, also those that are not measured.
        hops_ms: Median time from hop to hop; empty when the nodes do not tell.
        series: One row a second.
        generator: Whether the load generator kept up.
        nodes: Over the run; empty when nobody can ask them.
        expect: The scenario's expectations.
        machine: What the load generator ran on.
        node_series: Nodes over time.
        latency_buckets_ms: The histogram behind `latency_ms`, as [low, high, count] of each bucket that is not empty.
        baseline: Comparison with an earlier run; null when none was asked for.
        find_max: Search for the highest rate that this is the best run of; null when it is a run by itself.
    """

    scenario: str
    seed: int
    target: str
    started_at: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    clients: ClientsReport = ClientsReport()
    publish: PublishReport = PublishReport()
    delivery: DeliveryReport = field(default_factory=DeliveryReport)
    latency_ms: LatencyStats = LatencyStats()
    phases: tuple[PhaseReport, ...] = ()
    hops_ms: Mapping[str, float] = field(default_factory=dict)
    series: tuple[SeriesRow, ...] = ()
    generator: GeneratorReport = GeneratorReport()
    nodes: tuple[NodeReport, ...] = ()
    events: tuple[EventReport, ...] = ()
    expect: tuple[ExpectResult, ...] = ()
    machine: Mapping[str, str | int | float | None] = field(default_factory=dict)
    node_series: tuple[NodeSeriesRow, ...] = ()
    latency_buckets_ms: tuple[tuple[float, float, int], ...] = ()
    baseline: Comparison | None = None
    find_max: FindMaxReport | None = None

    @property
    def passed(self) -> bool:
        """Whether all is well: valid, every expectation holds, and not slower than the baseline."""
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
    def exit_code(self) -> int:
        """Exit code of a command that ends with this verdict."""
        return SLOWER_EXIT_CODE if self.slower else EXIT_CODES[self.verdict]

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
