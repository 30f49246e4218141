"""The result document as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sim.report.files import ReportError, write_text
from sim.report.model import SCHEMA_VERSION, RunReport

__all__ = ["ReportError", "dump", "dump_file", "load_file", "load_report"]

_LINE = 160  # a row of the series


def dump(report: RunReport) -> str:
    """Return the document as indented text with a line end; what fits in a line, such as a row, is one.

    A number that JSON has not (NaN, infinity) would be our own fault, and is
    an error here and not in the program that reads the file next.
    """
    return "".join(_lines(report.to_dict(), "")) + "\n"


def dump_file(report: RunReport, path: Path) -> None:
    """Write the document; a reader sees the old file or the whole new one.

    Raises:
        ReportError: the file cannot be written.
    """
    write_text(dump(report), path)


def load_file(path: Path) -> dict[str, Any]:
    """Read a document that dump_file() wrote. Any: the values of JSON have no one type.

    Raises:
        ReportError: it cannot be read, is no report, or is of another version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ReportError(f"{path}: cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    except (ValueError, RecursionError) as exc:
        raise ReportError(f"{path}: is not a report: not JSON", hint="imctl sim SCENARIO --json > report.json") from exc
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version is None:
        raise ReportError(f"{path}: is not a report: it has no schema_version")
    if version != SCHEMA_VERSION:
        raise ReportError(f"{path}: is a report of version {version}; expected version {SCHEMA_VERSION}")
    return dict(document)


def load_report(path: Path) -> RunReport:
    """Read a document that dump_file() wrote as the values it was made from.

    Raises:
        ReportError: as load_file(), or a value in it is not what a report has there.
    """
    from sim.report.reading import read_report

    try:
        return read_report(load_file(path))
    except ValueError as exc:
        raise ReportError(f"{path}: is not a report: {exc}") from exc


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Yield the text of a value in pieces: on one line where it fits, else an entry a line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, (dict, list)) or not value or (indent and len(indent) + len(text) < _LINE):
        yield text
        return
    deeper = indent + "  "
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    yield opening
    for number, (key, item) in enumerate(items):
        yield ",\n" if number else "\n"
        yield deeper
        if key is not None:
            yield f"{json.dumps(key, ensure_ascii=False)}: "
        yield from _lines(item, deeper)
    yield f"\n{indent}{closing}"
