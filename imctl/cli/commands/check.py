"""`imctl check`: is a scenario right, before anything starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples
from imctl.cli.exits import Exit
from imctl.cli.values import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from sim.errors import Problem

__all__ = ["CheckResult", "FileResult", "check_scenarios", "register"]

_NO_EXPECT = "no `expect`: the verdict will be pass whatever is lost"


@dataclass(frozen=True, slots=True)
class FileResult:
    """One scenario: how many clients it has and how long it is, or what is wrong with it.

    Args:
        notes: What is not wrong, and perhaps not meant.
    """

    scenario: str
    clients: int
    duration_s: float
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What `imctl check` found."""

    files: tuple[FileResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every scenario can be run."""
        return not any(file.problems for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the document; Any because it is JSON."""
        return {"ok": self.ok, "scenarios": [{"ok": not file.problems, **_plain(file)} for file in self.files]}

    def render(self, console: Console) -> None:
        """Print a line for a good scenario, and each problem of a bad one as `file:line:column: ...`."""
        from rich.text import Text

        from sim.language.units import format_duration

        for file in self.files:
            if not file.problems:
                facts = f"{file.clients:,} clients, {format_duration(file.duration_s)}"
                console.print(Text.assemble((f"{file.scenario}: ", ""), ("ok", "green"), f" ({facts})"), soft_wrap=True)
            for note in file.notes:
                console.print(Text(f"  note: {note}", style="yellow"), soft_wrap=True)
            for problem in file.problems:
                console.print(Text(str(problem)), soft_wrap=True)
                if problem.hint:
                    console.print(Text(f"  hint: {problem.hint}", style="cyan"), soft_wrap=True)


def check_scenarios(
    names: list[str], *, sets: list[str], clients: int | None, duration_s: float | None, env: dict[str, str]
) -> CheckResult:
    """Check each scenario, by path or by the name of a shipped one."""
    from sim.errors import ScenarioError
    from sim.language.load import load_scenario
    from sim.language.shipped import find_scenario

    files: list[FileResult] = []
    for name in names:
        try:
            path = find_scenario(name)
            scenario = load_scenario(path, sets=sets, clients=clients, duration_s=duration_s, env=env)
        except ScenarioError as exc:
            files.append(FileResult(name, 0, 0.0, exc.problems))
        else:
            notes = () if scenario.expect else (_NO_EXPECT,)
            files.append(FileResult(str(path), scenario.client_count, scenario.duration_s, (), notes))
    return CheckResult(tuple(files))


def _plain(file: FileResult) -> dict[str, Any]:
    from imctl.cli.printer import to_jsonable

    return dict(to_jsonable(file))


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "check",
        epilog=examples("imctl check scenarios/room.yaml", "imctl check room --set clients.viewers.count=10 --json"),
    )
    def check(
        ctx: typer.Context,
        scenarios: Annotated[list[str], typer.Argument(metavar="SCENARIO", help="Files, or names of shipped ones")],
        sets: Annotated[
            list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value, as sim would")
        ] = None,
        clients: Annotated[int | None, typer.Option("--clients", metavar="N", help="Total number of clients")] = None,
        duration: Annotated[
            float | None,
            typer.Option(
                "--duration", parser=parse_duration, metavar="TIME", help="Length of the measured phases, as of sim"
            ),
        ] = None,
    ) -> None:
        """Check scenarios without starting anything; shows every problem, exit 3 if there is one"""
        imctl = Context.of(ctx)
        result = check_scenarios(scenarios, sets=sets or [], clients=clients, duration_s=duration, env=dict(os.environ))
        imctl.printer.result(result)
        if not result.ok:
            raise typer.Exit(Exit.INVALID)
