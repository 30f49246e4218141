"""A report as a file; its name says the format: .json, .md, .html or .xml (JUnit)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sim.errors import SimError
from sim.report.model import RunReport

__all__ = ["FORMATS", "ReportError", "check_writable", "render_report", "write_report", "write_text"]

FORMATS = (".json", ".md", ".html", ".xml")


class ReportError(SimError):
    """A report cannot be written, or a file is no report that can be read."""


def check_writable(path: Path) -> None:
    """Find out before a long run whether its report can be written after it; makes the folder.

    Raises:
        ReportError: no format has this ending, or nothing can be written there.
    """
    if path.suffix.lower() not in FORMATS:
        raise ReportError(
            f"{path}: a report cannot be written as {path.suffix or 'a file without an ending'}; "
            f"expected one of {', '.join(FORMATS)}",
            hint=f"--report {path.stem or 'report'}.html",
        )
    if path.is_dir():
        raise ReportError(f"{path}: the report cannot be written: is a folder")
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as exc:
        raise _unwritable(path, exc) from exc


def render_report(report: RunReport, suffix: str) -> str:
    """Return a report as text in the format of one of FORMATS."""
    # Each format is imported where it is asked for: most runs write none of them.
    match suffix.lower():
        case ".json":
            from sim.report.json import dump

            return dump(report)
        case ".md":
            from sim.report.markdown import markdown_text

            return markdown_text(report)
        case ".xml":
            from sim.report.junit import junit_text

            return junit_text(report)
        case ".html":
            from sim.report.html import html_page

            return html_page(report)
        case _:
            raise ReportError(f"{suffix!r} is no format of reports; expected one of {', '.join(FORMATS)}")


def write_report(report: RunReport, path: Path) -> None:
    """Write a report in the format of the file's ending; a reader sees the old file or the whole new one.

    Raises:
        ReportError: the ending is none of FORMATS, or the file cannot be written.
    """
    write_text(render_report(report, path.suffix), path)


def write_text(text: str, path: Path) -> None:
    """Write a file at once: a reader sees the old one or the whole new one.

    Raises:
        ReportError: it cannot be written.
    """
    beside = _beside(path)
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise _unwritable(path, exc) from exc


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _unwritable(path: Path, exc: OSError) -> ReportError:
    return ReportError(f"{path}: the report cannot be written: {(exc.strerror or str(exc)).lower()}")
