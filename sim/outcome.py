"""From what the processes of a run found to its report and verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sim.expect import evaluate, explain
from sim.histogram import Histogram
from sim.ledger import Delivery
from sim.messages import Published, Result
from sim.nodes import NodeSample, TimedSamples, node_series
from sim.report.model import (
    ClientsReport,
    DeliveryReport,
    EventReport,
    GeneratorReport,
    LagStats,
    LatencyStats,
    NodeReport,
    PhaseReport,
    PublishReport,
    RunReport,
    SeriesRow,
    Verdict,
)
from sim.scenario import Scenario
from sim.shapes import phase_spans
from sim.target import Target

__all__ = ["LAG_SHARE", "MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS", "Outcome", "RunResult", "judge_run"]

# Beyond these the generator, not the cluster, may have made the figures.
MAX_CPU_PERCENT = 90.0  # of one core, for any process of the generator
MAX_LOOP_LAG_MS = 50.0  # p99 of the busiest process
MAX_SEND_LAG_MS = 50.0  # p99 of how late pushes began
# Both may be so much of the p99 latency where that is more: a cluster that takes 400 ms is not
# judged any differently because its clients were read 60 ms late.
LAG_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a run has found, in one place."""

    scenario: Scenario
    target: Target
    started_at: str
    connect_s: float
    published: Published | None
    results: Sequence[Result]
    seconds: Mapping[int, Histogram]
    alive: Mapping[int, int]
    before: Sequence[NodeSample]
    after: Sequence[NodeSample]
    dead: Sequence[str]
    workers: int
    machine: Mapping[str, str | int | float | None]
    node_samples: Sequence[TimedSamples] = ()
    node_events: Sequence[EventReport] = ()
    failed_events: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """The report of a run, and its measured latencies as (low ns, high ns, count) for a small histogram."""

    report: RunReport
    buckets: Sequence[tuple[int, int, int]]


def judge_run(outcome: Outcome) -> RunResult:
    """Add everything up and judge it."""
    scenario = outcome.scenario
    measured = [i for i, phase in enumerate(scenario.phases) if phase.measure]
    deliveries = [Delivery() for _ in scenario.phases]
    latency = [Histogram() for _ in scenario.phases]
    for result in outcome.results:
        for i in range(len(scenario.phases)):
            deliveries[i].add(result.swarm.deliveries[i])
            latency[i].merge(result.swarm.latency[i])
    drops = _drops(outcome.before, outcome.after)
    phases = tuple(
        PhaseReport(
            phase.name,
            phase.duration_s,
            phase.measure,
            _publish(outcome, [i]),
            # Nodes count drops over the run, not by phase: only the whole report names places.
            _delivery([deliveries[i]], phase.duration_s, {}),
            _latency(latency[i]),
        )
        for i, phase in enumerate(scenario.phases)
    )
    overall = Histogram()
    for i in measured:
        overall.merge(latency[i])
    report = RunReport(
        scenario=scenario.name,
        seed=scenario.seed,
        target=outcome.target.name,
        started_at=outcome.started_at,
        verdict=Verdict.PASS,
        clients=_clients(outcome),
        publish=_publish(outcome, measured),
        delivery=_delivery([deliveries[i] for i in measured], scenario.measured_s, drops),
        latency_ms=_latency(overall),
        phases=phases,
        series=_series(outcome),
        generator=_generator(outcome),
        nodes=_nodes(outcome.before, outcome.after),
        machine=outcome.machine,
        events=_events(outcome),
        node_series=node_series(outcome.node_samples),
        latency_buckets_ms=tuple((_ms(low), _ms(high), count) for low, high, count in overall.buckets()),
    )
    return RunResult(_judge(report, outcome), tuple(overall.buckets()))


