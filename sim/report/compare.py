"""Two runs side by side: what got worse, and what is only noise.

A latency percentile is worse when all of these hold:

- it is larger by more than the tolerance;
- it is larger by more than 1 ms, and by more than the histograms' error of 0.8 %;
- it is larger than chance makes it: the intervals in which the true
  percentiles lie with 95 % do not overlap. A percentile of n messages lies
  between the shares p +- 2 sqrt(p (1 - p) / n), and above all n has no known
  end when p^n is over 5 %: a p99 needs 299 messages, a p999 2,995. Messages
  count and not deliveries: what delays a message delays it for a whole room;
- it is larger than the seconds of the two runs differ among themselves: the
  rank test of sim.report.noise on the p50, p90 or p99 of each whole measured
  second. Messages of one second share its luck, which counting them does not
  show. Under five seconds in a run nothing is said; only for two documents
  without any series this is left out.

Better is the same the other way round. Of losses, copies, wrong order, errors
and failed clients every single one counts. Deliveries and pushes a second are
worse when they fall by more than the tolerance, and by more than their seconds
differ among themselves; the time to connect when it grows by more than the
tolerance and half a second. Minimum and maximum are one message each, messages
that reached everybody tell of the same losses once more, and the spread from
first to last receiver and what nodes and generator use depend on the machine:
those are shown and never judged.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from sim.report.model import (
    Change,
    ComparedMetric,
    Comparison,
    LatencyStats,
    NodeReport,
    PhaseReport,
    RunReport,
    SeriesRow,
    Verdict,
)
from sim.report.noise import ALPHA, MIN_SECONDS, rank_test, seconds_of
from sim.scenario.expect import format_value

__all__ = ["compare_reports"]

FLOOR_MS = 1.0
CONNECT_FLOOR_S = 0.5
_RESOLUTION = 0.008
_SIGMAS = 2.0
_CHANCE = 0.05

_SECONDS = {"p50": "p50_ms", "p90": "p90_ms", "p95": "p90_ms", "p99": "p99_ms", "p999": "p99_ms"}
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
_FAULTS = ("lost", "duplicated", "reordered", "unexpected")

Curve = Sequence[tuple[float, float]]
"""(share of the deliveries, the latency in ms that this share does not exceed), both rising."""

Seconds = tuple[Sequence[SeriesRow], Sequence[SeriesRow]]
"""Whole measured seconds of the two runs."""


def compare_reports(a: RunReport, b: RunReport, *, tolerance_percent: float, names: tuple[str, str]) -> Comparison:
    """Compare a run with an earlier one.

    Args:
        a: The earlier run, the baseline.
        b: The run in question.
        tolerance_percent: How much worse a metric may be.
        names: What the two are called, such as their files; the second empty when it is the run at hand.
    """
    metrics = tuple(_metrics(a, b, tolerance_percent / 100))
    reasons = tuple(_reason(metric, tolerance_percent) for metric in metrics if metric.verdict is Change.WORSE)
    notes = tuple(_notes(a, b, "the second run" if names[1] else "this run"))
    return Comparison(*names, tolerance_percent, bool(reasons), reasons, notes, metrics)


def _reason(metric: ComparedMetric, tolerance_percent: float) -> str:
    values = f"{format_value(metric.b, metric.unit)}, in the baseline {format_value(metric.a, metric.unit)}"
    if metric.change_percent is None or not metric.unit:
        return f"{metric.metric}: {values}"
    return f"{metric.metric}: {values} ({metric.change_percent:+.0f}%, over the tolerance of {tolerance_percent:g}%)"


def _notes(a: RunReport, b: RunReport, second: str) -> Iterator[str]:
    for which, report in (("the baseline", a), (second, b)):
        if report.verdict is not Verdict.PASS:
            yield f"{which} did not pass: {report.verdict.value}"
    same = [
        ("scenario", a.scenario, b.scenario),
        ("seed", a.seed, b.seed),
        ("clients", a.clients.wanted, b.clients.wanted),
        ("messages", a.publish.messages, b.publish.messages),
        ("phases", _phases(a), _phases(b)),
        *((f"machine's {key}", a.machine.get(key), b.machine.get(key)) for key in ("system", "machine", "cores")),
        ("Python", a.machine.get("python"), b.machine.get("python")),
    ]
    for what, one, other in same:
        if one != other:
            yield f"not the same {what}: {one} and {other}"


def _phases(report: RunReport) -> str:
    return ", ".join(f"{phase.name} {phase.duration_s:g}s" for phase in report.phases)


def _metrics(a: RunReport, b: RunReport, tolerance: float) -> Iterator[ComparedMetric]:
    yield from _latency("", a, b, tolerance, (seconds_of(a), seconds_of(b)))
    yield from _traffic(a, b, tolerance)
    phases = {phase.name: phase for phase in b.phases if phase.measure}
    common = [(phase, phases[phase.name]) for phase in a.phases if phase.measure and phase.name in phases]
    # The only phase of both would repeat what the whole run has.
    if len(common) > 1 or len(a.phases) != len(b.phases):
        for first, second in common:
            rows = seconds_of(a, first.name), seconds_of(b, second.name)
            yield from _latency(f"phase.{first.name}.", first, second, tolerance, rows)
    yield _compared("generator.cpu", "%", a.generator.cpu_percent, b.generator.cpu_percent)
    nodes = {node.name: node for node in b.nodes}
    for node in a.nodes:
        if node.name in nodes:
            yield from _node(node, nodes[node.name])


def _node(a: NodeReport, b: NodeReport) -> Iterator[ComparedMetric]:
    yield _compared(f"node.{a.name}.cpu", "s", a.cpu_s, b.cpu_s)
    yield _compared(f"node.{a.name}.rss", "bytes", a.rss_bytes, b.rss_bytes)


def _latency(
    prefix: str, a: RunReport | PhaseReport, b: RunReport | PhaseReport, tolerance: float, seconds: Seconds
) -> Iterator[ComparedMetric]:
    curves = _curve(a), _curve(b)
    messages = a.publish.messages, b.publish.messages
    for key in ("min", "p50", "p90", "p95", "p99", "p999", "max"):
        name, first, second = f"{prefix}latency.{key}", _value(a.latency_ms, key), _value(b.latency_ms, key)
        share = _PERCENTILES.get(key)
        if share is None or first is None or second is None:
            yield _compared(name, "ms", first, second)
            continue
        beyond = abs(second - first) > tolerance * first
        why = ""
        if beyond:
            why = _noise(first, second, share, curves, messages) or _within_seconds(seconds, _SECONDS[key])
        verdict = Change.SAME
        if beyond and not why:
            verdict = Change.WORSE if second > first else Change.BETTER
        yield _compared(name, "ms", first, second, verdict, why)


def _value(stats: LatencyStats, key: str) -> float | None:
    value: float | None = getattr(stats, key)
    return value


def _noise(first: float, second: float, share: float, curves: tuple[Curve, Curve], messages: tuple[int, int]) -> str:
    """Return why a change of a percentile means nothing, "" when it does mean something."""
    if abs(second - first) <= FLOOR_MS:
        return f"within {FLOOR_MS:g} ms"
    if abs(second - first) <= _RESOLUTION * (first + second):
        return "within the histogram's error"
    (low_a, high_a), (low_b, high_b) = (_interval(curve, share, n) for curve, n in zip(curves, messages, strict=True))
    if low_b <= high_a and low_a <= high_b:
        return f"within chance: {min(messages):,} messages"
    return ""


def _within_seconds(seconds: Seconds, column: str) -> str:
    """Return why the seconds of two runs do not tell them apart, "" when they do or when there are none at all."""
    a, b = ([value for row in rows if (value := getattr(row, column)) is not None] for rows in seconds)
    if not seconds[0] and not seconds[1]:
        return ""
    if min(len(a), len(b)) < MIN_SECONDS:
        return f"too short to tell: {min(len(a), len(b))} s"
    return "" if rank_test(a, b) <= ALPHA else "within the spread of the seconds"


def _interval(curve: Curve, share: float, messages: int) -> tuple[float, float]:
    """Return between which latencies a percentile lies, by how many messages it is of."""
    spread = _SIGMAS * math.sqrt(share * (1 - share) / max(messages, 1))
    low = -math.inf if (1 - share) ** messages > _CHANCE else _at(curve, share - spread)
    high = math.inf if share**messages > _CHANCE else _at(curve, share + spread)
    return low, high


def _curve(report: RunReport | PhaseReport) -> Curve:
    """Return the percentile curve: from the histogram where the document has it, else from the percentiles."""
    if isinstance(report, RunReport) and report.latency_buckets_ms:
        total = sum(count for _, _, count in report.latency_buckets_ms)
        seen = 0
        curve = [(0.0, report.latency_buckets_ms[0][0])]
        for _, high, count in report.latency_buckets_ms:
            seen += count
            curve.append((seen / total, high))
        return curve
    stats = report.latency_ms
    points = [(0.0, stats.min), *((share, _value(stats, key)) for key, share in _PERCENTILES.items()), (1.0, stats.max)]
    return [(share, value) for share, value in points if value is not None]


def _at(curve: Curve, share: float) -> float:
    """Return a percentile, between two known ones by a straight line."""
    right = bisect_left(curve, share, key=lambda point: point[0])
    if right <= 0:
        return curve[0][1]
    if right >= len(curve):
        return curve[-1][1]
    (low, start), (high, end) = curve[right - 1], curve[right]
    return start + (end - start) * (share - low) / (high - low)


def _traffic(a: RunReport, b: RunReport, tolerance: float) -> Iterator[ComparedMetric]:
    for key in _FAULTS:
        yield _fault(f"delivery.{key}", getattr(a.delivery, key), getattr(b.delivery, key))
    yield _compared("fanout.complete_percent", "%", a.fanout.complete_percent, b.fanout.complete_percent)
    for key in ("p50", "p99"):
        values = (getattr(report.fanout.spread_ms, key) for report in (a, b))
        yield _compared(f"fanout.spread.{key}", "ms", *values)
    seconds = seconds_of(a), seconds_of(b)
    rates = a.delivery.deliveries_per_s, b.delivery.deliveries_per_s
    yield _rate("delivery.deliveries_per_s", *rates, tolerance, seconds, "delivered")
    yield _fault("publish.errors", a.publish.errors, b.publish.errors)
    rates = a.publish.rate_per_s, b.publish.rate_per_s
    yield _rate("publish.rate_per_s", *rates, tolerance, seconds, "messages")
    yield _compared("publish.send_lag.p99", "ms", a.publish.send_lag_ms.p99, b.publish.send_lag_ms.p99)
    yield _fault("clients.failed", a.clients.failed, b.clients.failed)
    first, second = a.clients.connects_per_s, b.clients.connects_per_s
    verdict, why = _rate_verdict(first, second, tolerance), ""
    if verdict is not Change.SAME and first and second:
        longer_s = abs(b.clients.connected / second - a.clients.connected / first)
        if longer_s <= CONNECT_FLOOR_S:
            verdict, why = Change.SAME, f"within {CONNECT_FLOOR_S:g} s of connecting"
    yield _compared("clients.connects_per_s", "/s", first, second, verdict, why)


def _fault(name: str, a: int, b: int) -> ComparedMetric:
    verdict = Change.WORSE if b > a else Change.BETTER if b < a else Change.SAME
    return _compared(name, "", a, b, verdict)


def _rate(name: str, a: float, b: float, tolerance: float, seconds: Seconds, column: str) -> ComparedMetric:
    verdict = _rate_verdict(a, b, tolerance)
    why = "" if verdict is Change.SAME else _within_seconds(seconds, column)
    return _compared(name, "/s", a, b, Change.SAME if why else verdict, why)


def _rate_verdict(a: float, b: float, tolerance: float) -> Change:
    if b < a * (1 - tolerance):
        return Change.WORSE
    return Change.BETTER if b > a * (1 + tolerance) else Change.SAME


def _compared(
    name: str, unit: str, a: float | None, b: float | None, verdict: Change = Change.SHOWN, why: str = ""
) -> ComparedMetric:
    change = round((b - a) / a * 100, 1) if a and b is not None else None
    return ComparedMetric(name, unit, a, b, change, verdict, why)
