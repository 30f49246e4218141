"""`imctl stats`: what the nodes have counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples, run

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cli.printer import Printer
    from imctl.cluster.client import ClusterInfo

__all__ = ["register"]

_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of all nodes at one time.

    Args:
        cluster: Its name.
        time: ISO time.
        nodes: As `ControlClient.stats()` has them. Any: JSON.
        rates: {(node, part, counter): changes a second} since the time before.
    """

    cluster: str
    time: str
    nodes: Sequence[Mapping[str, Any]]
    rates: Mapping[tuple[str, str, str], float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the document; rates are for people. Any: JSON."""
        return {"cluster": self.cluster, "time": self.time, "nodes": self.nodes}

    def render(self, console: Console) -> None:
        """Show a block a node: what it counted, then what it dropped, which is red."""
        from rich.table import Table

        from imctl.cli.tables import bytes_text, print_table

        if self.rates and console.is_terminal:
            console.clear()
        for node in self.nodes:
            usage = f"cpu {node['cpu_s']:.1f} s  {node['cpu_percent']:.0f}%  memory {bytes_text(node['rss_bytes'])}"
            problem = f"  [red]{node['problem']}[/]" if node["problem"] else ""
            console.print(f"[bold]{node['name']}[/]  [dim]{node['state']}  {usage}[/]{problem}")
            table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
            table.add_column(style="dim", no_wrap=True)
            table.add_column()
            table.add_column(justify="right", no_wrap=True)
            table.add_column(justify="right", style="cyan", no_wrap=True)
            for part, stats in node["parts"].items():
                for kind, style in (("gauges", ""), ("counters", ""), ("drops", "red")):
                    for name, value in stats[kind].items():
                        if not value:
                            continue
                        rate = self.rates.get((node["name"], part, name), 0.0)
                        label = f"dropped: {name}" if kind == "drops" else name
                        number = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
                        table.add_row(f"  {part}", label, number, f"{rate:,.0f}/s" if rate else "", style=style)
            if table.row_count:
                print_table(console, table)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("stats", epilog=examples("imctl stats", "imctl stats -f", "imctl stats --json"))
    def stats(
        ctx: typer.Context,
        follow: Annotated[
            bool, typer.Option("-f", "--follow", help="Again every second, with what changed a second")
        ] = False,
    ) -> None:
        """Show what the nodes counted, and dropped and why"""
        imctl = Context.of(ctx)
        from imctl.cluster.client import find_cluster

        run(_stats(find_cluster(imctl.cluster), imctl.printer, follow=follow))


async def _stats(info: ClusterInfo, printer: Printer, *, follow: bool) -> None:
    import asyncio

    from imctl.cluster.client import ControlClient

    async with ControlClient(info) as control:
        before: dict[tuple[str, str, str], int] = {}
        before_s = 0.0
        while True:
            nodes, now_s = await control.stats(), time.monotonic()
            values = _flat(nodes)
            took_s = now_s - before_s
            rates = {key: (value - before[key]) / took_s for key, value in values.items() if key in before}
            shown = Counted(info.cluster, time.strftime("%Y-%m-%dT%H:%M:%S"), nodes, rates)
            if not follow:
                printer.result(shown)
                return
            printer.line(shown)
            before, before_s = values, now_s
            await asyncio.sleep(_EVERY_S)


def _flat(nodes: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], int]:
    return {
        (node["name"], part, name): value
        for node in nodes
        for part, stats in node["parts"].items()
        for name, value in {**stats["counters"], **stats["drops"]}.items()
    }