def _judge(report: RunReport, outcome: Outcome) -> RunReport:
    expect = tuple(evaluate(outcome.scenario.expect, report.to_dict()))
    invalid = [f"the load generator broke: {error}" for error in outcome.dead]
    if outcome.published is None and not outcome.dead:
        invalid.append("the publisher did not finish its schedule")
    silent = outcome.workers - len(outcome.results)
    if silent and not outcome.dead:
        invalid.append(f"{silent} of {outcome.workers} workers gave no result in time")
    invalid += [f"an event could not be carried out: {what}" for what in outcome.failed_events]
    generator = report.generator
    if generator.cpu_percent > MAX_CPU_PERCENT:
        invalid.append(f"the load generator used {generator.cpu_percent:.0f}% of a core, over {MAX_CPU_PERCENT:.0f}%")
    share_ms = LAG_SHARE * (report.latency_ms.p99 or 0.0)
    limit_ms = max(MAX_LOOP_LAG_MS, share_ms)
    if generator.loop_lag_ms > limit_ms:
        invalid.append(f"the load generator lagged {generator.loop_lag_ms:.0f} ms, over {limit_ms:.0f} ms")
    lag = report.publish.send_lag_ms.p99
    limit_ms = max(MAX_SEND_LAG_MS, share_ms)
    if lag is not None and lag > limit_ms:
        invalid.append(f"pushes began {lag:.0f} ms late (p99), over {limit_ms:.0f} ms")
    failed = [explain(one) for one in expect if not one.passed]
    notes = _failures(outcome)
    if invalid:
        return replace(report, expect=expect, verdict=Verdict.INVALID, reasons=(*invalid, *failed, *notes))
    if failed:
        return replace(report, expect=expect, verdict=Verdict.FAIL, reasons=(*failed, *notes))
    return replace(report, expect=expect)


def _failures(outcome: Outcome) -> list[str]:
    """Return what went wrong on the way, most frequent first."""
    clients: Counter[str] = Counter()
    for result in outcome.results:
        clients.update(result.swarm.failures)
        clients["connection ended during the run"] += result.swarm.lost_connections
        clients["on their way back when the run ended"] += result.swarm.away
    again: Counter[str] = Counter()
    for result in outcome.results:
        again.update(result.swarm.again_failures)
    pushes = Counter(dict(outcome.published.failures)) if outcome.published else Counter()
    return [
        f"{count} {what}: {reason}"
        for what, reasons in (("clients", clients), ("attempts to come back", again), ("pushes", pushes))
        for reason, count in reasons.most_common(5)
        if count
    ]


def _events(outcome: Outcome) -> tuple[EventReport, ...]:
    """Return what happened in the order of time; an event on clients is one, though each worker had a part of it."""
    merged: dict[int, EventReport] = {}
    for result in outcome.results:
        for number, event in result.swarm.events.items():
            other = merged.get(number, replace(event, count=0))
            merged[number] = replace(event, at_s=min(event.at_s, other.at_s), count=event.count + other.count)
    return tuple(sorted((*merged.values(), *outcome.node_events), key=lambda event: event.at_s))


def _clients(outcome: Outcome) -> ClientsReport:
    connected = sum(result.swarm.connected for result in outcome.results)
    return ClientsReport(
        wanted=outcome.scenario.client_count,
        connected=connected,
        failed=sum(result.swarm.failed for result in outcome.results),
        disconnected=sum(result.swarm.lost_connections for result in outcome.results),
        reconnects=sum(result.swarm.reconnects for result in outcome.results),
        connects_per_s=round(connected / max(outcome.connect_s, 1e-3), 1),
    )


def _publish(outcome: Outcome, phases: Sequence[int]) -> PublishReport:
    published = outcome.published
    if published is None:
        return PublishReport()
    lag = Histogram()
    for phase in phases:
        lag.merge(published.lag[phase])
    duration_s = sum(outcome.scenario.phases[phase].duration_s for phase in phases)
    stats = LagStats()
    if lag.count:
        stats = LagStats(_ms(lag.percentile_ns(50)), _ms(lag.percentile_ns(99)), _ms(lag.max_ns))
    return PublishReport(
        messages=lag.count,
        errors=sum(published.errors[phase] for phase in phases),
        rate_per_s=round(lag.count / duration_s, 2) if duration_s else 0.0,
        send_lag_ms=stats,
    )


