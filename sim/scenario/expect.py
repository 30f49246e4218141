"""Expectations: `latency.p99 < 50ms`, read before a run and judged after it.

A path names a number of the result document, without the unit in its name:
`latency.p99` is `latency_ms.p99`, `phase.spike.delivery.lost` is `delivery.lost`
of the phase called spike, `node.comet-1.rss` is `rss_bytes` of that node (see
sim.scenario.metrics). An expectation may be limited to a window of time, which is then
part of its text: `latency.p99 < 200ms from 10s to 20s`.
A number that was not measured never passes, whatever the operator.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sim.language import units
from sim.language.fields import nearest
from sim.report.model import ExpectResult
from sim.scenario.metrics import ExpectationError, Metric, Names, Subject, metric_paths, read_path, split_path
from sim.scenario.scenario import Event, Expectation, Phase

__all__ = [
    "EXPECTATION_PATTERN",
    "OPERATORS",
    "ExpectationError",
    "Part",
    "end_early",
    "evaluate",
    "explain",
    "find_event",
    "format_value",
    "limit_to",
    "metric_paths",
    "parse_expectation",
    "without_window",
]

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

EXPECTATION_PATTERN = r"^\s*[A-Za-z0-9_.-]+\s*(<=|>=|==|!=|<|>)\s*[0-9].*$"

Part = Callable[[Subject, Expectation], Mapping[str, Any] | None]
"""Returns the part of a result that an expectation is about, in the form of the document; None: not reached."""

_EXPRESSION = re.compile(r"\s*(?P<path>[^\s<>=!]+)\s*(?P<op>[<>=!]+)\s*(?P<value>.*?)\s*")
_WINDOW = re.compile(r" (from|until) [0-9].*")

_EXAMPLES = {"": "0", "ms": "50ms", "s": "10s", "bytes": "200MB", "/s": "1000", "%": "80%"}

_NUMBERS = {"": "a number without a unit", "/s": "a number or a rate such as 1000/s", "%": "a number such as 80%"}


def parse_expectation(
    text: str,
    phases: Sequence[Phase],
    *,
    populations: Sequence[str] = (),
    publishers: Mapping[str, str] | None = None,
    line: int = 0,
    column: int = 0,
) -> Expectation:
    """Read one expectation.

    Args:
        text: Such as `phase.spike.latency.p99 < 200ms`.
        phases: The scenario's; only these can be named.
        populations: Names of the scenario's populations, as for phases.
        publishers: Its publishers, as Names has them.
        line: Where the text stands; kept in the result.
        column: As `line`.

    Raises:
        ExpectationError: it has another form, a path that no result has, or a value of the wrong unit.
    """
    match = _EXPRESSION.fullmatch(text)
    if match is None or not match["value"]:
        raise ExpectationError(
            f'"{text}" is not an expectation; expected <metric> <operator> <number and unit>',
            hint="latency.p99 < 50ms",
        )
    path, op, value = match["path"], match["op"], match["value"]
    if op not in OPERATORS:
        raise ExpectationError(
            f'"{op}" in "{text}" is not an operator; expected one of {" ".join(OPERATORS)}',
            hint=f"{path} {'==' if op == '=' else '<'} {value}",
        )
    names = Names({phase.name: phase.measure for phase in phases}, populations, publishers or {})
    unit = read_path(path, names).metric.unit
    try:
        number = _parse_value(value, unit)
    except ValueError as exc:
        raise ExpectationError(
            f'"{value}" in "{text}" is no value of {path}; expected {exc}', hint=f"{path} {op} {_EXAMPLES[unit]}"
        ) from None
    return Expectation(" ".join(text.split()), path, op, number, unit, line, column)


def limit_to(
    expectation: Expectation,
    phases: Sequence[Phase],
    *,
    from_s: float | None,
    to_s: float | None,
    event: Event | None = None,
) -> Expectation:
    """Return the expectation for a window of time only.

    Args:
        expectation: One without a window.
        phases: The scenario's.
        from_s: When it begins, from the start of the first phase or after the event. None: there.
        to_s: When it ends, as `from_s`. None: with the run.
        event: What the times count from; None for the start of the first phase.

    Raises:
        ExpectationError: there is nothing in that window, or the metric is of the whole run or of a phase.
    """
    subject = split_path(expectation.path)
    if subject.phase:
        raise ExpectationError(
            f"{expectation.path} is of a phase already; expected either a phase or a window of time",
            hint=expectation.path.replace(f"phase.{subject.phase}.", "", 1),
        )
    if subject.key.partition(".")[0] in ("clients", "generator"):
        raise ExpectationError(f"{expectation.path} is of the whole run; expected no from, to or event")
    base_s = event.at_s if event is not None else 0.0
    low_s, high_s = base_s + (from_s or 0.0), math.inf if to_s is None else base_s + to_s
    end_s = math.fsum(phase.duration_s for phase in phases)
    if high_s <= low_s:
        raise ExpectationError(f"the window ends at {high_s:g}s and begins at {low_s:g}s; expected it to end later")
    if low_s >= end_s:
        raise ExpectationError(f"the window begins at {low_s:g}s, and the run is over at {end_s:g}s")
    if not subject.node and not _measured_between(phases, low_s, high_s):
        raise ExpectationError("nothing in the window is measured; expected some of a phase with measure: true")
    label = f" from {units.format_duration(from_s or 0.0)}" if from_s is not None or event is not None else ""
    if to_s is not None:
        label += f" {'to' if label else 'until'} {units.format_duration(to_s)}"
    if event is not None:
        label += f" after {event.kind} {event.node or event.who}"
    expr = expectation.expr + label
    return dataclasses.replace(expectation, expr=expr, from_s=low_s, to_s=None if to_s is None else high_s)


def end_early(expectation: Expectation, *, after_s: float) -> Expectation:
    """Return the expectation as one that ends the run when it has not held for a time.

    Raises:
        ExpectationError: its metric is only known at the end.
    """
    subject = split_path(expectation.path)
    if not subject.metric.live:
        raise ExpectationError(
            f"{expectation.path} is only known when the run is over; expected, with abort: true, a metric of latency, "
            "clients, nodes, or publish.messages, .errors, .rate_per_s or delivery.delivered, .deliveries_per_s, "
            ".duplicated, .unexpected",
            hint="leave abort away, or abort on latency.p99 or publish.errors",
        )
    return dataclasses.replace(expectation, abort=True, after_s=after_s)


def find_event(text: str, events: Sequence[Event]) -> Event:
    """Return the event that a window counts from: `kill comet-1`, with ` at 9s` where several are of that kind.

    Raises:
        ExpectationError: there is none, or there are several.
    """
    wanted, _, at = " ".join(text.split()).partition(" at ")
    named = [event for event in events if f"{event.kind} {event.node or event.who}" == wanted]
    if at:
        try:
            at_s = units.parse_duration_s(at)
        except ValueError as exc:
            raise ExpectationError(f'"{at}" in "{text}" is no time; expected {exc}') from None
        named = [event for event in named if abs(event.at_s - at_s) < 1e-9]
    if len(named) == 1:
        return named[0]
    known = [f"{event.kind} {event.node or event.who} at {event.at_s:g}s" for event in events]
    meant = nearest(text, known) or next(iter(known), "")
    what = f"{len(named)} events are {wanted}" if named else f'no event is "{text}"'
    raise ExpectationError(
        f"{what}; expected one of {', '.join(known) or 'none: the scenario has no events'}",
        hint=f"event: {meant}" if meant else "",
    )


def without_window(expr: str) -> str:
    """Return an expectation's text without its window."""
    return _WINDOW.sub("", expr)


