"""`imctl down`: end the cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.values import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cluster.client import ClusterInfo

__all__ = ["register"]

_GONE_S = 5.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Stopped:
    """A cluster that has ended."""

    cluster: str
    stopped: bool
    took_ms: int

    def render(self, console: Console) -> None:
        """Say so."""
        console.print(f"cluster {self.cluster} stopped in {self.took_ms} ms; nothing is left running")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("down", epilog=examples("imctl down", "imctl down --cluster b --json"))
    def down(
        ctx: typer.Context,
        grace: Annotated[
            float,
            typer.Option(
                parser=parse_duration, metavar="TIME", show_default=False, help="How long nodes may drain (5s)"
            ),
        ] = 5.0,
    ) -> None:
        """End the cluster; nothing is left running"""
        imctl = Context.of(ctx)
        from imctl.cluster.client import find_cluster

        imctl.printer.result(run(_down(find_cluster(imctl.cluster), grace)))


async def _down(info: ClusterInfo, grace_s: float) -> Stopped:
    """End it, and return when the supervisor is gone too, so that its ports and name are free."""
    import asyncio

    from imctl.cluster.client import ControlClient
    from imctl.cluster.state import process_alive
    from imctl.errors import ClusterError

    began_ns = time.monotonic_ns()
    async with ControlClient(info) as control:
        await control.down(grace_s=grace_s)
    try:
        async with asyncio.timeout(_GONE_S):
            # A process that is not our child tells nobody when it ends.
            while process_alive(info.supervisor_pid, info.supervisor_start):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise ClusterError(
            f"all nodes have ended, but the supervisor (pid {info.supervisor_pid}) is still there"
        ) from None
    return Stopped(info.cluster, True, (time.monotonic_ns() - began_ns) // 1_000_000)
