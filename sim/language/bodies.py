"""From the keys `size` and `body` of a message to a Size and a Body."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sim.errors import Problem
from sim.language.fields import Read
from sim.language.include import beside, read_text
from sim.language.publish_checks import Feeds, check_body_fits, check_fillings
from sim.language.yaml_tree import Item
from sim.publish.payload import Template, parse_template
from sim.publish.stamp import TAIL_BYTES
from sim.scenario.publishing import (
    MAX_SIZE_BYTES,
    Body,
    ChoiceSize,
    FileBodies,
    FileOrder,
    LognormalSize,
    Size,
    UniformSize,
)

__all__ = ["MAX_FILES", "MAX_TOTAL_BYTES", "check_order", "make_body_of", "make_size", "make_weights"]

MAX_FILES = 1000
MAX_TOTAL_BYTES = 64 * 1024 * 1024
"""Most files of one `body`, and the most they may have together: all of it is in memory while a scenario runs."""

_MAX_BODY = MAX_SIZE_BYTES - TAIL_BYTES


def make_size(size: int | Read, problems: list[Problem]) -> Size:
    """Return a size as written, or how sizes are spread."""
    if not isinstance(size, Read):
        return size
    if "uniform" in size.values:
        read: Read = size.values["uniform"]
        check_order(read, "min", "max", problems)
        return UniformSize(read.values["min"], read.values["max"])
    if "lognormal" in size.values:
        read = size.values["lognormal"]
        check_order(read, "median", "max", problems)
        return LognormalSize(read.values["median"], read.values["sigma"], read.values["max"])
    choices: Sequence[Read] = size.values["choices"]
    if any(choice.bad for choice in choices):
        return 0
    weights = make_weights(choices, f"{size.path}.choices", problems)
    return ChoiceSize(tuple(choice.values["size"] for choice in choices), weights)


def make_weights(entries: Sequence[Read], path: str, problems: list[Problem]) -> tuple[float, ...]:
    """Return the weights of some entries; shares have to add up, to a per cent."""
    weights = [entry.values["weight"] for entry in entries]
    total = sum(weight for weight, _ in weights)
    if all(is_share for _, is_share in weights) and abs(total - 100) > 1:
        message = f"the weights of {path} add up to {total:g}%; expected 100%"
        problems.append(entries[-1].problem("weight", message, "or numbers, such as 4 and 1"))
    return tuple(weight for weight, _ in weights)


def make_body_of(read: Read, feeds: Feeds, file: str, problems: list[Problem]) -> Body | None:
    """Return what is in the body of a message; None for filler, and when there is a problem.

    Args:
        read: The publisher, or the entry of a mix; its `to` could be read.
        feeds: What fields may name.
        file: The scenario's path; files are looked for beside it.
        problems: What is wrong goes here.
    """
    body: Template | Read | None = read.values.get("body")
    if body is None:
        return None
    if read.written("size"):
        message = f"{read.path}.size does not go with body, whose length is that of its content"
        problems.append(read.problem("size", message, "take size or body away"))
    made = _read_body(body, file, problems) if isinstance(body, Read) else body
    if isinstance(made, Template):
        check_fillings(read, made, feeds, problems)
        check_body_fits(read, made, feeds, problems)
    return made


def _read_body(body: Read, file: str, problems: list[Problem]) -> Body | None:
    given = [key for key in ("file", "files", "template") if body.values[key] is not None]
    if len(given) != 1:
        message = f"{body.path} has {' and '.join(given) or 'nothing'}; expected one of file, files, template"
        problems.append(body.item.problem(body.path, message, "body: {files: [bodies], order: random}"))
        return None
    [key] = given
    if body.written("order") and key != "files":
        message = f"{body.path}.order does not go with {key}; expected only with files"
        problems.append(body.problem("order", message))
    assert isinstance(body.item.value, dict)
    item = body.item.value[key]
    if key == "template":
        return _read_template(body, item, file, problems)
    items = item.value if isinstance(item.value, list) else [item]
    paths = [path for one in items for path in _files_of(one, f"{body.path}.{key}", file, problems)]
    if not 0 < len(paths) <= MAX_FILES:
        if paths:
            message = f"{body.path}.{key} are {len(paths)} files; expected at most {MAX_FILES}"
            problems.append(item.problem(f"{body.path}.{key}", message))
        return None
    contents = _read_contents(paths, item, f"{body.path}.{key}", problems)
    return FileBodies(contents, FileOrder(body.values["order"])) if contents else None


def _read_template(body: Read, item: Item, file: str, problems: list[Problem]) -> Template | None:
    path = beside(item, file)
    key = f"{body.path}.template"
    try:
        text = read_text(path)
    except ValueError as exc:
        problems.append(item.problem(key, f"{key} is {item.written()}: {path} {exc}"))
        return None
    try:
        return parse_template(text)
    except ValueError as exc:
        problems.append(item.problem(key, f"{key} is {item.written()}: in {path}, expected {exc}"))
        return None


def _files_of(item: Item, key: str, file: str, problems: list[Problem]) -> list[Path]:
    """Return the file that is named, or those in the folder, in the order of their names."""
    path = beside(item, file)
    try:
        if not path.is_dir():
            return [path]
        found = sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith("."))
    except (OSError, ValueError) as exc:
        problems.append(item.problem(key, f"{key} is {item.written()}: {path} cannot be read: {exc}"))
        return []
    if not found:
        problems.append(item.problem(key, f"{key} is {item.written()}: a folder without files; expected some"))
    return found


def _read_contents(paths: Sequence[Path], item: Item, key: str, problems: list[Problem]) -> tuple[bytes, ...]:
    """Return the contents of all files; none when one of them will not do."""
    contents: list[bytes] = []
    total = 0
    for path in paths:
        message = ""
        try:
            size = path.stat().st_size
            total += size
            if size > _MAX_BODY:
                message = f"{path} has {size} bytes; expected at most {_MAX_BODY}"
            elif total > MAX_TOTAL_BYTES:
                message = f"its files have over {MAX_TOTAL_BYTES} bytes together; expected less"
            else:
                contents.append(path.read_bytes())
        except OSError as exc:
            message = f"{path} cannot be read: {(exc.strerror or type(exc).__name__).lower()}"
        except ValueError as exc:  # a name with a NUL in it
            message = f"{path} cannot be read: {exc}"
        if message:
            problems.append(item.problem(key, f"{key}: {message}"))
            return ()
    return tuple(contents)


def check_order(read: Read, low: str, high: str, problems: list[Problem]) -> None:
    """The other end of a distribution is not below the first."""
    first, last = read.values[low], read.values[high]
    if last < first:
        unit = "s" if isinstance(last, float) else " bytes"
        message = f"{read.path}.{high} is {last:g}{unit}; expected at least {first:g}{unit}, the other end"
        problems.append(read.problem(high, message))