def evaluate(
    expectations: Iterable[Expectation], document: Mapping[str, Any], part: Part | None = None
) -> list[ExpectResult]:
    """Judge each expectation by a result document, in order.

    Args:
        expectations: What to judge.
        document: The result.
        part: Returns what is measured within limits; without it only those are known that the document has.
    """
    results: list[ExpectResult] = []
    for expectation in expectations:
        value, reason = _measured(expectation, document, part)
        passed = value is not None and OPERATORS[expectation.op](value, expectation.value)
        results.append(ExpectResult(expectation.expr, value, passed, expectation.unit, reason))
    return results


def explain(result: ExpectResult) -> str:
    """Return a line for a report's reasons: `latency.p99 < 50ms: was 61.2 ms`."""
    return f"{result.expr}: {result.reason or f'was {format_value(result.value, result.unit)}'}"


def format_value(value: float | None, unit: str) -> str:
    """Return a measured number with its unit, as people read it."""
    if value is None:
        return "-"
    if unit == "bytes":
        return units.format_bytes(value)
    if unit in ("ms", "s"):
        return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    number = f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"
    if unit == "%" and number == "100" and value < 100:
        number = f"{value:.6g}"  # nearly all is not all
    return f"{number}{unit}"


def _parse_value(text: str, unit: str) -> float:
    """Return the number of a value in the metric's unit; ValueError says which form it has to have."""
    if unit in ("ms", "s"):
        return units.parse_duration_s(text) * (1000.0 if unit == "ms" else 1.0)
    if unit == "bytes":
        return float(units.parse_size_bytes(text))
    if unit == "/s" and "/" in text:
        return units.parse_rate_per_s(text)
    if unit == "%":
        text = text.removesuffix("%").rstrip()
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise ValueError(_NUMBERS[unit])
    return float(text)


