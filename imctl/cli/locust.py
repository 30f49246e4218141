"""`imctl sim --locust`: which part of a Locust run this process has."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import typer

from imctl.cli.printer import Printer

if TYPE_CHECKING:
    from sim.run.crew import Crew
    from sim.scenario.scenario import Scenario

__all__ = ["become_worker", "check_options", "crew_maker"]


def check_options(locust: bool, options: Sequence[str], find_max: bool) -> None:
    """Find out whether what stands behind `--` makes sense.

    Raises:
        typer.BadParameter: it does not.
        SimError: Locust is not installed.
    """
    if not locust:
        if options:
            raise typer.BadParameter(
                f"{' '.join(options)}: only --locust takes more than a scenario; its options stand behind --",
                param_hint="LOCUST_OPTIONS",
            )
        return
    from sim.run.locust_crew import check_locust, is_for_other_machines

    check_locust()
    if find_max and is_for_other_machines(options):
        raise typer.BadParameter(
            "runs a scenario many times, and workers on other machines serve one run; leave out --master",
            param_hint="--find-max",
        )


def become_worker(options: Sequence[str]) -> NoReturn:
    """Be a Locust worker from here on; its master has the scenario."""
    from sim.run.locust_crew import worker_command

    command = worker_command(options)
    os.execv(command[0], command)


def crew_maker(
    locust: bool, options: Sequence[str], workers: int | None, printer: Printer
) -> Callable[[Scenario], Crew | None]:
    """Return what gives a run its workers; None stands for child processes.

    Locust's tables are shown, on stderr, where it was given options; else the run looks as it does without Locust.
    """
    if not locust:
        return lambda scenario: None
    from sim.run.crew import default_workers
    from sim.run.locust_crew import LocustCrew, is_for_other_machines

    output = printer.stderr if options and not (printer.quiet or printer.json) else None

    def make(scenario: Scenario) -> Crew:
        if is_for_other_machines(options):
            count = workers or 1
            printer.note(f"Locust's master waits for {count} {'worker' if count == 1 else 'workers'}, each started by:")
            printer.note("  imctl sim SCENARIO --locust -- --worker --master-host THIS_MACHINE")
        else:
            count = workers or default_workers(scenario.client_count)
            printer.note(f"starting Locust's master and {count} {'worker' if count == 1 else 'workers'}")
        return LocustCrew(count, options, output)

    return make
