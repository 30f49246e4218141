"""`imctl scenarios`: what comes with imctl, ready to run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from imctl.cli.context import Context, examples

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ScenarioList", "ScenarioRow", "list_scenarios", "register"]


@dataclass(frozen=True, slots=True)
class ScenarioRow:
    """A shipped scenario; `summary` is the first comment of its file."""

    name: str
    clients: int
    duration_s: float
    summary: str
    path: str


@dataclass(frozen=True, slots=True)
class ScenarioList:
    """All shipped scenarios."""

    scenarios: tuple[ScenarioRow, ...]

    def render(self, console: Console) -> None:
        """Print a table and how to run one."""
        from rich.table import Table

        from sim.language.units import format_duration

        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("name", no_wrap=True)
        table.add_column("clients", justify="right", no_wrap=True)
        table.add_column("length", justify="right", no_wrap=True)
        table.add_column("what it shows")
        for row in self.scenarios:
            table.add_row(row.name, f"{row.clients:,}", format_duration(row.duration_s), row.summary)
        console.print(table, soft_wrap=False)


def list_scenarios(env: Mapping[str, str]) -> ScenarioList:
    """Return the shipped scenarios.

    Raises:
        ScenarioError: one of them is not right.
    """
    from sim.language.load import load_scenario
    from sim.language.shipped import shipped_scenarios, summary_of

    rows: list[ScenarioRow] = []
    for name, path in shipped_scenarios().items():
        scenario = load_scenario(path, env=env)
        rows.append(ScenarioRow(name, scenario.client_count, scenario.duration_s, summary_of(path), str(path)))
    return ScenarioList(tuple(rows))


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("scenarios", epilog=examples("imctl scenarios", "imctl scenarios --json"))
    def scenarios(ctx: typer.Context) -> None:
        """List the scenarios that come with imctl; run one with `imctl sim NAME`"""
        imctl = Context.of(ctx)
        imctl.printer.result(list_scenarios(dict(os.environ)))
        imctl.printer.note("run one: imctl sim room; its file is the place to copy from: imctl scenarios --json")