def _measured_between(phases: Sequence[Phase], low_s: float, high_s: float) -> bool:
    start_s = 0.0
    for phase in phases:
        end_s = start_s + phase.duration_s
        if phase.measure and start_s < high_s and low_s < end_s:
            return True
        start_s = end_s
    return False


def _measured(expectation: Expectation, document: Mapping[str, Any], part: Part | None) -> tuple[float | None, str]:
    """Return the number of an expectation, or None and why there is none."""
    subject = split_path(expectation.path)
    scope: Mapping[str, Any] | None
    limits = [limit for limit in (subject.phase, subject.population, subject.publisher) if limit]
    has_window = expectation.from_s is not None or expectation.to_s is not None
    if part is not None and (has_window or limits):
        scope = part(subject, expectation)
    else:
        scope = _part_of(subject, document)
    if scope is None:
        if subject.phase:
            return None, f"the run did not reach the phase {subject.phase}"
        return None, "the run did not reach that time" if has_window else "the result does not have it"
    if subject.node:
        return _node_value(subject, scope.get("nodes", ()))
    within = f" in {' '.join(limits)}" if limits else " in that time" if has_window else ""
    metric = subject.metric
    if subject.place:
        metric = Metric(
            ("delivery", "lost_at", subject.place), "", ("delivery", "expected"), "no delivery was expected"
        )
    if metric.samples and not _look_up(scope, metric.samples):
        return None, f"{metric.none}{within}"
    if subject.place:
        return float(scope["delivery"]["lost_at"].get(subject.place, 0)), ""
    value = _look_up(scope, metric.keys)
    return (None, "not measured") if value is None else (float(value), "")


def _part_of(subject: Subject, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the part of a document that has a subject's numbers."""
    for key, name in (
        ("phases", subject.phase),
        ("populations", subject.population),
        ("publishers", subject.publisher),
    ):
        if name:
            return next((one for one in document.get(key, ()) if one["name"] == name), None)
    return document


def _node_value(subject: Subject, nodes: Sequence[Mapping[str, Any]]) -> tuple[float | None, str]:
    """Return the number of a node, or of all nodes together."""
    found = [node for node in nodes if subject.node in ("*", node["name"])]
    if not found:
        names = ", ".join(str(node["name"]) for node in nodes)
        what = "no nodes" if subject.node == "*" else f"no node {subject.node}"
        return None, f"{what}; the result has {names or 'no nodes'}"
    total = 0.0
    for node in found:
        value: Any
        if subject.place:
            value = node["drops"].get(subject.place, 0)
        elif subject.key == "drops":
            value = sum(node["drops"].values())
        else:
            value = _look_up(node, subject.metric.keys)
        if value is None:
            return None, f"{node['name']} does not tell its {subject.key}"
        total += value
    return total, ""


def _look_up(scope: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = scope
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
