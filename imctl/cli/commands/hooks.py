"""`imctl hooks`: what is loaded in which logic, and what its calls came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.target import parse_target

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Installed", "Loaded", "loaded_hooks", "register"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The hooks of each logic, {address: hooks}; a hook is as `imctl.hooks.hooks.HookStats`. Any: JSON."""

    logics: Mapping[str, Sequence[Mapping[str, Any]]]

    def to_json(self) -> dict[str, Any]:
        """Return the document; Any because it is JSON."""
        return {"logics": [{"address": address, "hooks": hooks} for address, hooks in self.logics.items()]}

    def render(self, console: Console) -> None:
        """Print a table a logic, a line a method."""
        from rich.table import Table

        for address, hooks in self.logics.items():
            console.print(f"[bold]logic {address}[/]" + ("" if hooks else "  no hooks"))
            table = Table(box=None, pad_edge=False, header_style="dim")
            for column in ("hook", "point", "calls", "failed", "timeouts", "mean", "longest", "from"):
                table.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=True)
            for hook in hooks:
                name, source = hook["name"], hook["source"]
                for point, stats in hook["points"].items():
                    failed = f"[red]{stats['failed']}[/]" if stats["failed"] else "0"
                    numbers = (str(stats["calls"]), failed, str(stats["timeouts"]))
                    times = (_time(stats["mean_us"]), _time(stats["max_us"]))
                    table.add_row(name, point, *numbers, *times, source)
                    name = source = ""
            if hooks:
                console.print(table)


_NUMBERS = ("calls", "failed", "timeouts", "mean", "longest")


def _time(us: float) -> str:
    return f"{us / 1000:.1f} ms" if us >= 1000 else f"{us:.0f} us"


@dataclass(frozen=True, slots=True)
class Installed:
    """The hooks that can be loaded by name, {name: where it is}."""

    installed: Mapping[str, str]

    def render(self, console: Console) -> None:
        """Print a line a hook."""
        width = max(map(len, self.installed), default=0)
        for name, where in self.installed.items():
            console.print(f"{name:<{width}}  [dim]{where}[/]", soft_wrap=True)


async def loaded_hooks(addresses: Sequence[str]) -> Loaded:
    """Return what each logic has loaded."""
    from imctl.cli.logic_http import LogicHttp
    from protocol.push_api import HookList

    found = {}
    for address in addresses:
        async with LogicHttp(address) as logic:
            found[address] = await logic.call(HookList())
    return Loaded(found)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("hooks", epilog=examples("imctl hooks", "imctl hooks --installed"))
    def hooks(
        ctx: typer.Context,
        installed: Annotated[bool, typer.Option("--installed", help="What can be loaded by name instead")] = False,
        target: Annotated[
            str | None, typer.Option(parser=parse_target, metavar="HOST:PORT", help="HTTP address of a logic of ours")
        ] = None,
    ) -> None:
        """Show the hooks that are loaded, from where, with calls and times"""
        imctl = Context.of(ctx)
        if installed:
            from imctl.hooks.loader import available_hooks

            imctl.printer.result(Installed({name: entry.value for name, entry in sorted(available_hooks().items())}))
            return
        if target is not None:
            addresses = [target]
        else:
            from imctl.cluster.client import find_cluster

            addresses = find_cluster(imctl.cluster).addresses("logic", "http")
        imctl.printer.result(run(loaded_hooks(addresses)))
