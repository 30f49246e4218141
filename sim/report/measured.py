"""What a run measured, as values: the parts of the result document that are numbers.

Every number says its unit in its name. A number that was not measured is None,
never 0: a 0 means that it was looked at and there was nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "ClientsReport",
    "ClockReport",
    "DeliveryReport",
    "EventReport",
    "FanoutReport",
    "GeneratorReport",
    "LagStats",
    "LatencyStats",
    "Loop",
    "NodeReport",
    "NodeSeriesRow",
    "PhaseReport",
    "PopulationReport",
    "PublishReport",
    "PublisherReport",
    "SeriesRow",
    "SpreadStats",
]


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


class Loop(enum.StrEnum):
    """Where the times of a publisher's messages come from."""

    OPEN = "open"  # from the schedule, whatever the cluster does
    CLOSED = "closed"  # each follows when the one before it is done


@dataclass(frozen=True, slots=True)
class LagStats:
    """How late open loops sent, in ms after the intended time; None when nothing was sent."""

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
        provoked: Connections that comet ended because the scenario gave it a reason: the client was silent, or
            another connection took over its key. Not among `disconnected`.
        second_logins: Connections beside the clients' own (`take_over`, `add_device`) that got in.
        second_logins_failed: That did not.
    """

    wanted: int = 0
    connected: int = 0
    failed: int = 0
    connects_per_s: float = 0.0
    disconnected: int = 0
    reconnects: int = 0
    provoked: int = 0
    second_logins: int = 0
    second_logins_failed: int = 0


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
        lost_at: Where the lost ones were lost, {place: deliveries}; they add up to `lost`. Empty for a part of the
            run that is no phase.
        lost_percent: `lost` of `expected`; null when nothing was expected.
    """

    expected: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unexpected: int = 0
    deliveries_per_s: float = 0.0
    lost_at: Mapping[str, int] = field(default_factory=dict)
    lost_percent: float | None = None


@dataclass(frozen=True, slots=True)
class SpreadStats:
    """From the first receiver of a message that read it to the last, in ms; None when nothing was measured."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class FanoutReport:
    """Messages that more than one client had to get.

    Args:
        messages: How many.
        complete: Of those, how many reached everybody who had to get them.
        complete_percent: As a share; null when there were none.
        spread_ms: How far apart their receivers read them.
    """

    messages: int = 0
    complete: int = 0
    complete_percent: float | None = None
    spread_ms: SpreadStats = SpreadStats()


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """One phase; what the whole report has, over its messages only.

    `duration_s` is shorter than the scenario's when the run ended in it.
    """

    name: str
    duration_s: float
    measure: bool = True
    publish: PublishReport = PublishReport()
    delivery: DeliveryReport = field(default_factory=DeliveryReport)
    latency_ms: LatencyStats = LatencyStats()
    fanout: FanoutReport = FanoutReport()


@dataclass(frozen=True, slots=True)
class PopulationReport:
    """What the clients of one population got, in the measured phases."""

    name: str
    delivery: DeliveryReport = field(default_factory=DeliveryReport)
    latency_ms: LatencyStats = LatencyStats()


@dataclass(frozen=True, slots=True)
class PublisherReport:
    """What became of one publisher's messages, in the measured phases.

    Args:
        publish: Its pushes.
        delivery: Null, like `latency_ms` and `fanout`, when it shares a target with another publisher: nobody can tell
            whose messages came.
        loop: Whether its messages had a schedule. Those of a closed loop have no intended time: their latency counts
            from the actual send, and they have no send lag.
        reason: Why there is no `delivery`; empty when there is.
    """

    name: str
    publish: PublishReport = PublishReport()
    delivery: DeliveryReport | None = field(default_factory=DeliveryReport)
    latency_ms: LatencyStats | None = LatencyStats()
    fanout: FanoutReport | None = FanoutReport()
    loop: Loop = Loop.OPEN
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One second of the run.

    Args:
        at_s: Its start, counted from the start of the first phase.
        phase: Name of the phase it begins in; empty after the last.
        connected: The fewest clients that were in, of four looks a second.
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
    """Health of the load generator: the busiest worker's CPU share and its p99 event-loop lag.

    Args:
        overloaded: Whether it was at its limit, so that the run says nothing about the cluster.
        broken: Processes of it that did not live to the end, such as `worker 1 died`. A worker's clients are then in no
            figure; without the publisher nobody knows what was to be delivered, and `delivery` says nothing.
    """

    workers: int = 0
    cpu_percent: float = 0.0
    loop_lag_ms: float = 0.0
    overloaded: bool = False
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClockReport:
    """A worker of a run on several machines, and its clock.

    Args:
        worker: Its name, with machine and process.
        offset_ms: How far its clock is ahead of the publisher's. Its times have been corrected by that; 0 where it
            is the same clock.
        bound_ms: What that is wrong by at most, and with it each of its latencies; 0 where it is the same clock.
    """

    worker: str
    offset_ms: float = 0.0
    bound_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node of the cluster under test, over the run. None: the node does not tell.

    Args:
        name: As the cluster calls it.
        pid: Of its process at the end.
        cpu_s: CPU time that it used.
        rss_bytes: Memory in use at the end.
        drops: What it has dropped, by place and reason.
        cpu_percent: Of one core, mean of the time that it was watched.
        rss_max_bytes: The most memory that was seen in use.
    """

    name: str
    pid: int | None = None
    cpu_s: float | None = None
    rss_bytes: int | None = None
    drops: Mapping[str, int] = field(default_factory=dict)
    cpu_percent: float | None = None
    rss_max_bytes: int | None = None
