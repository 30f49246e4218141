"""`imctl schema`: the JSON Schema of scenario files."""

from __future__ import annotations

import json

import typer

from imctl.cli.context import Context, examples

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("schema", epilog=examples("imctl schema > scenario.schema.json"))
    def schema(ctx: typer.Context) -> None:
        """Show the JSON Schema of scenario files, for editors"""
        from sim.format import scenario_schema

        imctl = Context.of(ctx)
        if imctl.json:
            imctl.printer.result(scenario_schema())
        else:  # the schema is JSON anyway; for people, one that can be read
            imctl.printer.write(json.dumps(scenario_schema(), indent=2, ensure_ascii=False) + "\n")
