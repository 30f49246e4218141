"""What every command gets: the global options, the printer, and how to run asyncio."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeVar

import typer

from imctl.cli.printer import Printer
from imctl.cluster.naming import DEFAULT_CLUSTER, command_for

__all__ = ["DEFAULT_CLUSTER", "Context", "examples", "run"]

_T = TypeVar("_T")


@dataclass(slots=True)
class Context:
    """The global options of one run, and what goes with them.

    Args:
        cluster: Name of the cluster meant, from --cluster or IMCTL_CLUSTER.
        json: Results as JSON on stdout.
        quiet: No notes on stderr.
        color: False when --no-color was given; streams still decide for themselves.
        printer: Shows everything.
        stdin: Where a command reads what is piped to it.
    """

    cluster: str = DEFAULT_CLUSTER
    json: bool = False
    quiet: bool = False
    color: bool = True
    printer: Printer = field(default_factory=Printer)
    stdin: TextIO = field(default_factory=lambda: sys.stdin)

    @classmethod
    def of(cls, ctx: typer.Context) -> Context:
        """Return the Context that the application put into typer's."""
        found = ctx.find_object(cls)
        if found is None:  # a command called without the application, in a test
            found = ctx.obj = cls()
        return found

    def command(self, command: str) -> str:
        """Return a command as it is typed for this cluster, for a hint."""
        return command_for(self.cluster, command)


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's coroutine to its end, on uvloop where it is installed.

    Ctrl-C cancels it and comes out as KeyboardInterrupt. Any: what a
    coroutine yields and takes is the loop's affair.
    """
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.run(main)
    return uvloop.run(main)


def examples(*lines: str) -> str:
    """Return the epilog of a command's help: each example on a line of its own."""
    # \b: click's mark for a paragraph that keeps its line breaks.
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
