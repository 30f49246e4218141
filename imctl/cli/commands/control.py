"""`imctl kill | pause | resume | restart NODE`: faults by hand, and a fresh start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.values import parse_duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from imctl.cluster.client import ClusterInfo, ControlClient

__all__ = ["Controlled", "register"]

_Node = Annotated[str, typer.Argument(metavar="NODE", help="A name of `imctl ps`")]


@dataclass(frozen=True, slots=True)
class Controlled:
    """What was done to a node.

    Args:
        document: What the supervisor answered. Any: JSON.
        text: The same in words, with the fields of the document in braces.
    """

    document: Mapping[str, Any]
    text: str

    def to_json(self) -> Mapping[str, Any]:
        """Return the supervisor's document."""
        return self.document

    def render(self, console: Console) -> None:
        """Say it in a line."""
        console.print(self.text.format(**self.document), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the four commands."""

    @app.command("kill", epilog=examples("imctl kill comet-1"))
    def kill(ctx: typer.Context, node: _Node) -> None:
        """Kill a node as a crash would; it is started again"""
        _show(ctx, lambda control: control.kill(node), "{node} (pid {pid}) is killed; it will be started again")

    @app.command("pause", epilog=examples("imctl pause comet-1"))
    def pause(ctx: typer.Context, node: _Node) -> None:
        """Freeze a node: connections stay, nothing answers"""
        _show(
            ctx,
            lambda control: control.pause(node),
            f"{{node}} (pid {{pid}}) is paused: {Context.of(ctx).command('imctl resume {node}')}",
        )

    @app.command("resume", epilog=examples("imctl resume comet-1"))
    def resume(ctx: typer.Context, node: _Node) -> None:
        """Let a paused node go on"""
        _show(ctx, lambda control: control.resume(node), "{node} (pid {pid}) goes on")

    @app.command("restart", epilog=examples("imctl restart comet-1", "imctl restart core --grace 10s"))
    def restart(
        ctx: typer.Context,
        node: _Node,
        grace: Annotated[
            float,
            typer.Option(parser=parse_duration, metavar="TIME", show_default=False, help="How long it may drain (5s)"),
        ] = 5.0,
    ) -> None:
        """Drain a node and start it again on the same ports"""
        _show(
            ctx,
            lambda control: control.restart(node, grace_s=grace),
            "{node} is running again in {took_ms} ms, pid {pid}",
        )


def _show(ctx: typer.Context, request: Callable[[ControlClient], Awaitable[dict[str, Any]]], text: str) -> None:
    imctl = Context.of(ctx)
    from imctl.cluster.client import find_cluster

    imctl.printer.result(Controlled(run(_ask(find_cluster(imctl.cluster), request)), text))


async def _ask(info: ClusterInfo, request: Callable[[ControlClient], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    from imctl.cluster.client import ControlClient

    async with ControlClient(info) as control:
        return await request(control)
