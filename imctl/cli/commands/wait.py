"""`imctl wait`: until the cluster is ready."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.exits import TimedOutError
from imctl.cli.values import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["register"]

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Waited:
    """A cluster that is ready."""

    cluster: str
    ready: bool
    nodes: int
    waited_ms: int

    def render(self, console: Console) -> None:
        """Say so."""
        console.print(f"cluster {self.cluster} is ready: {self.nodes} nodes running, waited {self.waited_ms} ms")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("wait", epilog=examples("imctl up --detach & imctl wait --timeout 10s"))
    def wait(
        ctx: typer.Context,
        timeout: Annotated[
            float,
            typer.Option(
                parser=parse_duration, metavar="TIME", show_default=False, help="How long at most; then exit 27 (10s)"
            ),
        ] = 10.0,
    ) -> None:
        """Wait until the cluster is there and every node runs"""
        imctl = Context.of(ctx)
        imctl.printer.result(run(_wait(imctl.cluster, timeout)))


async def _wait(cluster: str, timeout_s: float) -> Waited:
    import asyncio

    from imctl.cluster.client import ControlClient, find_cluster
    from imctl.errors import ClusterError

    began_s = time.monotonic()
    missing = ""
    while True:
        left_s = max(began_s + timeout_s - time.monotonic(), _POLL_S)
        try:
            async with ControlClient(find_cluster(cluster), timeout_s=left_s) as control:
                nodes = (await control.ps())["nodes"]
            waiting = [f"{node['name']} is {node['state']}" for node in nodes if node["state"] != "running"]
            if not waiting:
                waited_ms = int((time.monotonic() - began_s) * 1000)
                return Waited(cluster, True, len(nodes), waited_ms)
            missing = ", ".join(waiting)
        except ClusterError as exc:
            missing = str(exc)
        if time.monotonic() - began_s + _POLL_S > timeout_s:
            raise TimedOutError(f"cluster {cluster!r} was not ready in {timeout_s:g} s: {missing}")
        await asyncio.sleep(_POLL_S)
