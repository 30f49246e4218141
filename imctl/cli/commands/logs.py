"""`imctl logs`: what the nodes have logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imctl.cli.context import Context, examples, run

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cli.printer import Printer
    from imctl.cluster.logs import LogLine

__all__ = ["register"]

_SUPERVISOR = "supervisor"  # it has a log, and is no node
_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@dataclass(frozen=True, slots=True)
class Shown:
    """One line as it is shown."""

    node: str
    time: str
    text: str

    def render(self, console: Console) -> None:
        """Show the node, the time and the line."""
        from rich.text import Text

        style = _STYLES.get(self.text.partition(" ")[0], "")
        console.print(Text.assemble((f"{self.node:<10} ", "cyan"), (f"{self.time[11:]} ", "dim"), (self.text, style)))


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("logs", epilog=examples("imctl logs", "imctl logs comet-1 -f", "imctl logs -n 500 --json"))
    def logs(
        ctx: typer.Context,
        nodes: Annotated[list[str] | None, typer.Argument(metavar="NODE", help="Which; all when left out")] = None,
        follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is logged from now on")] = False,
        lines: Annotated[
            int, typer.Option("-n", "--lines", metavar="N", min=0, help="How many of the last lines; 0 is all")
        ] = 200,
    ) -> None:
        """Show what the nodes have logged

        Also of a cluster that has ended, until the next one of its name has filled the files.
        """
        imctl = Context.of(ctx)
        from imctl.cluster.logs import log_nodes, read_logs
        from imctl.cluster.naming import start_hint
        from imctl.cluster.state import ClusterFolder
        from imctl.errors import ClusterError

        folder = ClusterFolder(imctl.cluster).logs
        known = log_nodes(folder)
        if not known:
            raise ClusterError(
                f"cluster {imctl.cluster!r} has no logs: there is and was none", hint=start_hint(imctl.cluster)
            )
        unknown = [node for node in nodes or () if node not in known]
        if unknown:
            there = ", ".join(_present(imctl.cluster, known))
            raise typer.BadParameter(f"no log of {', '.join(map(repr, unknown))}; there are: {there}")
        for line in read_logs(folder, nodes or known, tail=lines):
            _show(imctl.printer, line)
        if follow:
            run(_follow(imctl.printer, folder, nodes or known))


def _present(cluster: str, known: Sequence[str]) -> list[str]:
    """Return the logs of the cluster that runs; where none runs, all that are left."""
    from imctl.cluster.client import find_cluster
    from imctl.errors import ClusterError

    try:
        running = {node.name for node in find_cluster(cluster).nodes} | {_SUPERVISOR}
    except ClusterError:
        return list(known)
    return [node for node in known if node in running]


def _show(printer: Printer, line: LogLine) -> None:
    printer.line(Shown(line.node, line.time, line.text))


async def _follow(printer: Printer, folder: Path, nodes: Sequence[str]) -> None:
    from imctl.cluster.logs import follow_logs

    async for line in follow_logs(folder, nodes):
        _show(printer, line)
