"""YAML text as a tree that knows where each value stands.

PyYAML reads YAML 1.1, where `1:30` is 90, `on` is true, `010` is 8 and the last
of two equal keys wins in silence. Here the scalars of YAML 1.2's core schema
count, and a key given twice is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sim.errors import Problem
from sim.publish.payload import OWN_FIELDS

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml: the same nodes, ten times slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]  # one name for either

__all__ = ["Item", "Scalar", "parse_tree", "parse_value"]

Scalar = str | int | float | bool | None

MAX_BYTES = 1_000_000
MAX_ITEMS = 100_000
"""Largest text, and most values in it. Aliases count each time: nine lines of them can stand for a billion values."""

MAX_DEPTH = 32
"""Deeper nesting is refused: a scenario has five levels, and Python's stack is finite."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_VARIABLE_IN_TEMPLATE = re.compile(rf"\$\$\{{|{_VARIABLE.pattern}")
_TEMPLATES = {"body": OWN_FIELDS}
"""Keys whose values are templates, and the names in `${ }` that are fields there and no variables."""


class _Loader(_SafeLoader):
    """PyYAML with the scalars of YAML 1.2's core schema."""


# A table of its own: the parent's is shared with every other user of PyYAML in the process.
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


@dataclass(slots=True)
class Item:
    """A value and its place.

    Args:
        value: A scalar, a dict of Items by key, or a list of Items.
        file: Where it comes from: a file, or the option that gave it.
        line: From 1; 0 when it comes from an option.
        column: As `line`.
        keys: For a dict, the place of each key, which is where a problem with the key itself points.
    """

    value: Scalar | dict[str, Item] | list[Item]
    file: str
    line: int
    column: int
    keys: dict[str, tuple[int, int]]

    def problem(self, path: str, message: str, hint: str = "") -> Problem:
        """Return a problem with this value."""
        return Problem(self.file, self.line, self.column, path, message, hint)

    def key_problem(self, key: str, path: str, message: str, hint: str = "") -> Problem:
        """Return a problem with one of this dict's keys."""
        child = self.value.get(key) if isinstance(self.value, dict) else None
        if child is not None and child.file != self.file:  # an option added it
            return child.problem(path, message, hint)
        line, column = self.keys.get(key, (self.line, self.column))
        return Problem(self.file, line, column, path, message, hint)

    def written(self) -> str:
        """Return the value as a message quotes it, short enough for one line."""
        if isinstance(self.value, dict):
            return f"a mapping of {len(self.value)}" if self.value else "an empty mapping"
        if isinstance(self.value, list):
            return f"a list of {len(self.value)}" if self.value else "an empty list"
        if isinstance(self.value, str):
            text = self.value if len(self.value) <= 60 else f"{self.value[:57]}..."
            return '"' + text.replace("\n", "\\n") + '"'
        if self.value is None:
            return "empty"
        return str(self.value).lower()  # true, false, and numbers in YAML's spelling


def parse_tree(text: str, *, file: str, env: Mapping[str, str], problems: list[Problem], path: str = "") -> Item | None:
    """Parse a document into Items; what is wrong goes to `problems`.

    `${NAME}` and `${NAME:-default}` in a scalar are replaced from `env`; a
    scalar without quotes is typed after that, so `count: ${N:-10}` is a number.
    So is a quoted one that is nothing but one variable, because `{count: "${N}"}`
    cannot be written without quotes. In a body, the names that are its fields
    stay, and so does what follows `$${`.

    Returns:
        The root, or None when the text is no YAML or is empty.
    """
    if len(text) > MAX_BYTES:
        problems.append(Problem(file, 1, 1, "", f"the file has {len(text)} characters; expected at most {MAX_BYTES}"))
        return None
    deep = _too_deep(text)
    if deep is not None:
        problems.append(Problem(file, *deep, "", f"nested too deeply; expected at most {MAX_DEPTH} levels"))
        return None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = exc.problem or exc.context or "cannot be read"
        written = text.splitlines()[line - 1] if line <= text.count("\n") + 1 else ""
        problems.append(Problem(file, line, column, "", f"not YAML: {what}", _yaml_hint(what, written)))
        return None
    except yaml.YAMLError as exc:  # a character that YAML does not allow: it has an offset only
        problems.append(Problem(file, 1, 1, "", f"not YAML: {str(exc).splitlines()[0]}"))
        return None
    finally:
        loader.dispose()
    if node is None:
        return None
    return _Converter(file, env, problems).convert(node, path, 0)


def parse_value(text: str, *, file: str, problems: list[Problem], path: str = "") -> Item | None:
    """Parse the value of an option, such as `10`, `3s` or `[1000, 1001]`; the Items have no line.

    `path` is the place of the value in the scenario.
    """
    found: list[Problem] = []
    item = parse_tree(text, file=file, env={}, problems=found, path=path)
    problems += [Problem(file, 0, 0, problem.path, problem.message, problem.hint) for problem in found]
    if item is None:
        return None if found else Item("", file, 0, 0, {})
    _forget_places(item)
    return item


