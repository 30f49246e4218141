"""Expectations: `latency.p99 < 50ms`, read before a run and judged after it.

A path names a number of the result document, without the unit in its name:
`latency.p99` is `latency_ms.p99`, `phase.spike.delivery.lost` is `delivery.lost`
of the phase called spike, `node.comet-1.rss` is `rss_bytes` of that node.
A number that was not measured never passes, whatever the operator.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim import units
from sim.errors import SimError
from sim.fields import nearest
from sim.report.model import ExpectResult
from sim.scenario import Expectation, Phase

__all__ = [
    "EXPECTATION_PATTERN",
    "OPERATORS",
    "ExpectationError",
    "evaluate",
    "explain",
    "format_value",
    "metric_paths",
    "parse_expectation",
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

_EXPRESSION = re.compile(r"\s*(?P<path>[^\s<>=!]+)\s*(?P<op>[<>=!]+)\s*(?P<value>.*?)\s*")


class ExpectationError(SimError):
    """An expectation cannot be read, or names a number that no result has."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of the result document.

    Args:
        keys: Where it is, from the document, the phase or the node it belongs to.
        unit: `ms`, `s`, `bytes`, `/s`, `%`, or empty for a count.
        samples: Where the number of things it was measured over is; empty when it is itself such a number.
        none: What to say when that number is 0.
    """

    keys: tuple[str, ...]
    unit: str = ""
    samples: tuple[str, ...] = ()
    none: str = ""


def _metrics() -> tuple[dict[str, Metric], dict[str, Metric], dict[str, Metric]]:
    """Return the metrics of the whole run, of a phase (part of the former), and of a node."""
    delivery = ("delivery", "expected"), "no delivery was expected"
    publish = ("publish", "messages"), "nothing was published"
    scoped = {
        "latency.count": Metric(("latency_ms", "count")),
        "publish.messages": Metric(("publish", "messages")),
        "publish.errors": Metric(("publish", "errors"), "", *publish),
        "publish.rate_per_s": Metric(("publish", "rate_per_s"), "/s", *publish),
        "delivery.expected": Metric(("delivery", "expected")),
        "delivery.delivered": Metric(("delivery", "delivered")),
        "delivery.deliveries_per_s": Metric(("delivery", "deliveries_per_s"), "/s", *delivery),
    }
    for key in ("min", "p50", "p90", "p95", "p99", "p999", "max"):
        scoped[f"latency.{key}"] = Metric(("latency_ms", key), "ms", ("latency_ms", "count"), "nothing was delivered")
    for key in ("p50", "p99", "max"):
        scoped[f"publish.send_lag.{key}"] = Metric(("publish", "send_lag_ms", key), "ms", *publish)
    for key in ("lost", "duplicated", "reordered", "unexpected"):
        scoped[f"delivery.{key}"] = Metric(("delivery", key), "", *delivery)
    whole = dict(scoped)
    for key in ("wanted", "connected", "failed", "disconnected", "reconnects"):
        whole[f"clients.{key}"] = Metric(("clients", key))
    whole["clients.connects_per_s"] = Metric(("clients", "connects_per_s"), "/s")
    whole["generator.workers"] = Metric(("generator", "workers"))
    whole["generator.cpu"] = Metric(("generator", "cpu_percent"), "%")
    whole["generator.loop_lag"] = Metric(("generator", "loop_lag_ms"), "ms")
    node = {"cpu": Metric(("cpu_s",), "s"), "rss": Metric(("rss_bytes",), "bytes"), "drops": Metric(("drops",))}
    return whole, scoped, node


_WHOLE, _SCOPED, _NODE = _metrics()
_DROPS = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")

_EXAMPLES = {"": "0", "ms": "50ms", "s": "10s", "bytes": "200MB", "/s": "1000", "%": "80%"}

_NUMBERS = {"": "a number without a unit", "/s": "a number or a rate such as 1000/s", "%": "a number such as 80%"}


def metric_paths(phases: Sequence[Phase] = ()) -> tuple[str, ...]:
    """Return every path an expectation can have, with `NODE` and `PLACE` where a name goes."""
    scoped = [f"phase.{phase.name}.{path}" for phase in phases for path in _SCOPED]
    node = [f"node.NODE.{path}" for path in (*_NODE, "drops.PLACE")]
    return (*_WHOLE, "delivery.lost_at.PLACE", *scoped, *node)


def parse_expectation(text: str, phases: Sequence[Phase], *, line: int = 0, column: int = 0) -> Expectation:
    """Read one expectation.

    Args:
        text: Such as `phase.spike.latency.p99 < 200ms`.
        phases: The scenario's; only these can be named.
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
    unit = _metric(path, phases).unit
    try:
        number = _parse_value(value, unit)
    except ValueError as exc:
        raise ExpectationError(
            f'"{value}" in "{text}" is no value of {path}; expected {exc}', hint=f"{path} {op} {_EXAMPLES[unit]}"
        ) from None
    return Expectation(" ".join(text.split()), path, op, number, unit, line, column)


