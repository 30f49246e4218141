"""`imctl report`: reports of earlier runs, one shown or two compared."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imctl.cli.context import Context, examples
from imctl.cli.exits import Exit
from imctl.cli.reports import DEFAULT_TOLERANCE, ReportFiles, Tolerance, check_reports, warn_unjudged, write_reports

__all__ = ["register"]


class Action(StrEnum):
    """What to do with the files, and how many there are of them."""

    SHOW = "show"
    COMPARE = "compare"


_FILES = {Action.SHOW: 1, Action.COMPARE: 2}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "report",
        epilog=examples(
            "imctl report show run.json",
            "imctl report show run.json --report run.html --report run.xml",
            "imctl report compare main.json branch.json --tolerance 20%",
        ),
    )
    def report(
        ctx: typer.Context,
        action: Annotated[Action, typer.Argument(help="Show one report, or compare two")],
        files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON reports; of two the baseline first")],
        reports: ReportFiles = None,
        tolerance: Tolerance = None,
    ) -> None:
        """Show the report of an earlier run, write it in another format, or compare two

        show FILE prints the summary that the run ended with; compare A B
        judges B by A metric by metric, and ends with exit code 7 when B is
        slower beyond the tolerance and beyond what chance can do, with 9 when
        the two are too short to tell.
        """
        imctl = Context.of(ctx)
        if len(files) != _FILES[action]:
            raise typer.BadParameter(f"{action.value} takes {_FILES[action]}, not {len(files)}", param_hint="FILE")
        if action is Action.SHOW and tolerance is not None:
            raise typer.BadParameter("is an option of compare", param_hint="--tolerance")
        check_reports(reports)
        from sim.report.compare import compare_reports
        from sim.report.json import load_report
        from sim.report.summary import ComparisonSummary, RunSummary

        found = [load_report(path) for path in files]
        code = Exit.OK
        if action is Action.SHOW:
            imctl.printer.result(RunSummary(found[0]))
        else:
            percent = DEFAULT_TOLERANCE if tolerance is None else tolerance
            names = (str(files[0]), str(files[1]))
            comparison = compare_reports(*found, tolerance_percent=percent, names=names)
            imctl.printer.result(ComparisonSummary(comparison))
            found[-1] = replace(found[-1], baseline=comparison)
            warn_unjudged(comparison, imctl.printer)
            code = Exit(comparison.exit_code)
        if not write_reports(found[-1], reports, imctl.printer):
            code = code or Exit.FAILED
        if code:
            raise typer.Exit(code)
