"""`imctl schema`: the JSON Schemas of what goes into a run and of what comes out."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from imctl.cli.context import Context, examples

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "schema", epilog=examples("imctl schema > scenario.schema.json", "imctl schema --report > report.schema.json")
    )
    def schema(
        ctx: typer.Context,
        report: Annotated[bool, typer.Option("--report", help="Of the result document instead")] = False,
    ) -> None:
        """Show the JSON Schema of scenario files, for editors, or of the result document"""
        imctl = Context.of(ctx)
        if report:
            from sim.report.schema import report_schema

            document = report_schema()
        else:
            from sim.language.format import scenario_schema

            document = dict(scenario_schema())
        if imctl.json:
            imctl.printer.result(document)
        else:  # the schema is JSON anyway; for people, one that can be read
            imctl.printer.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
