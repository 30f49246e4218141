"""The result document as a JSON file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sim.errors import SimError
from sim.report.model import SCHEMA_VERSION, RunReport

__all__ = ["ReportError", "dump", "dump_file", "load_file"]


class ReportError(SimError):
    """A report cannot be written, or a file is no report that can be read."""


def dump(report: RunReport) -> str:
    """Return the document as indented text with a line end.

    A number that JSON has not (NaN, infinity) would be our own fault, and is
    an error here and not in the program that reads the file next.
    """
    return json.dumps(report.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def dump_file(report: RunReport, path: Path) -> None:
    """Write the document; a reader sees the old file or the whole new one.

    Raises:
        ReportError: the file cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(dump(report), encoding="utf-8")
        beside.replace(path)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        raise ReportError(f"{path}: the report cannot be written: {(exc.strerror or str(exc)).lower()}") from exc


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
