"""`imctl history`: the last pushes to a user or a room, from a hook that keeps messages."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.target import logic_address, parse_room, parse_target

if TYPE_CHECKING:
    from rich.console import Console

    from protocol.imctl_api import History

__all__ = ["Pushes", "read_history", "register"]


@dataclass(frozen=True, slots=True)
class Pushes:
    """The last pushes, oldest first; `messages` is as logic answers. Any: JSON."""

    messages: Sequence[Mapping[str, Any]]

    def render(self, console: Console) -> None:
        """Print a line a push: id, time, operation, bytes, body."""
        from datetime import UTC, datetime

        from rich.text import Text

        from imctl.decode.items import Kind, Row, body_text

        if not self.messages:
            console.print("nothing is kept")
        width = max([len(str(message["id"])) for message in self.messages], default=0)
        for message in self.messages:
            at = datetime.fromtimestamp(message["time_ms"] / 1000, UTC).astimezone()
            text = message.get("body")
            body = base64.b64decode(message["body_base64"]) if text is None else text.encode()
            operation = message["operation"]
            line = Text.assemble(
                f"{message['id']:>{width}}  ",
                (f"{at:%Y-%m-%d %H:%M:%S}", "dim"),
                f"  {operation:>4}  {len(body):>5}  ",
                body_text(Row(Kind.FRAME, 0, 0, op=operation, body=body)),
            )
            console.print(line, soft_wrap=True)


async def read_history(address: str, request: History) -> Pushes:
    """Return what logic remembers."""
    from imctl.cli.logic_http import LogicHttp

    async with LogicHttp(address) as logic:
        return Pushes((await logic.call(request))["messages"])


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "history",
        epilog=examples("imctl history --mid 1", "imctl history --room live://1 --limit 5 --json"),
    )
    def history(
        ctx: typer.Context,
        mid: Annotated[int | None, typer.Option("--mid", metavar="M", min=1, help="Pushes to this user")] = None,
        room: Annotated[
            str | None, typer.Option("--room", metavar="ROOM", help="Pushes to this room, TYPE://ID")
        ] = None,
        limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="The last N")] = 20,
        before: Annotated[int, typer.Option("--before", metavar="ID", min=0, help="Only older ones than this id")] = 0,
        target: Annotated[
            str | None, typer.Option(parser=parse_target, metavar="HOST:PORT", help="HTTP address of a logic of ours")
        ] = None,
    ) -> None:
        """Show the last pushes to a user or a room; needs `imctl up --messages`"""
        from protocol.imctl_api import History

        imctl = Context.of(ctx)
        if (mid is None) == (room is None):
            raise typer.BadParameter("give --mid or --room, one of them")
        if room is not None:
            parse_room(room)
        request = History(mid or 0, room or "", limit, before)
        imctl.printer.result(run(read_history(logic_address(imctl, target), request)))