def _delivery(counts: Sequence[Delivery], duration_s: float, drops: Mapping[str, int]) -> DeliveryReport:
    total = Delivery()
    for one in counts:
        total.add(one)
    delivered = total.expected - total.lost
    lost_at = {"client.connection_lost": total.lost_dead} if total.lost_dead else {}
    unknown = total.lost - total.lost_dead
    # A drop is not always a loss: a node also drops what nobody had to get any more.
    for place, count in sorted(drops.items(), key=lambda item: -item[1]):
        if taken := min(count, unknown):
            lost_at[place] = taken
            unknown -= taken
    if unknown:
        lost_at["unknown"] = unknown
    return DeliveryReport(
        expected=total.expected,
        delivered=delivered,
        lost=total.lost,
        duplicated=total.duplicated,
        reordered=total.reordered,
        unexpected=total.unexpected,
        deliveries_per_s=round(delivered / duration_s, 1) if duration_s else 0.0,
        lost_at=dict(sorted(lost_at.items(), key=lambda item: (item[0] == "unknown", -item[1]))),
    )


def _latency(total: Histogram) -> LatencyStats:
    if not total.count:
        return LatencyStats()
    p50, p90, p95, p99, p999 = (_ms(total.percentile_ns(percent)) for percent in (50, 90, 95, 99, 99.9))
    return LatencyStats(total.count, _ms(total.min_ns), p50, p90, p95, p99, p999, _ms(total.max_ns))


def _series(outcome: Outcome) -> tuple[SeriesRow, ...]:
    spans = phase_spans(outcome.scenario.phases)
    sent = outcome.published.seconds if outcome.published else {}
    lost: Counter[int] | None = Counter() if outcome.results else None
    for result in outcome.results:
        # One worker that cannot tell, and nobody can.
        lost = None if lost is None or result.swarm.lost_seconds is None else lost + result.swarm.lost_seconds
    rows = []
    connected = sum(result.swarm.connected for result in outcome.results)
    last = max([*sent, *outcome.seconds], default=-1)
    for second in range(last + 1):
        histogram = outcome.seconds.get(second, Histogram())
        at_ns = second * 1_000_000_000
        phase = next((p.name for p, s in zip(outcome.scenario.phases, spans, strict=True) if at_ns < s.end_ns), "")
        connected = outcome.alive.get(second, connected)
        latency = _latency(histogram)
        rows.append(
            SeriesRow(
                second,
                phase,
                connected,
                sent.get(second, 0),
                histogram.count,
                latency.p50,
                latency.p99,
                latency.p90,
                latency.max,
                None if lost is None else lost[second],
            )
        )
    return tuple(rows)


def _generator(outcome: Outcome) -> GeneratorReport:
    health = [result.health for result in outcome.results]
    if outcome.published is not None:
        health.append(outcome.published.health)
    return GeneratorReport(
        workers=outcome.workers,
        cpu_percent=round(max((one.cpu_percent for one in health), default=0.0), 1),
        loop_lag_ms=max((_ms(one.lag.percentile_ns(99)) for one in health), default=0.0),
    )


def _nodes(before: Sequence[NodeSample], after: Sequence[NodeSample]) -> tuple[NodeReport, ...]:
    first = {sample.name: sample for sample in before}
    reports = []
    for sample in after:
        old = first.get(sample.name)
        cpu_s = sample.cpu_s
        if cpu_s is not None and old is not None and old.cpu_s is not None and old.pid == sample.pid:
            cpu_s -= old.cpu_s
        reports.append(
            NodeReport(
                sample.name,
                sample.pid,
                None if cpu_s is None else round(cpu_s, 3),
                sample.rss_bytes,
                _drops([old] if old else [], [sample]),
            )
        )
    return tuple(reports)


def _drops(before: Sequence[NodeSample], after: Sequence[NodeSample]) -> dict[str, int]:
    """Return what was dropped in between, by place, over all nodes."""
    total: Counter[str] = Counter()
    for sample in after:
        total.update(sample.drops)
    first = {sample.name: sample.pid for sample in after}
    for sample in before:
        # A node that was restarted counts from 0 again.
        if first.get(sample.name) == sample.pid:
            total.subtract(sample.drops)
    return {place: count for place, count in total.items() if count > 0}


def _ms(duration_ns: float) -> float:
    return round(duration_ns / 1e6, 3)
