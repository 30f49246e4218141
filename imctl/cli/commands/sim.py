"""`imctl sim`: a scenario's clients and pushes against a cluster, and a verdict."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.exits import Exit
from imctl.cli.locust import become_worker, check_options, crew_maker
from imctl.cli.reports import (
    ReportFiles,
    Tolerance,
    add_baseline,
    check_reports,
    load_baseline,
    warn_unjudged,
    write_reports,
)
from imctl.cli.values import parse_duration

if TYPE_CHECKING:
    import asyncio

    from sim.report.model import RunReport
    from sim.run.crew import Crew
    from sim.run.outcome import RunResult
    from sim.run.target import Target
    from sim.scenario.scenario import Scenario

__all__ = ["register"]

_FIND_MAX_S = 300.0
_STEP_S = 5.0  # --find-max runs a scenario many times: long enough for a p99, no longer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "sim",
        epilog=examples(
            "imctl sim scenarios/room.yaml",
            "imctl sim room --clients 10000 --json",
            "imctl sim room --set publish[0].rate=100/s --set phases.steady.duration=30s",
            "imctl sim room --report run.html --report junit.xml --baseline main.json --tolerance 20%",
            "imctl sim max --find-max",
            "imctl sim smoke --target 'goim://10.0.0.5?tcp=3101&ws=3102&http=3111'",
            "imctl sim room --locust -- --web-port 8089",
        ),
    )
    def sim(
        ctx: typer.Context,
        scenario: Annotated[str, typer.Argument(help="A scenario file, or the name of a shipped one")],
        locust_options: Annotated[
            list[str] | None, typer.Argument(metavar="-- LOCUST_OPTIONS", help="With --locust: Locust's own options")
        ] = None,
        set_: Annotated[
            list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the scenario")
        ] = None,
        target: Annotated[
            str | None,
            typer.Option(metavar="URL", help="goim://HOST?tcp=PORT&ws=PORT&http=PORT, also tls and wss: any goim"),
        ] = None,
        clients: Annotated[int | None, typer.Option(metavar="N", help="Clients of all populations together")] = None,
        duration: Annotated[
            float | None,
            typer.Option(
                parser=parse_duration,
                metavar="TIME",
                help="Measured phases together; events move with them, and each `for` shrinks with them",
            ),
        ] = None,
        workers: Annotated[
            int | None, typer.Option(metavar="N", min=1, max=64, help="Processes that hold clients (one a core)")
        ] = None,
        seed: Annotated[int | None, typer.Option(metavar="N", help="Instead of the scenario's seed")] = None,
        reports: ReportFiles = None,
        baseline: Annotated[
            Path | None, typer.Option(metavar="FILE", help="JSON report of an earlier run; exit 7 when slower than it")
        ] = None,
        tolerance: Tolerance = None,
        find_max: Annotated[
            bool, typer.Option("--find-max", help="Find the highest publish rate that holds the expectations")
        ] = False,
        find_max_time: Annotated[
            float | None, typer.Option(parser=parse_duration, metavar="TIME", help="Longest search (5m)")
        ] = None,
        locust: Annotated[
            bool, typer.Option("--locust", help="Have Locust's master and workers run it, also on many machines")
        ] = False,
    ) -> None:
        """Run a scenario: connect its clients, push, and report latency and loss

        Without --target it runs against the cluster of `imctl up`; where there
        is none, it starts a private one and ends it afterwards. The exit code
        is 0 when every expectation holds, 1 when one fails, 3 when the
        scenario is not valid, 4 when the cluster cannot be reached, 5 when the
        load generator itself was the bottleneck, 6 when an expectation with
        abort: true ended the run early, 7 when all is well but slower than the
        --baseline, 9 when it is too short to be compared with that.

        Ctrl-C ends a run early, reports what was measured so far, and the exit
        code is 130; a second Ctrl-C ends it at once without a report. So do
        SIGTERM and the end of the terminal.

        With --find-max it runs again and again, measured phases cut to five
        seconds together unless --duration says how long, and all rates
        multiplied by another factor each time. The report is of the run at
        the highest rate that passed; when none did, of the one at the lowest.

        With --locust (pip install 'imctl[locust]') Locust starts and watches
        the workers. Its own options stand behind -- and include --web-port
        8089 for its web page, --master to wait for workers of other machines,
        and there --worker --master-host HOST.
        """
        imctl = Context.of(ctx)
        # `--json -` says where the document goes, as `--report FILE` does; it goes nowhere else.
        options = [] if imctl.json and locust_options == ["-"] else locust_options or []
        check_options(locust, options, find_max)
        if "--worker" in options:
            become_worker(options)
        from sim.errors import SimError
        from sim.language.load import load_scenario
        from sim.language.shipped import find_scenario
        from sim.report.summary import RunSummary
        from sim.run.target import parse_target

        try:
            known = parse_target(target) if target is not None else None
        except SimError as exc:
            raise typer.BadParameter(exc.message, ctx, param_hint="--target") from exc
        changes = [*(set_ or []), *([f"seed={seed}"] if seed is not None else [])]
        loaded = load_scenario(
            find_scenario(scenario), sets=changes, clients=clients, duration_s=duration, env=os.environ
        )
        search_s = _search_time_s(find_max, find_max_time, loaded)
        if search_s is not None and duration is None and loaded.measured_s > _STEP_S:
            loaded = load_scenario(
                find_scenario(scenario), sets=changes, clients=clients, duration_s=_STEP_S, env=os.environ
            )
        check_reports(reports)
        earlier = load_baseline(baseline, tolerance)
        report, was_interrupted = run(
            _run(loaded, known, workers, imctl, search_s, crew_maker(locust, options, workers, imctl.printer))
        )
        if earlier is not None and baseline is not None:
            report = add_baseline(report, earlier, baseline, tolerance)
            warn_unjudged(report.baseline if report.unjudged else None, imctl.printer)
        try:
            imctl.printer.result(RunSummary(report))
        finally:  # also when stdout cannot be written: a long run is not to be lost with it
            written = write_reports(report, reports, imctl.printer)
        code = report.exit_code or (Exit.OK if written else Exit.FAILED)
        if code := Exit.INTERRUPTED if was_interrupted else code:
            raise typer.Exit(code)


def _search_time_s(find_max: bool, time_s: float | None, scenario: Scenario) -> float | None:
    """Return how long to search for the highest rate, None for a run by itself.

    Raises:
        typer.BadParameter: a time for a search that is not wanted.
        ScenarioError: there is no rate to raise, or nothing that has to hold.
    """
    from sim.run.find_max import check_searchable

    if not find_max:
        if time_s is not None:
            raise typer.BadParameter("needs --find-max", param_hint="--find-max-time")
        return None
    check_searchable(scenario)
    return _FIND_MAX_S if time_s is None else time_s


async def _run(
    scenario: Scenario,
    known: Target | None,
    workers: int | None,
    imctl: Context,
    search_s: float | None,
    make_crew: Callable[[Scenario], Crew | None],
) -> tuple[RunReport, bool]:
    """Return the report, and whether the user ended the run early."""
    from imctl.cli.interrupts import asked_to_end
    from sim.run.find_max import SearchLimits, find_max, mean_rate_per_s, scale_publish, step_line

    def tell(how: str) -> None:
        imctl.printer.note(f"ending the run; {how} once more ends it at once")

    # Around the cluster too: its end is not to be cut short.
    with asked_to_end(tell) as ending:
        async with _under_test(scenario, known, workers, imctl, make_crew) as run_once:
            if search_s is None:
                ending.in_good_order()
                result = await run_once(scenario, ending.asked)
                return result.report, result.interrupted

            async def step(factor: float) -> RunReport:
                return (await run_once(scale_publish(scenario, factor), None)).report

            found = await find_max(
                step,
                rate_per_s=mean_rate_per_s(scenario),
                limits=SearchLimits(time_s=search_s),
                on_step=lambda step: imctl.printer.note(step_line(step)),
            )
            return found, False


@asynccontextmanager
async def _under_test(
    scenario: Scenario,
    known: Target | None,
    workers: int | None,
    imctl: Context,
    make_crew: Callable[[Scenario], Crew | None],
) -> AsyncIterator[Callable[[Scenario, asyncio.Event | None], Awaitable[RunResult]]]:
    """Yield what runs a scenario against the cluster, until an event asks for its end; it may be called repeatedly."""
    from imctl.cli.progress import show_progress
    from imctl.cli.under_test import ClusterNodes, cluster_for, target_of
    from sim.run.runner import run_scenario

    async def on_target(scenario: Scenario, interrupt: asyncio.Event | None) -> RunResult:
        assert known is not None
        with show_progress(imctl.printer, scenario) as on_progress:
            return await run_scenario(
                scenario,
                known,
                workers=workers,
                on_progress=on_progress,
                interrupt=interrupt,
                crew=make_crew(scenario),
            )

    if known is not None:
        yield on_target
        return
    async with cluster_for(scenario, imctl.cluster, imctl.printer) as info:
        nodes = ClusterNodes(info, imctl.printer)

        async def on_cluster(scenario: Scenario, interrupt: asyncio.Event | None) -> RunResult:
            with show_progress(imctl.printer, scenario) as on_progress:
                return await run_scenario(
                    scenario,
                    target_of(info),
                    workers=workers,
                    sample_nodes=nodes.sample,
                    read_traces=nodes.traces,
                    faults=nodes,
                    on_progress=on_progress,
                    interrupt=interrupt,
                    crew=make_crew(scenario),
                )

        yield on_cluster
