"""`imctl ps`: the processes of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from imctl.cli.context import Context, examples, run

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cluster.client import ClusterInfo

__all__ = ["register"]

_STATE_STYLES = {"running": "green", "paused": "yellow", "restarting": "red", "starting": "yellow"}


@dataclass(frozen=True, slots=True)
class Processes:
    """What the supervisor says of its processes. Any: JSON."""

    document: Mapping[str, Any]

    def to_json(self) -> Mapping[str, Any]:
        """Return the supervisor's document."""
        return self.document

    def render(self, console: Console) -> None:
        """Show a table."""
        from rich.table import Table

        from imctl.cli.tables import address_text, bytes_text, duration_text, print_table

        table = Table(box=None, pad_edge=False, header_style="dim")
        ended = any(node["last_exit"] for node in self.document["nodes"])
        for column in ("node", "kind", "pid", "state", "uptime", "cpu", "memory", "restarts"):
            right = column in ("pid", "uptime", "cpu", "memory", "restarts")
            table.add_column(column, no_wrap=column != "node", justify="right" if right else "left")
        if ended:
            table.add_column("last end")
        # A table of their own: beside the rest they do not fit into 80 columns.
        places = Table(box=None, pad_edge=False, header_style="dim")
        places.add_column("node")
        places.add_column("addresses", no_wrap=True)
        for node in self.document["nodes"]:
            state = node["state"]
            table.add_row(
                f"[bold]{node['name']}[/]",
                node["kind"],
                str(node["pid"] or "-"),
                f"[{_STATE_STYLES.get(state, 'default')}]{state}[/]",
                duration_text(node["uptime_s"]),
                f"{node['cpu_percent']:.0f}%",
                bytes_text(node["rss_bytes"]),
                str(node["restarts"]),
                *([node["last_exit"] or ""] if ended else []),
            )
            if any(node["addresses"].values()):
                places.add_row(f"[bold]{node['name']}[/]", address_text(node["addresses"]))
        print_table(console, table)
        console.print()
        print_table(console, places)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("ps", epilog=examples("imctl ps", "imctl ps --json"))
    def ps(ctx: typer.Context) -> None:
        """Show the processes: state, CPU, memory, addresses"""
        imctl = Context.of(ctx)
        from imctl.cluster.client import find_cluster

        imctl.printer.result(Processes(run(_ps(find_cluster(imctl.cluster)))))


async def _ps(info: ClusterInfo) -> dict[str, Any]:
    from imctl.cluster.client import ControlClient

    async with ControlClient(info) as control:
        return await control.ps()
