"""CSV and JSON Lines to a Feed; what is wrong with a file is told with its line.

A file is read whole before a run begins, so nothing can be wrong with it
later, and it has bounds: MAX_BYTES and MAX_ROWS.

- `.csv`: the first line has the names of the columns; every row has as many
  fields. Fields may be quoted ("a, b") and then go over several lines.
- `.jsonl`, `.ndjson`: an object a line; the keys of the first one are the
  columns, and every other has these too. Text is taken as it is, null is
  empty, everything else is its JSON.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sim.errors import Problem
from sim.publish.feeder import Feed, FeedOrder

__all__ = ["MAX_BYTES", "MAX_ROWS", "SUFFIXES", "read_feed"]

MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 100_000
"""Largest file, and most rows in one: all of it is in memory while a scenario runs."""

_MAX_PROBLEMS = 5
"""Of one file; a file of another kind has one in each line."""

_Row = tuple[int, list[str]]


def read_feed(path: Path, name: str, order: FeedOrder, problems: list[Problem]) -> Feed | None:
    """Read a file; None when something is wrong with it, which goes to `problems` with its line.

    Raises:
        ValueError: it cannot be read at all, or has no known suffix; the text says why, as what follows its name.
    """
    reader = SUFFIXES.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"has the suffix {path.suffix or 'of no kind'}; expected one of {', '.join(SUFFIXES)}")
    found = _Problems(path)
    columns, rows = reader(_read_text(path), found)
    if not rows and not found.problems:
        found.add(1, "it has no rows; expected at least one" + (" below the header" if columns else ""))
    if len(rows) > MAX_ROWS:
        found.add(rows[MAX_ROWS][0], f"it has over {MAX_ROWS} rows; expected fewer")
    problems += found.problems[:_MAX_PROBLEMS]
    if found.problems:
        return None
    values = tuple(zip(*(fields for _, fields in rows), strict=True))
    return Feed(name, str(path), order, tuple(columns), values, tuple(line for line, _ in rows))


class _Problems:
    def __init__(self, path: Path) -> None:
        self.problems: list[Problem] = []
        self._path = str(path)

    def add(self, line: int, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self._path, line, 1, "", message, hint))

    @property
    def are_enough(self) -> bool:
        return len(self.problems) >= _MAX_PROBLEMS


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ValueError("is no file; expected a file of rows")
        if size > MAX_BYTES:
            raise ValueError(f"has {size} bytes; expected at most {MAX_BYTES}")
        with path.open(encoding="utf-8-sig", newline="") as file:  # a quoted field keeps its line ends
            return file.read()
    except UnicodeDecodeError as exc:
        raise ValueError(f"not UTF-8 text: byte {exc.start} is wrong") from exc
    except OSError as exc:
        raise ValueError(f"cannot be read: {(exc.strerror or type(exc).__name__).lower()}") from exc


def _read_csv(text: str, problems: _Problems) -> tuple[list[str], list[_Row]]:
    columns: list[str] = []
    rows: list[_Row] = []
    for line, fields in _csv_records(text, problems):
        if not columns:
            columns = [field.strip() for field in fields]
            _check_columns(columns, line, problems)
        elif len(fields) != len(columns):
            message = f"the row has {len(fields)} fields; expected {len(columns)}: {', '.join(columns)}"
            problems.add(line, message, "a field with a comma in it needs quotes")
        else:
            rows.append((line, fields))
        if problems.are_enough or len(rows) > MAX_ROWS:
            break
    return columns, rows


def _csv_records(text: str, problems: _Problems) -> Iterator[_Row]:
    """Yield the records that are not empty with the line each begins in; ends at what is no CSV."""
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    line = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as exc:
            problems.add(line, f"not CSV: {exc}")
            return
        if fields is None:
            return
        if fields:
            yield line, fields
        line = reader.line_num + 1


def _check_columns(columns: list[str], line: int, problems: _Problems) -> None:
    for number, column in enumerate(columns):
        if not column or "}" in column:
            problems.add(line, f'column {number + 1} is called "{column}"; expected a name', "name,mid")
        elif column in columns[:number]:
            problems.add(line, f'two columns are called "{column}"; expected each name once')


def _read_jsonl(text: str, problems: _Problems) -> tuple[list[str], list[_Row]]:
    columns: list[str] = []
    rows: list[_Row] = []
    # Not splitlines(): JSON text may have other characters in it that end a line for that.
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        row = _json_object(line, written, problems)
        if row is not None and not columns:
            columns = list(row)
            _check_columns(columns, line, problems)
        if row is not None:
            missing = [column for column in columns if column not in row]
            if missing:
                problems.add(line, f"the row has no {', '.join(missing)}; expected {', '.join(columns)}, as the first")
            else:
                rows.append((line, [row[column] for column in columns]))
        if problems.are_enough or len(rows) > MAX_ROWS:
            break
    return columns, rows


def _json_object(line: int, written: str, problems: _Problems) -> dict[str, str] | None:
    try:
        value = json.loads(written, parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        problems.add(line, f"not JSON: {exc}")
        return None
    if not isinstance(value, dict) or not value:
        problems.add(line, f"the row is {written.strip()[:40]}; expected an object", '{"name": "Ada", "mid": 1000}')
        return None
    return {key: _as_text(item) for key, item in value.items()}


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _refuse(word: str) -> Iterable[object]:
    raise ValueError(f"{word} is no number of JSON")


SUFFIXES: dict[str, Callable[[str, _Problems], tuple[list[str], list[_Row]]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
}
"""How a file is read, by the end of its name."""
