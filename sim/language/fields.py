"""How a file format is declared, and how values are read by the declaration.

One table serves the reader, its messages and the JSON Schema, so they cannot
differ. Reading never stops at a problem: each goes to a list, and what
could be read is returned.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.errors import Problem
from sim.language.yaml_tree import Item, Scalar

__all__ = ["REQUIRED", "Either", "Field", "Kind", "ListOf", "Read", "Section", "nearest", "read_section"]

REQUIRED: Any = object()
"""The default of a field that has none."""

_BAD: Any = object()


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of scalar.

    Args:
        expected: What a message says after `expected`, such as `a duration such as 500ms`.
        example: A value that is right, for hints.
        parse: Scalar to value; ValueError when it is wrong, with text when there is more to say than `expected`.
        schema: The JSON Schema of what parse() takes.
        words: When it is one of a few words, those.
    """

    expected: str
    example: str
    parse: Callable[[Scalar], Any]
    schema: Mapping[str, Any]
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one spec, with `at_least` items."""

    of: Spec
    at_least: int = 0


@dataclass(frozen=True, slots=True)
class Either:
    """A scalar, or a mapping that says more."""

    scalar: Kind
    mapping: Section


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a mapping.

    Args:
        name: The key.
        spec: What its value is.
        doc: What it does, for editors and for the page about the format; Markdown.
        default: The value when the key is absent, or REQUIRED.
        shown: What that page says of an absent key: the default as a file would write it, or when the key is needed.
    """

    name: str
    spec: Spec
    doc: str
    default: Any = REQUIRED
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping with known keys. With `one_of`, exactly one of them is given."""

    fields: tuple[Field, ...]
    one_of: bool = False


Spec = Kind | ListOf | Either | Section


@dataclass(frozen=True, slots=True)
class Read:
    """A mapping as read: `values` has what was right, defaults included; a key that was wrong is absent."""

    values: Mapping[str, Any]
    item: Item
    path: str
    bad: frozenset[str] = field(default_factory=frozenset)

    def problem(self, key: str, message: str, hint: str = "") -> Problem:
        """Return a problem with the value of one key, or with the whole mapping when the key is not given."""
        value = self.item.value.get(key, self.item) if isinstance(self.item.value, dict) else self.item
        return value.problem(f"{self.path}.{key}", message, hint)

    def written(self, key: str) -> str:
        """Return what the file has at a key."""
        return self.item.value[key].written() if isinstance(self.item.value, dict) and key in self.item.value else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word most like this one, one that is a single slip away before any other; empty for none."""
    near = difflib.get_close_matches(word, list(known), n=5, cutoff=0.6)
    return next((one for one in near if _slips(word, one) == 1), next(iter(near), ""))


