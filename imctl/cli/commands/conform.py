"""`imctl conform`: goim's compatibility cases against any comet, logic or discovery."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.exits import Exit
from imctl.cli.target import parse_target as parse_address
from imctl.cli.values import parse_duration
from imctl.errors import ConfigError, ImctlError

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cli.printer import Printer
    from imctl.cluster.client import ClusterInfo
    from imctl.conform import Case, Report, Result, Target

__all__ = ["CaseList", "register", "target_of"]

_LIVE_S = 0.25
_LINE_S = 5.0
_PORT = "HOST:PORT"


@dataclass(frozen=True, slots=True)
class CaseList:
    """Cases, for --list."""

    cases: tuple[Case, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document; Any because it is JSON."""
        return {
            "cases": [
                {
                    "id": case.id,
                    "area": case.area,
                    "shows": case.shows,
                    "source": case.source,
                    "needs": list(case.needs),
                    "expected": case.expected,
                    "accepted": dict(case.accepted),
                    "slow": case.slow,
                    "risky": case.risky,
                }
                for case in self.cases
            ]
        }

    def render(self, console: Console) -> None:
        """Print a line a case, and how many there are."""
        from rich.text import Text

        width = max(len(case.id) for case in self.cases)
        for case in self.cases:
            marks = " (slow)" * case.slow + " (risky)" * case.risky
            console.print(Text(f"{case.id:<{width}}  {case.shows}{marks} [{case.source}]"), soft_wrap=True)
        known = sum(bool(case.accepted) for case in self.cases)
        console.print(f"{len(self.cases)} cases, {known} of them with known differences", soft_wrap=True)


def target_of(info: ClusterInfo) -> Target:
    """Return what there is to test in a running cluster: its first comet, its first logic, its registry.

    Raises:
        ClusterError: it has no node with an address.
    """
    from imctl.conform import Target
    from imctl.errors import ClusterError

    comet = next((node for node in info.nodes if node.address("comet", "grpc")), None)

    def first(part: str, name: str) -> str | None:
        return next(iter(info.addresses(part, name)), None)

    target = Target(
        tcp=comet.address("comet", "tcp") if comet else None,
        ws=comet.address("comet", "ws") if comet else None,
        comet_grpc=comet.address("comet", "grpc") if comet else None,
        http=first("logic", "http"),
        grpc=first("logic", "grpc"),
        discovery=first("registry", "http") or _discovery_of(info.registry),
    )
    if not target.given():
        raise ClusterError(f"cluster {info.cluster!r} has no node to test")
    return target


def _discovery_of(registry: str | None) -> str | None:
    """Return `host:port` of the first registry in a URL such as http://10.0.0.1:7171."""
    if not registry or not registry.startswith("http://"):
        return None
    return registry.split(",")[0].removeprefix("http://").rstrip("/")


@contextmanager
def _progress(printer: Printer, total: int) -> Iterator[Callable[[Result], None]]:
    """Yield a callback that shows how far the run is: a live line on a terminal, else a line now and then."""
    if printer.quiet or printer.json:
        yield lambda result: None
        return
    live = printer.stderr.isatty()
    shown_s, done, failed = time.monotonic(), 0, 0

    def show(result: Result) -> None:
        nonlocal shown_s, done, failed
        done += 1
        failed += result.verdict.value == "fail"
        if time.monotonic() - shown_s < (_LIVE_S if live else _LINE_S):
            return
        shown_s = time.monotonic()
        text = f"{done} of {total} cases, {failed} failed"
        if live:
            printer.stderr.write(f"\r\x1b[K{text}")
            printer.stderr.flush()
        else:
            printer.note(text)

    try:
        yield show
    finally:
        if live:
            printer.stderr.write("\r\x1b[K")
            printer.stderr.flush()


async def _conform(
    imctl: Context, target: Target, cases: Sequence[Case], *, wait_s: float, slow: bool, risky: bool
) -> Report:
    from imctl.conform import probe, run_cases

    await probe(target)
    with _progress(imctl.printer, len(cases)) as on_result:
        return await run_cases(target, cases, wait_s=wait_s, slow=slow, risky=risky, on_result=on_result)


