"""Two runs side by side: what got worse, what is only noise, and what cannot be told.

A latency percentile is worse when all of these hold:

- it is larger by more than the tolerance;
- it is larger by more than 1 ms, and by more than the histograms' error of 0.8 %;
- it is larger than chance makes it: the intervals in which the true
  percentiles lie with 95 % (sim.report.chance) do not overlap;
- it is larger than the seconds of the two runs differ among themselves: the
  rank test of sim.report.noise on the p50, p90 or p99 of each whole measured
  second (sim.report.seconds). Messages of one second share its luck, which
  counting them does not show. Only for two documents without any series this
  is left out.

Better is the same the other way round. What has too few messages or seconds
for that is not judged, however alike the two numbers are: by a tolerance
nobody could have found it worse. There is one exception, for runs of three or
four seconds: a percentile that is three times as large, in every second
larger than in any second of the other run, is worse. A tolerance of 200 % or
more asks for no finer answer, so it judges such a run altogether.

Of losses, copies, wrong order, errors and failed clients every single one
counts. Deliveries and pushes a second are worse when they fall by more than
the tolerance, and by more than their seconds differ among themselves; the
seconds in which the cluster stood still, when they are a larger share of the
run by more than the tolerance, and two more; the time to connect when it grows
by more than the tolerance and half a second. Minimum and maximum are one
message each, messages that reached everybody tell of the same losses once
more, and the spread from first to last receiver and what nodes and generator
use depend on the machine: those are shown and never judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sim.report.chance import PERCENTILES, curve_of, interval, messages_needed
from sim.report.model import (
    Change,
    ComparedMetric,
    Comparison,
    LatencyStats,
    NodeReport,
    PhaseReport,
    RunReport,
    Verdict,
)
from sim.report.noise import MIN_SECONDS, is_shifted
from sim.report.seconds import Seconds, seconds_of
from sim.scenario.expect import format_value

__all__ = ["compare_reports"]

FLOOR_MS = 1.0
CONNECT_FLOOR_S = 0.5
STALLED_FLOOR_S = 2
_RESOLUTION = 0.008

COARSE_SECONDS = 3
COARSE_TOLERANCE = 2.0
"""Three times as large. That each of three seconds is worse than each of three others is chance once in twenty times,
so by itself no evidence; that they are then three times as large is what noise does not explain."""

_SECONDS = {"p50": "p50_ms", "p90": "p90_ms", "p95": "p90_ms", "p99": "p99_ms", "p999": "p99_ms"}
_FAULTS = ("lost", "duplicated", "reordered", "unexpected")

Judged = tuple[Change, str]
"""A verdict, and why it is no other."""


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
    return Comparison(*names, tolerance_percent, bool(reasons), reasons, notes, metrics, _unjudged(metrics))


def _unjudged(metrics: Sequence[ComparedMetric]) -> str:
    """Return why no latency of the two runs could be judged; "" when one was, or there was none."""
    found = [one for one in metrics if "latency." in one.metric and one.verdict is not Change.SHOWN]
    if not found or any(one.verdict is not Change.NOT_JUDGED for one in found):
        return ""
    return found[0].why


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
    prefix: str,
    a: RunReport | PhaseReport,
    b: RunReport | PhaseReport,
    tolerance: float,
    seconds: tuple[Seconds, Seconds],
) -> Iterator[ComparedMetric]:
    curves = curve_of(a), curve_of(b)
    messages = min(a.publish.messages, b.publish.messages)
    for key in ("min", "p50", "p90", "p95", "p99", "p999", "max"):
        name, first, second = f"{prefix}latency.{key}", _value(a.latency_ms, key), _value(b.latency_ms, key)
        share = PERCENTILES.get(key)
        if share is None or first is None or second is None:
            yield _compared(name, "ms", first, second)
            continue
        if messages < messages_needed(share):
            why = f"too few messages: {messages:,} of {messages_needed(share):,}"
            yield _compared(name, "ms", first, second, Change.NOT_JUDGED, why)
            continue
        noise = _within_floor(first, second)
        if not noise:
            low_a, high_a = interval(curves[0], share, a.publish.messages)
            low_b, high_b = interval(curves[1], share, b.publish.messages)
            noise = f"within chance: {messages:,} messages" if low_b <= high_a and low_a <= high_b else ""
        values = [one.latencies(_SECONDS[key]) for one in seconds]
        has_seconds = any(seconds)
        verdict, why = _judge(first, second, tolerance, noise, values if has_seconds else None)
        yield _compared(name, "ms", first, second, verdict, why)


def _value(stats: LatencyStats, key: str) -> float | None:
    value: float | None = getattr(stats, key)
    return value


def _within_floor(first: float, second: float) -> str:
    """Return why a change is too small to mean anything, "" when it is not."""
    if abs(second - first) <= FLOOR_MS:
        return f"within {FLOOR_MS:g} ms"
    if abs(second - first) <= _RESOLUTION * (first + second):
        return "within the histogram's error"
    return ""


def _judge(
    first: float, second: float, tolerance: float, noise: str, values: Sequence[Sequence[float]] | None
) -> Judged:
    """Judge a number that is worse when it is larger.

    Args:
        first: Of the baseline.
        second: Of the run in question.
        tolerance: How much larger it may be.
        noise: Why a change means nothing, whatever the seconds say.
        values: Of each second of the one and of the other; None when neither document has any.
    """
    beyond = abs(second - first) > tolerance * first
    verdict = Change.WORSE if second > first else Change.BETTER
    if values is None:
        return (Change.SAME, noise) if beyond and noise else (verdict if beyond else Change.SAME, "")
    a, b = values
    length = min(len(a), len(b))
    if length < MIN_SECONDS:
        return _judge_short(first, second, tolerance, noise, (a, b))
    if not beyond:
        return Change.SAME, ""
    if not noise and not is_shifted(a, b, up=second > first):
        noise = "within the spread of the seconds"
    return (Change.SAME, noise) if noise else (verdict, "")


def _judge_short(
    first: float, second: float, tolerance: float, noise: str, values: tuple[Sequence[float], Sequence[float]]
) -> Judged:
    """Judge by a few seconds: only what is several times as large, and in every second, is more than their noise."""
    a, b = values
    length = min(len(a), len(b))
    short = f"too short to tell: {length} s"
    if length < COARSE_SECONDS:
        return Change.NOT_JUDGED, short
    small, large = sorted((first, second))
    beyond = large - small > max(tolerance, COARSE_TOLERANCE) * small
    if beyond and not noise and (max(a) < min(b) if second > first else max(b) < min(a)):
        return (Change.WORSE if second > first else Change.BETTER), ""
    if tolerance < COARSE_TOLERANCE:
        return Change.NOT_JUDGED, short
    return Change.SAME, (noise or "within the spread of the seconds") if beyond else ""


def _traffic(a: RunReport, b: RunReport, tolerance: float) -> Iterator[ComparedMetric]:
    for key in _FAULTS:
        yield _fault(f"delivery.{key}", getattr(a.delivery, key), getattr(b.delivery, key))
    yield _compared("fanout.complete_percent", "%", a.fanout.complete_percent, b.fanout.complete_percent)
    for key in ("p50", "p99"):
        values = (getattr(report.fanout.spread_ms, key) for report in (a, b))
        yield _compared(f"fanout.spread.{key}", "ms", *values)
    seconds = seconds_of(a), seconds_of(b)
    yield _stalled(seconds, tolerance)
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


def _stalled(seconds: tuple[Seconds, Seconds], tolerance: float) -> ComparedMetric:
    """Compare the seconds in which nothing came of what was pushed, which only a comparison counts."""
    name, (a, b) = "delivery.stalled", (len(one.stalled) for one in seconds)
    if not all(seconds):
        return _compared(name, "s", None, None)
    first, second = a / len(seconds[0]), b / len(seconds[1])
    verdict = Change.SAME
    if abs(second - first) > tolerance and abs(b - a) >= STALLED_FLOOR_S:
        verdict = Change.WORSE if second > first else Change.BETTER
    return _compared(name, "s", a, b, verdict)


def _rate(
    name: str, a: float, b: float, tolerance: float, seconds: tuple[Seconds, Seconds], column: str
) -> ComparedMetric:
    verdict, why = _rate_verdict(a, b, tolerance), ""
    if verdict is not Change.SAME and any(seconds):
        counts = [one.counts(column) for one in seconds]
        length = min(map(len, counts))
        if length < MIN_SECONDS:
            verdict, why = Change.NOT_JUDGED, f"too short to tell: {length} s"
        elif not is_shifted(*counts, up=verdict is Change.BETTER):
            verdict, why = Change.SAME, "within the spread of the seconds"
    return _compared(name, "/s", a, b, verdict, why)


def _rate_verdict(a: float, b: float, tolerance: float) -> Change:
    if b < a * (1 - tolerance):
        return Change.WORSE
    return Change.BETTER if b > a * (1 + tolerance) else Change.SAME


def _compared(
    name: str, unit: str, a: float | None, b: float | None, verdict: Change = Change.SHOWN, why: str = ""
) -> ComparedMetric:
    change = round((b - a) / a * 100, 1) if a and b is not None else None
    return ComparedMetric(name, unit, a, b, change, verdict, why)
