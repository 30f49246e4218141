"""From a result document back to the values it was made from.

A key that is missing gets its default, and one that is unknown is passed over,
so a report that an older or a newer imctl wrote can be read as long as its
schema version is this one's. A value of the wrong kind is an error.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from sim.report.model import ExpectResult, RunReport, document_key
from sim.scenario.expect import ExpectationError, parse_expectation, without_window
from sim.scenario.scenario import Phase

__all__ = ["read_report"]


def read_report(document: Mapping[str, Any]) -> RunReport:
    """Return the report that a document was made from. Any: the values of JSON have no one type.

    Raises:
        ValueError: a value is not what a report has there; the text says where.
    """
    report: RunReport = _read(RunReport, document, "")
    # The document leaves units to the names of metrics, and why there is no value to the run's reasons.
    expect = tuple(
        dataclasses.replace(one, unit=_unit(one, report), reason=_reason(one, report)) for one in report.expect
    )
    return dataclasses.replace(report, expect=expect)


def _reason(result: ExpectResult, report: RunReport) -> str:
    if result.value is not None:
        return ""
    if result.passed is None:
        return f"not known: {', '.join(report.generator.broken)}"
    start = f"{result.expr}: "
    return next((line.removeprefix(start) for line in report.reasons if line.startswith(start)), "not measured")


def _unit(result: ExpectResult, report: RunReport) -> str:
    phases = [Phase(phase.name, phase.duration_s) for phase in report.phases]
    populations = [population.name for population in report.populations]
    publishers = {publisher.name: "" for publisher in report.publishers}
    text = without_window(result.expr)
    try:
        return parse_expectation(text, phases, populations=populations, publishers=publishers).unit
    except ExpectationError:
        return ""  # of a version that knows more metrics


def _read(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the type of a field."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_union(inner, value, where)
    if origin is tuple:
        return _read_tuple(inner, value, where)
    if origin is not None:  # Mapping[str, X]
        items = _expect(isinstance(value, dict), value, where, "an object")
        return {str(key): _read(inner[1], item, f"{where}.{key}") for key, item in items.items()}
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        return _read_fields(kind, value, where)
    if issubclass(kind, enum.Enum):
        known = [member.value for member in kind]
        return kind(_expect(value in known, value, where, f"one of {', '.join(known)}"))
    if kind is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return _expect(number, value, where, "a number")
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return _expect(fits, value, where, {int: "a whole number", str: "text", bool: "true or false"}[kind])


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    for kind in others[:-1]:
        try:
            return _read(kind, value, where)
        except ValueError:
            continue
    return _read(others[-1], value, where)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    items = _expect(isinstance(value, list), value, where, "a list")
    if kinds[-1] is Ellipsis:
        return tuple(_read(kinds[0], item, f"{where}[{number}]") for number, item in enumerate(items))
    _expect(len(items) == len(kinds), value, where, f"a list of {len(kinds)}")
    return tuple(_read(kind, item, where) for kind, item in zip(kinds, items, strict=True))


def _read_fields(kind: type, value: Any, where: str) -> Any:
    items = _expect(isinstance(value, dict), value, where or "the document", "an object")
    found: dict[str, Any] = {}
    for name, key, inner, is_needed in _fields(kind):
        path = f"{where}.{key}" if where else key
        if key in items:
            found[name] = _read(inner, items[key], path)
        elif is_needed:
            raise ValueError(f"it has no {path}")
    return kind(**found)


@cache
def _fields(kind: type) -> tuple[tuple[str, str, Any, bool], ...]:
    """Return (name, key in the document, type, whether it is needed) of each field that the document has."""
    hints = typing.get_type_hints(kind)
    return tuple(
        (item.name, key, hints[item.name], item.default is item.default_factory is dataclasses.MISSING)
        for item in dataclasses.fields(kind)
        if (key := document_key(item)) is not None
    )


def _expect(fits: bool, value: Any, where: str, expected: str) -> Any:
    if not fits:
        text = repr(value)
        raise ValueError(f"{where} is {text if len(text) < 60 else text[:57] + '...'}; expected {expected}")
    return value