def _target(imctl: Context, text: str | None, options: Mapping[str, str | None]) -> Target:
    """Return the target that is asked for; the running cluster when nothing is."""
    from imctl.cluster.client import find_cluster
    from imctl.conform import Target, parse_target

    if text is not None:
        try:
            return parse_target(text).with_parts(options)
        except ConfigError as exc:
            raise typer.BadParameter(str(exc), param_hint="TARGET") from exc
    if any(options.values()):
        return Target().with_parts(options)
    return target_of(find_cluster(imctl.cluster))


def _choose(only: Sequence[str]) -> list[Case]:
    from imctl.conform import select_cases

    cases = select_cases(only)
    if not cases:
        raise typer.BadParameter("no case matches; imctl conform --list shows them", param_hint="--only")
    return cases


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ImctlError(f"{path}: {exc.strerror}") from exc


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "conform",
        epilog=examples(
            "imctl conform",
            "imctl conform 'goim://10.0.0.5?tcp=3101&ws=3102&http=3111&grpc=3119&comet-grpc=3109&discovery=7171'",
            "imctl conform --tcp 10.0.0.5:3101 --only 'tcp-frames.*'",
            "imctl conform --slow --junit conform.xml",
        ),
    )
    def conform(
        ctx: typer.Context,
        target: Annotated[
            str | None, typer.Argument(metavar="TARGET", help="goim://HOST?tcp=PORT&ws=PORT&..., parts as below")
        ] = None,
        tcp: Annotated[
            str | None, typer.Option(parser=parse_address, metavar=_PORT, help="A comet's TCP listener")
        ] = None,
        ws: Annotated[
            str | None, typer.Option(parser=parse_address, metavar=_PORT, help="Its WebSocket listener")
        ] = None,
        comet_grpc: Annotated[
            str | None, typer.Option(parser=parse_address, metavar=_PORT, help="Its gRPC server")
        ] = None,
        http: Annotated[
            str | None, typer.Option(parser=parse_address, metavar=_PORT, help="A logic's HTTP API")
        ] = None,
        logic_grpc: Annotated[
            str | None, typer.Option(parser=parse_address, metavar=_PORT, help="Its gRPC server")
        ] = None,
        discovery: Annotated[
            str | None, typer.Option(parser=parse_address, metavar=_PORT, help="A discovery server")
        ] = None,
        only: Annotated[
            list[str] | None, typer.Option("--only", metavar="PATTERN", help="Cases by id, * allowed; may be repeated")
        ] = None,
        list_: Annotated[bool, typer.Option("--list", help="Show the cases, run none")] = False,
        slow: Annotated[bool, typer.Option("--slow", help="Also cases that take up to a minute")] = False,
        risky: Annotated[bool, typer.Option("--risky", help="Also cases that can harm a Go comet")] = False,
        timeout: Annotated[
            float,
            typer.Option(
                parser=parse_duration, metavar="TIME", show_default=False, help="Longest wait for one answer (5s)"
            ),
        ] = 5.0,
        junit: Annotated[
            Path | None, typer.Option("--junit", metavar="FILE.xml", help="Also write the verdicts as JUnit XML")
        ] = None,
    ) -> None:
        """Check a comet, logic or discovery, Go or ours, against goim's behaviour

        Without a target it is the running cluster. Parts without an address
        are not tested. Each case has keys, users and rooms of its own, so the
        cluster may be in use. Ends with 1 when a case fails.
        """
        imctl = Context.of(ctx)
        cases = _choose(only or [])
        if list_:
            imctl.printer.result(CaseList(tuple(cases)))
            return
        if timeout <= 0:
            raise typer.BadParameter("must be more than 0", param_hint="--timeout")
        if junit is not None and not junit.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {junit.absolute().parent}", param_hint="--junit")
        parts = {"tcp": tcp, "ws": ws, "comet_grpc": comet_grpc, "http": http, "grpc": logic_grpc}
        found = _target(imctl, target, {**parts, "discovery": discovery})
        report = run(_conform(imctl, found, cases, wait_s=timeout, slow=slow, risky=risky))
        if junit is not None:
            _write(junit, report.to_junit())
        imctl.printer.result(report)
        if report.not_tested:
            imctl.printer.note(f"not tested: {', '.join(report.not_tested)}")
        if report.counts["skipped"] == len(report.results):
            imctl.printer.warn("no case was tried", hint="imctl conform --list shows what each needs")
        if report.failed:
            from imctl.conform import probe

            run(probe(found))  # a node that has gone meanwhile explains the failures, and the exit code says so
            raise typer.Exit(Exit.FAILED)
