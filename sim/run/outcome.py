"""From what the processes of a run found to its report and verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocol.trace import TracePoint
from sim.clients.plan import Plan, make_plan
from sim.measure.histogram import Histogram
from sim.measure.hops import NOBODY_TELLS, SWITCHED_OFF, hop_report
from sim.measure.measures import Measures, latency_stats, ms
from sim.publish.sampling import Reads
from sim.report.model import (
    ClientsReport,
    ClockReport,
    EventReport,
    ExpectResult,
    GeneratorReport,
    HopsReport,
    Loop,
    PhaseReport,
    PopulationReport,
    PublisherReport,
    RunReport,
    SeriesRow,
    Verdict,
    plain,
)
from sim.report.unchecked import unchecked_text
from sim.run.messages import Health, Published, PublishProgress, Result
from sim.run.nodes import NodeHistory, TimedSamples
from sim.run.process import WorkerDiedError
from sim.run.target import Target
from sim.scenario.expect import Part, evaluate, explain
from sim.scenario.metrics import Subject
from sim.scenario.scenario import Expectation, Scenario
from sim.scenario.scope import scope_of
from sim.scenario.shapes import phase_spans

__all__ = [
    "LAG_SHARE",
    "MAX_CPU_PERCENT",
    "MAX_LOOP_LAG_MS",
    "MAX_SEND_LAG_MS",
    "Outcome",
    "RunResult",
    "judge_run",
]

# Beyond these the generator, not the cluster, may have made the figures.
MAX_CPU_PERCENT = 90.0  # of one core, for any process of the generator
MAX_LOOP_LAG_MS = 50.0  # p99 of the busiest process
MAX_SEND_LAG_MS = 50.0  # p99 of how late pushes began
# Both may be so much of the p99 latency where that is more: a cluster that takes 400 ms is not
# judged any differently because its clients were read 60 ms late.
LAG_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a run has found, in one place.

    Args:
        alive: The fewest clients that were in, by second.
        nodes: What nodes said of themselves, from the start of the first phase: before it, meanwhile, at the end.
        t0_ns: That start, by the monotonic clock.
        end_s: When the run was ended early, from there; infinite when it was not.
        ended_by: Why it was ended early; () when it was not.
        interrupted: Whether it was the user who ended it.
        dead: Processes of the generator that ended or hung before their work was done.
        pushing: What the publisher told last while it was at work.
        traces: What nodes told of followed messages, by id; None when none was followed.
    """

    scenario: Scenario
    target: Target
    started_at: str
    connect_s: float
    published: Published | None
    results: Sequence[Result]
    seconds: Mapping[int, Histogram]
    alive: Mapping[int, int]
    dead: Sequence[WorkerDiedError]
    workers: int
    machine: Mapping[str, str | int | float | None]
    nodes: Sequence[TimedSamples] = ()
    node_events: Sequence[EventReport] = ()
    failed_events: Sequence[str] = ()
    t0_ns: int = 0
    end_s: float = math.inf
    ended_by: Sequence[str] = ()
    interrupted: bool = False
    pushing: PublishProgress | None = None
    traces: Mapping[int, Collection[TracePoint]] | None = None
    clocks: Sequence[ClockReport] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to.

    Args:
        report: Its report.
        buckets: Its measured latencies as (low ns, high ns, count), for a small histogram.
        interrupted: Whether the user ended it early.
    """

    report: RunReport
    buckets: Sequence[tuple[int, int, int]]
    interrupted: bool = False


def judge_run(outcome: Outcome) -> RunResult:
    """Add everything up and judge it."""
    scenario = outcome.scenario
    plan = make_plan(scenario)
    measures = Measures(plan, outcome.results, _published(outcome), end_s=outcome.end_s)
    history = NodeHistory(outcome.nodes)
    events = _events(outcome)
    measures.attribute(history.drops(), history.outages(events), outcome.target.names, outcome.t0_ns)
    segments = measures.cells.segments
    measured = segments.of_phases(lambda phase: scenario.phases[phase].measure)
    whole = measures.part(measured)
    overall = measures.latency(measured)
    report = RunReport(
        scenario=scenario.name,
        seed=scenario.seed,
        target=outcome.target.name,
        started_at=outcome.started_at,
        verdict=Verdict.PASS,
        clients=_clients(outcome),
        publish=whole.publish,
        delivery=whole.delivery,
        latency_ms=whole.latency_ms,
        fanout=whole.fanout,
        hops_ms=_hops(outcome, measured),
        phases=_phases(outcome, measures),
        populations=_populations(scenario, measures, measured),
        publishers=_publishers(plan, measures, measured),
        series=_series(outcome),
        generator=_generator(outcome),
        nodes=history.reports(),
        machine=outcome.machine,
        events=events,
        clocks=tuple(outcome.clocks),
        node_series=history.series(),
        latency_buckets_ms=tuple((ms(low), ms(high), count) for low, high, count in overall.buckets()),
    )
    part = _part_of(measures, history, scenario)
    return RunResult(_judge(report, outcome, part), tuple(overall.buckets()), outcome.interrupted)


def _published(outcome: Outcome) -> Published | None:
    """Return what the publisher found; of one that died, what it told last: how many messages, and not which."""
    last = outcome.pushing
    if outcome.published is not None or last is None:
        return outcome.published
    return Published({}, {}, last.failed, {}, {}, last.expected, Health(0.0, Histogram()), last.sent)


def _part_of(measures: Measures, history: NodeHistory, scenario: Scenario) -> Part:
    """Return what tells expectations the numbers of a part of the run."""

    def part(subject: Subject, expectation: Expectation) -> dict[str, Any] | None:
        if subject.node:
            to_s = math.inf if expectation.to_s is None else expectation.to_s
            return {"nodes": plain(history.reports(expectation.from_s or 0.0, to_s))}
        segments, population, publisher = scope_of(subject, expectation, scenario, measures.cells.segments)
        if not sum(measures.cells.segments.length_s(segment, measures.end_s) for segment in segments):
            return None
        found: dict[str, Any] = plain(measures.part(segments, population=population, publisher=publisher))
        return found

    return part


def _phases(outcome: Outcome, measures: Measures) -> tuple[PhaseReport, ...]:
    """Return the phases that were reached."""
    segments = measures.cells.segments
    reports = []
    for number, phase in enumerate(outcome.scenario.phases):
        own = segments.of_phases(number.__eq__)
        duration_s = sum(segments.length_s(segment, outcome.end_s) for segment in own)
        if duration_s <= 0:
            break
        if outcome.end_s == math.inf:
            duration_s = phase.duration_s  # as it was written, without the rounding of its ends
        part = measures.part(own)
        reports.append(
            PhaseReport(
                phase.name,
                round(duration_s, 3),
                phase.measure,
                part.publish,
                part.delivery,
                part.latency_ms,
                part.fanout,
            )
        )
    return tuple(reports)


def _hops(outcome: Outcome, segments: Collection[int]) -> HopsReport:
    """Return the hops of the messages that logic accepted in some segments."""
    if outcome.traces is None:
        return HopsReport(reason=NOBODY_TELLS if outcome.scenario.trace_per_s else SWITCHED_OFF)
    published, reads = outcome.published, Reads()
    if published is None:
        return HopsReport(reason="the publisher did not finish")
    for result in outcome.results:
        reads.merge(result.swarm.reads)
    counted = [
        push
        for push in published.traced
        if published.logs[push.stream].phase[push.sequence] in segments
        and published.logs[push.stream].accepted[push.sequence]
    ]
    return hop_report(counted, outcome.traces, reads)


def _populations(scenario: Scenario, measures: Measures, measured: Sequence[int]) -> tuple[PopulationReport, ...]:
    parts = (measures.part(measured, population=number) for number in range(len(scenario.clients)))
    return tuple(
        PopulationReport(population.name, part.delivery, part.latency_ms)
        for population, part in zip(scenario.clients, parts, strict=True)
    )


def _publishers(plan: Plan, measures: Measures, measured: Sequence[int]) -> tuple[PublisherReport, ...]:
    publishers, sharing = plan.scenario.publish, plan.sharing()
    reports = []
    for number, publisher in enumerate(publishers):
        part = measures.part(measured, publisher=number)
        report = PublisherReport(
            publisher.name,
            part.publish,
            part.delivery,
            part.latency_ms,
            part.fanout,
            Loop.OPEN if publisher.closed is None else Loop.CLOSED,
        )
        if number in sharing:
            reason = f"it shares a target with {publishers[sharing[number]].name}, and no message tells whose it is"
            report = replace(report, delivery=None, latency_ms=None, fanout=None, reason=reason)
        reports.append(report)
    return tuple(reports)


def _expectations(report: RunReport, outcome: Outcome, part: Part) -> tuple[ExpectResult, ...]:
    """Judge the expectations; none where a part of the figures died with the process that had it."""
    if not outcome.dead:
        return tuple(evaluate(outcome.scenario.expect, report.to_dict(), part))
    why = f"not known: {', '.join(report.generator.broken)}"
    return tuple(ExpectResult(one.expr, None, None, one.unit, why) for one in outcome.scenario.expect)


def _overloads(report: RunReport) -> list[str]:
    """Return where the generator was at its limit."""
    found = []
    generator = report.generator
    if generator.cpu_percent > MAX_CPU_PERCENT:
        found.append(f"the load generator used {generator.cpu_percent:.0f}% of a core, over {MAX_CPU_PERCENT:.0f}%")
    share_ms = LAG_SHARE * (report.latency_ms.p99 or 0.0)
    limit_ms = max(MAX_LOOP_LAG_MS, share_ms)
    if generator.loop_lag_ms > limit_ms:
        found.append(f"the load generator lagged {generator.loop_lag_ms:.0f} ms, over {limit_ms:.0f} ms")
    lag = report.publish.send_lag_ms.p99
    limit_ms = max(MAX_SEND_LAG_MS, share_ms)
    if lag is not None and lag > limit_ms:
        found.append(f"pushes began {lag:.0f} ms late (p99), over {limit_ms:.0f} ms")
    return found


def _judge(report: RunReport, outcome: Outcome, part: Part) -> RunReport:
    expect = _expectations(report, outcome, part)
    invalid = [f"the load generator broke: {error}" for error in outcome.dead]
    if outcome.published is None and not outcome.dead and not outcome.ended_by:
        invalid.append("the publisher did not finish its schedule")
    silent = outcome.workers - len(outcome.results)
    if silent and not outcome.dead:
        invalid.append(f"{silent} of {outcome.workers} workers gave no result in time")
    invalid += [f"an event could not be carried out: {what}" for what in outcome.failed_events]
    overloads = _overloads(report)
    invalid += overloads
    report = replace(report, generator=replace(report.generator, overloaded=bool(overloads)))
    failed = [explain(one) for one in expect if one.passed is False]
    notes = _failures(outcome)
    if outcome.ended_by:
        reasons = (*outcome.ended_by, *invalid, *failed, *notes)
        return replace(report, expect=expect, verdict=Verdict.ABORTED, reasons=reasons)
    if invalid:
        return replace(report, expect=expect, verdict=Verdict.INVALID, reasons=(*invalid, *failed, *notes))
    if failed:
        return replace(report, expect=expect, verdict=Verdict.FAIL, reasons=(*failed, *notes))
    unchecked = unchecked_text(replace(report, expect=expect))
    return replace(report, expect=expect, reasons=(unchecked, *notes) if unchecked else ())


def _failures(outcome: Outcome) -> list[str]:
    """Return what went wrong on the way, most frequent first."""
    clients: Counter[str] = Counter()
    for result in outcome.results:
        clients.update(result.swarm.failures)
        clients["connection ended during the run"] += result.swarm.lost_connections
        clients["on their way back when the run ended"] += result.swarm.away
    again: Counter[str] = Counter()
    second: Counter[str] = Counter()
    for result in outcome.results:
        again.update(result.swarm.again_failures)
        second.update(result.swarm.second_failures)
    pushes = Counter(dict(outcome.published.failures)) if outcome.published else Counter()
    return [
        f"{count} {what}: {reason}"
        for what, reasons in (
            ("clients", clients),
            ("attempts to come back", again),
            ("second logins", second),
            ("pushes", pushes),
        )
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
        provoked=sum(result.swarm.provoked for result in outcome.results),
        second_logins=sum(result.swarm.second_logins for result in outcome.results),
        second_logins_failed=sum(result.swarm.second_failures.total() for result in outcome.results),
        connects_per_s=round(connected / max(outcome.connect_s, 1e-3), 1),
    )


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
        latency = latency_stats(histogram)
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
        loop_lag_ms=max((ms(one.lag.percentile_ns(99)) for one in health), default=0.0),
        broken=tuple(f"{error.name} {error.fate}" for error in outcome.dead),
    )