def _too_deep(text: str) -> tuple[int, int] | None:
    """Return the place where the text nests deeper than MAX_DEPTH.

    Looks at the parser's events, which need no stack: libyaml's composer is
    recursive, and a line of 200,000 brackets ends the process.
    """
    loader = _Loader(text)
    depth = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    mark = event.start_mark
                    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        pass  # the composer meets the same error and reports it
    finally:
        loader.dispose()
    return None


def _forget_places(item: Item) -> None:
    item.line = item.column = 0
    item.keys = {}
    if isinstance(item.value, dict):
        for child in item.value.values():
            _forget_places(child)
    elif isinstance(item.value, list):
        for child in item.value:
            _forget_places(child)


def _yaml_hint(what: str, written: str) -> str:
    if written.lstrip(" ").startswith("\t"):
        return "indent with spaces, not tabs"
    if "${" in written and "{" in written.replace("${", ""):
        return 'inside { } a variable needs quotes: "${NAME:-10}"'
    if "mapping values are not allowed" in what:
        return 'a value with ": " in it needs quotes'
    return ""


class _Converter:
    def __init__(self, file: str, env: Mapping[str, str], problems: list[Problem]) -> None:
        self.file = file
        self.env = env
        self.problems = problems
        self.open: set[int] = set()  # nodes being converted: YAML lets an alias hold itself
        self.count = 0

    def convert(self, node: Any, path: str, depth: int) -> Item:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        item = Item(None, self.file, line, column, {})
        self.count += 1
        if depth > MAX_DEPTH or id(node) in self.open:
            self.problems.append(item.problem(path, f"{path or 'the file'} is nested too deeply"))
            return item
        if self.count > MAX_ITEMS:
            if self.count == MAX_ITEMS + 1:
                self.problems.append(item.problem(path, f"the file has over {MAX_ITEMS} values"))
            return item
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            item.value = self.mapping(node, item, path, depth)
        elif isinstance(node, yaml.SequenceNode):
            item.value = [self.convert(child, f"{path}[{i}]", depth + 1) for i, child in enumerate(node.value)]
        else:
            item.value = self.scalar(node, item, path)
        self.open.discard(id(node))
        return item

    def mapping(self, node: Any, item: Item, path: str, depth: int) -> dict[str, Item]:
        values: dict[str, Item] = {}
        for key_node, value_node in node.value:
            place = key_node.start_mark.line + 1, key_node.start_mark.column + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(self.file, *place, path, "a key is a list or a mapping; expected a name"))
                continue
            key = str(key_node.value)
            child = f"{path}.{key}" if path else key
            if key in values:
                first = item.keys[key][0]
                message = f"{child} is given twice; the first is in line {first}"
                self.problems.append(Problem(self.file, *place, child, message, "keep one of them"))
                continue
            item.keys[key] = place
            values[key] = self.convert(value_node, child, depth + 1)
        return values

    def scalar(self, node: Any, item: Item, path: str) -> Scalar:
        text = str(node.value)
        tag = str(node.tag)
        if "${" in text:
            fields = _TEMPLATES.get(path.rpartition(".")[2], ())
            variables = _VARIABLE_IN_TEMPLATE if fields else _VARIABLE
            whole = _VARIABLE.fullmatch(text) is not None
            replaced = variables.sub(lambda match: self.variable(match, item, path, fields), text)
            if replaced != text and (whole or node.style is None):
                tag = _implicit_tag(replaced)
            text = replaced
        return self.typed(text, tag, item, path)

    def variable(self, match: re.Match[str], item: Item, path: str, fields: Sequence[str]) -> str:
        name, default = match[1], match[2]
        if name is None or (fields and default is None and (name in fields or name not in self.env)):
            return match[0]  # a field, or no variable either, which the template's reader says
        if name in self.env:
            return self.env[name]
        if default is None:
            self.problems.append(
                item.problem(
                    path,
                    f"{path} uses the environment variable {name}, which is not set; expected a value or a default",
                    f"${{{name}:-a default}}",
                )
            )
            return ""
        return str(default)

    def typed(self, text: str, tag: str, item: Item, path: str) -> Scalar:
        kind = tag.removeprefix("tag:yaml.org,2002:")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:  # an explicit `!!int x`, or an int over Python's limit of digits
            self.problems.append(item.problem(path, f"{path} is not a number that can be read"))
            return None
        if kind not in ("str", "value"):
            self.problems.append(item.problem(path, f"{path} has the tag {tag}; expected a plain value"))
        return text


def _implicit_tag(text: str) -> str:
    resolvers = _Loader.yaml_implicit_resolvers.get(text[:1], [])
    return next((tag for tag, pattern in resolvers if pattern.match(text)), "tag:yaml.org,2002:str")