def evaluate(expectations: Iterable[Expectation], report: Mapping[str, Any]) -> list[ExpectResult]:
    """Judge each expectation by a result document, in order."""
    results: list[ExpectResult] = []
    for expectation in expectations:
        value, reason = _measured(expectation.path, report)
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
    return f"{number}{unit}"


def _metric(path: str, phases: Sequence[Phase]) -> Metric:
    """Return the metric of a path, or say what it could have been."""
    head, _, rest = path.partition(".")
    if head == "phase" and rest:
        return _phase_metric(path, rest, phases)
    if head == "node" and rest:
        name, _, key = rest.partition(".")
        return _in_table(path, key, _NODE, f"node.{name}.", drops="drops.")
    return _in_table(path, path, _WHOLE, "", drops="delivery.lost_at.")


def _phase_metric(path: str, rest: str, phases: Sequence[Phase]) -> Metric:
    name, _, key = rest.partition(".")
    found = next((phase for phase in phases if phase.name == name), None)
    if found is None:
        names = [phase.name for phase in phases]
        meant = nearest(name, names)
        raise ExpectationError(
            f'{path} names the phase "{name}"; expected one of {", ".join(names)}',
            hint=f"did you mean phase.{meant}.{key}?" if meant else "",
        )
    if not found.measure:
        raise ExpectationError(
            f'{path} names the phase "{name}", which is not measured; expected a phase with measure: true',
            hint=f"take measure: false away from {name}, or expect this of another phase",
        )
    return _in_table(path, key, _SCOPED, f"phase.{name}.", drops="delivery.lost_at.", drops_known=False)


def _in_table(
    path: str, key: str, table: Mapping[str, Metric], prefix: str, *, drops: str, drops_known: bool = True
) -> Metric:
    metric = table.get(key)
    if metric is not None:
        return metric
    place = key.removeprefix(drops)
    if drops_known and place != key and _DROPS.fullmatch(place):
        return Metric(())
    # `latency_ms.p99` and `rss_bytes` are what the document has; the unit belongs to the value here.
    plain = re.sub(r"_(ms|bytes|percent|s)(?=\.|$)", "", key)
    meant = plain if plain in table else nearest(key, table)
    groups = {known.partition(".")[0] for known in table} | (set() if prefix else {"phase", "node"})
    raise ExpectationError(
        f"{path} is not in the result; expected a metric of {', '.join(sorted(groups))}",
        hint=f"did you mean {prefix}{meant}?" if meant else f"such as {prefix}{next(iter(table))}",
    )


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


def _measured(path: str, report: Mapping[str, Any]) -> tuple[float | None, str]:
    """Return the number at a path, or None and why there is none."""
    head, _, rest = path.partition(".")
    if head == "node":
        return _node_value(rest, report.get("nodes", ()))
    scope, table, key, within = report, _WHOLE, path, ""
    if head == "phase":
        name, _, key = rest.partition(".")
        found = [phase for phase in report.get("phases", ()) if phase["name"] == name]
        if not found:
            return None, f"the run did not reach the phase {name}"
        scope, table, within = found[0], _SCOPED, f" in {name}"
    place = key.removeprefix("delivery.lost_at.")
    metric = Metric(("delivery", "lost"), "", ("delivery", "expected"), "no delivery was expected")
    if place == key:
        metric = table[key]
    if metric.samples and not _look_up(scope, metric.samples):
        return None, f"{metric.none}{within}"
    if place != key:
        return float(scope["delivery"]["lost_at"].get(place, 0)), ""
    value = _look_up(scope, metric.keys)
    return (None, "not measured") if value is None else (float(value), "")


def _node_value(rest: str, nodes: Sequence[Mapping[str, Any]]) -> tuple[float | None, str]:
    name, _, key = rest.partition(".")
    node = next((node for node in nodes if node["name"] == name), None)
    if node is None:
        names = ", ".join(str(node["name"]) for node in nodes)
        return None, f"no node {name}; the result has {names or 'no nodes'}"
    if key == "drops":
        return float(sum(node["drops"].values())), ""
    if key.startswith("drops."):
        return float(node["drops"].get(key.removeprefix("drops."), 0)), ""
    value = _look_up(node, _NODE[key].keys)
    return (None, f"{name} does not tell its {key}") if value is None else (float(value), "")


def _look_up(scope: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = scope
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