def _slips(a: str, b: str) -> int:
    """Return how many letters were left out, added, exchanged or swapped with their neighbour (optimal alignment)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(b, 1):
            fewest = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                fewest = min(fewest, older[j - 2] + 1)
            row.append(fewest)
    return row[-1]


def read_section(section: Section, item: Item, path: str, problems: list[Problem]) -> Read | None:
    """Read a mapping; None when it is none, or when its `one_of` cannot be told."""
    if not isinstance(item.value, dict):
        names = ", ".join(known.name for known in section.fields)
        problems.append(item.problem(path, f"{path or 'the file'} is {item.written()}; expected a mapping of {names}"))
        return None
    claimed = _report_unknown(section, item, path, problems)
    values: dict[str, Any] = {}
    bad: set[str] = set()
    for known in section.fields:
        child = f"{path}.{known.name}" if path else known.name
        if known.name in item.value:
            value = _read(known, known.spec, item.value[known.name], child, problems)
            if value is _BAD:
                bad.add(known.name)
            else:
                values[known.name] = value
        elif known.default is not REQUIRED:
            values[known.name] = known.default
        elif section.one_of:
            continue
        else:
            bad.add(known.name)
            if known.name not in claimed:
                message = f"{path or 'the scenario'} has no {known.name}; expected {_expected(known.spec)}"
                problems.append(item.problem(child, message, _example(known)))
    if section.one_of and len(values) + len(bad) != 1:
        names = " or ".join(known.name for known in section.fields)
        if not claimed:
            problems.append(item.problem(path, f"{path} is {item.written()}; expected exactly one of {names}"))
        return None
    return Read(values, item, path, frozenset(bad))


def _report_unknown(section: Section, item: Item, path: str, problems: list[Problem]) -> set[str]:
    """Report keys that are not known; return the known keys that they were probably meant to be."""
    assert isinstance(item.value, dict)
    names = [known.name for known in section.fields]
    claimed: set[str] = set()
    for key in item.value:
        if key in names:
            continue
        meant = nearest(key, names)
        hint = f"did you mean {meant}?" if meant else ""
        if meant in item.value:
            hint = f"did you mean {meant}? It is given already"
        claimed.add(meant)
        child = f"{path}.{key}" if path else key
        message = f"{child} is not known; expected one of {', '.join(names)}"
        problems.append(item.key_problem(key, child, message, hint))
    return claimed


def _read(known: Field, spec: Spec, item: Item, path: str, problems: list[Problem]) -> Any:
    if isinstance(spec, Either):
        spec = spec.mapping if isinstance(item.value, dict) else spec.scalar
    if isinstance(spec, Section):
        if not isinstance(item.value, dict) and (hint := _example(known)) != f"{known.name}: {{}}":
            problems.append(item.problem(path, f"{path} is {item.written()}; expected {_expected(spec)}", hint))
            return _BAD
        read = read_section(spec, item, path, problems)
        return _BAD if read is None or read.bad else read
    if isinstance(spec, ListOf):
        return _read_list(known, spec, item, path, problems)
    if isinstance(item.value, (dict, list)):
        reason = ""
    else:
        try:
            return spec.parse(item.value)
        except ValueError as exc:
            reason = str(exc)
    message = f"{path} is {item.written()}; expected {reason or spec.expected}"
    meant = nearest(item.value, spec.words) if isinstance(item.value, str) else ""
    problems.append(item.problem(path, message, f"did you mean {meant}?" if meant else f"{known.name}: {spec.example}"))
    return _BAD


def _read_list(known: Field, spec: ListOf, item: Item, path: str, problems: list[Problem]) -> Any:
    if not isinstance(item.value, list):
        message = f"{path} is {item.written()}; expected {_expected(spec)}"
        problems.append(item.problem(path, message, _example(known)))
        return _BAD
    if len(item.value) < spec.at_least:
        message = f"{path} is {item.written()}; expected at least {spec.at_least}"
        problems.append(item.problem(path, message, _example(known)))
        return _BAD
    values: list[Any] = []
    for number, child in enumerate(item.value):
        child_path = f"{path}[{number}]"
        if isinstance(spec.of, Section):  # a mapping with a problem is kept: the rest of it can still be checked
            values.append(read_section(spec.of, child, child_path, problems))
        else:
            one = Field(f"{known.name}[{number}]", spec.of, known.doc)
            values.append(_read(one, spec.of, child, child_path, problems))
    values = [value for value in values if value is not None]
    return _BAD if any(value is _BAD for value in values) else values


def _expected(spec: Spec) -> str:
    if isinstance(spec, Kind):
        return spec.expected
    if isinstance(spec, Either):
        return spec.scalar.expected
    if isinstance(spec, ListOf):
        return "a list of mappings" if isinstance(spec.of, Section) else f"a list, each {_expected(spec.of)}"
    return "a mapping of " + ", ".join(known.name for known in spec.fields)


def _example(known: Field) -> str:
    """Return a line, or two, that would be right."""
    return f"{known.name}: {_example_value(known.spec)}"


def _example_value(spec: Spec) -> str:
    if isinstance(spec, Kind):
        return spec.example
    if isinstance(spec, Either):
        return spec.scalar.example
    if isinstance(spec, ListOf):
        return f"[{_example_value(spec.of)}]"
    needed = [known for known in spec.fields if known.default is REQUIRED]
    return "{" + ", ".join(_example(known) for known in (needed[:1] if spec.one_of else needed)) + "}"
