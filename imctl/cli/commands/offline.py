"""`imctl offline`: what waits for a user, from a hook that keeps messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.target import logic_address, parse_target

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Deleted", "Queue", "delete_queue", "read_queue", "register"]


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for a user.

    Args:
        mid: Who.
        messages: How many wait.
        bytes: Of their bodies.
        oldest_ms: When the oldest was pushed, Unix time; None when nothing waits.
        last_id: Id of the last message that was ever kept for the user.
        connections: {"key", "server", "handed"} of those that are registered; handed is an id. Any: JSON.
    """

    mid: int
    messages: int
    bytes: int
    oldest_ms: int | None
    last_id: int
    connections: Sequence[Mapping[str, Any]]

    def render(self, console: Console) -> None:
        """Print a line, and one a connection."""
        from datetime import UTC, datetime

        from rich.text import Text

        from imctl.cli.tables import bytes_text

        if self.oldest_ms is None:
            text = f"mid {self.mid}: nothing waits"
        else:
            since = datetime.fromtimestamp(self.oldest_ms / 1000, UTC).astimezone()
            one = self.messages == 1
            ids = f"id {self.last_id}" if one else f"ids {self.last_id - self.messages + 1} to {self.last_id}"
            what = "1 message waits" if one else f"{self.messages} messages wait"
            text = f"mid {self.mid}: {what}, {bytes_text(self.bytes)}, {ids}"
            text += f", since {since:%Y-%m-%d %H:%M:%S}"
        console.print(Text(text), soft_wrap=True)
        for connection in self.connections:
            line = f"  {connection['key']} on {connection['server']}: has been handed up to id {connection['handed']}"
            console.print(Text(line), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted: messages that waited for a user, and the user's history."""

    mid: int
    deleted: int

    def render(self, console: Console) -> None:
        """Print one line."""
        console.print(f"mid {self.mid}: {self.deleted} waiting messages and the history are deleted")


async def read_queue(address: str, mid: int) -> Queue:
    """Return what waits for a user."""
    from imctl.cli.logic_http import LogicHttp
    from protocol.imctl_api import Offline

    async with LogicHttp(address) as logic:
        return Queue(**await logic.call(Offline(mid)))


async def delete_queue(address: str, mid: int) -> Deleted:
    """Delete what is kept of a user."""
    from imctl.cli.logic_http import LogicHttp
    from protocol.imctl_api import DeleteOffline

    async with LogicHttp(address) as logic:
        return Deleted(mid, (await logic.call(DeleteOffline(mid)))["deleted"])


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("offline", epilog=examples("imctl offline --mid 1", "imctl offline --mid 1 --delete"))
    def offline(
        ctx: typer.Context,
        mid: Annotated[int, typer.Option("--mid", metavar="M", min=1, help="User id")],
        delete: Annotated[bool, typer.Option("--delete", help="Delete it, and the user's history too")] = False,
        target: Annotated[
            str | None, typer.Option(parser=parse_target, metavar="HOST:PORT", help="HTTP address of a logic of ours")
        ] = None,
    ) -> None:
        """Show what waits for a user; needs `imctl up --messages`"""
        imctl = Context.of(ctx)
        address = logic_address(imctl, target)
        imctl.printer.result(run(delete_queue(address, mid) if delete else read_queue(address, mid)))
