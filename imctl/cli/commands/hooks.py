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
        """Print for each logic a line a hook, and below it one for each of its methods."""
        from rich.text import Text

        for address, hooks in self.logics.items():
            console.print(Text.assemble((f"logic {address}", "bold"), "" if hooks else "  no hooks"))
            rows = [_numbers(method, stats) for hook in hooks for method, stats in hook["points"].items()]
            # Of all hooks together, so that their columns stand below one another.
            widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
            if hooks:
                console.print(Text(_joined(_HEADS, widths), style="dim"), soft_wrap=True)
            for hook in hooks:
                console.print(Text.assemble((hook["name"], "bold"), "  ", (hook["source"], "dim")), soft_wrap=True)
                for method, stats in hook["points"].items():
                    line = _joined(_numbers(method, stats), widths)
                    console.print(Text(line, style="red" if stats["failed"] else ""), soft_wrap=True)


_HEADS = ("", "calls", "failed", "timeouts", "under way", "mean", "longest")


def _numbers(method: str, stats: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a method. Any: JSON."""
    counts = [f"{stats[name]:,}" for name in ("calls", "failed", "timeouts", "under_way")]
    return (f"  {method}", *counts, _time(stats["mean_us"]), _time(stats["max_us"]))


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join([cells[0].ljust(len(name)), *numbers])


def _time(us: float) -> str:
    if us >= 1_000_000:
        return f"{us / 1e6:.2f} s"
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
