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
    "ClientsReport",
    "DeliveryReport",
    "ExpectResult",
    "GeneratorReport",
    "LagStats",
    "LatencyStats",
    "NodeReport",
    "PhaseReport",
    "PublishReport",
    "RunReport",
    "SeriesRow",
    "Verdict",
]

SCHEMA_VERSION = 1


class Verdict(enum.StrEnum):
    """What a run says about the cluster under test."""

    PASS = "pass"
    FAIL = "fail"  # an expectation does not hold
    INVALID = "invalid"  # the load generator was the bottleneck: the run says nothing
    ABORTED = "aborted"  # a safety limit ended it


EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INVALID: 5, Verdict.ABORTED: 6}


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
    """Connects: `failed` never got in, `reconnects` lost their connection and came back."""

    wanted: int = 0
    connected: int = 0
    failed: int = 0
    connects_per_s: float = 0.0
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
    """One second of the run. `at_s` is its start, counted from the start of the first phase."""

    at_s: int
    phase: str
    connected: int
    messages: int
    delivered: int
    p50_ms: float | None = None
    p99_ms: float | None = None


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
    passed: bool
    unit: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run. `started_at` is ISO 8601 in UTC; `reasons` say, in order of weight, why it is no pass."""

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
    expect: tuple[ExpectResult, ...] = ()
    machine: Mapping[str, str | int | float | None] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """Exit code of a command that ends with this verdict."""
        return EXIT_CODES[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        """Return the result document: plain dicts, lists, strings, numbers and None, ready for JSON."""
        document: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
        for item in dataclasses.fields(self):
            document[item.name] = plain(getattr(self, item.name))
        document["expect"] = [{"expr": e.expr, "value": e.value, "pass": e.passed} for e in self.expect]
        return document


def plain(value: Any) -> Any:
    """Turn dataclasses, mappings and tuples into what the json module writes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return value
