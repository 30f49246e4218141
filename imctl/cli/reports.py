"""Options about reports that more than one command has, and what happens to them before and after a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imctl.cli.values import parse_percent

if TYPE_CHECKING:
    from imctl.cli.printer import Printer
    from sim.report.model import Comparison, RunReport

__all__ = [
    "DEFAULT_TOLERANCE",
    "ReportFiles",
    "Tolerance",
    "add_baseline",
    "check_reports",
    "load_baseline",
    "warn_unjudged",
    "write_reports",
]

DEFAULT_TOLERANCE = 10.0

ReportFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write it as .json, .md, .html or .xml (JUnit), its folder is made; repeatable",
    ),
]

Tolerance = Annotated[
    float | None,
    typer.Option(parser=parse_percent, metavar="PERCENT", help="How much slower than the baseline is all right (10%)"),
]


def check_reports(paths: Sequence[Path] | None) -> None:
    """Find out before a long run whether its reports can be written.

    Raises:
        typer.BadParameter: one cannot.
    """
    from sim.report.files import ReportError, check_writable

    for path in paths or ():
        try:
            check_writable(path)
        except ReportError as exc:
            raise typer.BadParameter(exc.message, param_hint="--report") from exc


def load_baseline(path: Path | None, tolerance: float | None) -> RunReport | None:
    """Read the report to compare with, before anything is started.

    Raises:
        ConfigError: it is none, or of a run that was not valid.
        typer.BadParameter: a tolerance without anything to be tolerant of.
    """
    from imctl.errors import ConfigError
    from sim.report.files import ReportError
    from sim.report.json import load_report
    from sim.report.model import Verdict

    if path is None:
        if tolerance is not None:
            raise typer.BadParameter("needs a --baseline to compare with", param_hint="--tolerance")
        return None
    try:
        baseline = load_report(path)
    except ReportError as exc:
        raise ConfigError(f"--baseline {exc.message}", hint=exc.hint) from exc
    if baseline.verdict in (Verdict.INVALID, Verdict.ABORTED):
        raise ConfigError(f"--baseline {path} is of a run that says nothing: its verdict is {baseline.verdict.value}")
    return baseline


def add_baseline(report: RunReport, baseline: RunReport, name: Path, tolerance: float | None) -> RunReport:
    """Return the report with its comparison; where it passed and is slower, its reasons say in what."""
    from sim.report.compare import compare_reports

    percent = DEFAULT_TOLERANCE if tolerance is None else tolerance
    compared = replace(
        report, baseline=compare_reports(baseline, report, tolerance_percent=percent, names=(str(name), ""))
    )
    if compared.slower and compared.baseline is not None:
        worse = tuple(f"slower than the baseline: {reason}" for reason in compared.baseline.reasons)
        return replace(compared, reasons=(*compared.reasons, *worse))
    if compared.unjudged:
        reason = f"no latency could be compared with the baseline's: {compared.unjudged}"
        return replace(compared, reasons=(*compared.reasons, reason))
    return compared


def warn_unjudged(comparison: Comparison | None, printer: Printer) -> None:
    """Say on stderr when a comparison could not tell: its exit code, in a CI job, comes without a word."""
    if comparison is not None and comparison.unjudged and not comparison.slower:
        printer.warn(
            f"no latency could be judged by {comparison.a}: {comparison.unjudged}",
            hint="measure 5 s or more in both runs, as with --duration 10s; for --tolerance 200% 3 s are enough",
        )


def write_reports(report: RunReport, paths: Sequence[Path] | None, printer: Printer) -> bool:
    """Write each; return whether all could be. One that cannot keeps none of the others from being written."""
    from sim.report.files import ReportError, write_report

    whole = True
    for path in paths or ():
        try:
            write_report(report, path)
        except ReportError as exc:
            printer.error(exc)
            whole = False
        else:
            printer.note(f"wrote {path}")
    return whole
