"""`imctl online`: how many are connected, in all or in rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.target import logic_address, parse_room, parse_target

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Rooms", "Top", "Total", "online_rooms", "online_top", "online_total", "register"]


@dataclass(frozen=True, slots=True)
class Total:
    """Connections, and addresses they come from; an address on two comets counts twice."""

    conn_count: int
    ip_count: int

    def render(self, console: Console) -> None:
        """Print one line."""
        console.print(f"{self.conn_count} connections from {self.ip_count} addresses")


@dataclass(frozen=True, slots=True)
class Rooms:
    """Members by room key."""

    rooms: Mapping[str, int]

    def render(self, console: Console) -> None:
        """Print a line a room."""
        _print_counts(console, self.rooms.items())


@dataclass(frozen=True, slots=True)
class Top:
    """The fullest rooms, most members first; `room_id` is the room's key without its type."""

    type: str
    top: tuple[Mapping[str, Any], ...]

    def render(self, console: Console) -> None:
        """Print a line a room."""
        _print_counts(console, [(room["room_id"], room["count"]) for room in self.top])
        if not self.top:
            console.print(f"no room whose key begins with {self.type}")


def _print_counts(console: Console, counts: Any) -> None:
    from rich.text import Text

    found = list(counts)
    width = max([len(str(count)) for _, count in found], default=0)
    for room, count in found:
        console.print(Text(f"{count:>{width}}  {room}"), soft_wrap=True)


async def online_total(address: str) -> Total:
    """Return how many are connected to all comets."""
    from imctl.cli.logic_http import LogicHttp
    from protocol.push_api import OnlineTotal

    async with LogicHttp(address) as logic:
        data = await logic.call(OnlineTotal())
    return Total(data["conn_count"], data["ip_count"])


async def online_rooms(address: str, rooms: Sequence[tuple[str, str]]) -> Rooms:
    """Return the members of rooms given as (type, room), in that order."""
    from imctl.cli.logic_http import LogicHttp
    from protocol.push_api import OnlineRoom

    by_type: dict[str, list[str]] = {}
    for kind, room in rooms:
        by_type.setdefault(kind, []).append(room)
    counts: dict[tuple[str, str], int] = {}
    async with LogicHttp(address) as logic:
        for kind, names in by_type.items():
            data = await logic.call(OnlineRoom(kind, tuple(names)))
            counts |= {(kind, name): data.get(name, 0) for name in names}
    return Rooms({f"{kind}://{room}": counts[kind, room] for kind, room in rooms})


async def online_top(address: str, kind: str, limit: int) -> Top:
    """Return the fullest rooms whose key begins with `kind`."""
    from imctl.cli.logic_http import LogicHttp
    from protocol.push_api import OnlineTop

    async with LogicHttp(address) as logic:
        return Top(kind, tuple(await logic.call(OnlineTop(kind, limit))))


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "online", epilog=examples("imctl online", "imctl online live://1 live://2", "imctl online --top 10 --type live")
    )
    def online(
        ctx: typer.Context,
        rooms: Annotated[list[str] | None, typer.Argument(metavar="ROOM", help="Rooms, TYPE://ID")] = None,
        total: Annotated[bool, typer.Option("--total", help="All connections (without anything else, too)")] = False,
        top: Annotated[int | None, typer.Option("--top", metavar="N", min=1, help="The N fullest rooms")] = None,
        kind: Annotated[
            str, typer.Option("--type", metavar="TYPE", help="With --top: what room keys begin with")
        ] = "live",
        target: Annotated[
            str | None, typer.Option(parser=parse_target, metavar="HOST:PORT", help="HTTP address of any goim logic")
        ] = None,
    ) -> None:
        """Show how many are online; counts are up to 20 s old"""
        imctl = Context.of(ctx)
        if total + (top is not None) + bool(rooms) > 1:
            raise typer.BadParameter("give rooms, --total or --top, one of them")
        pairs = [parse_room(text) for text in dict.fromkeys(rooms or ())]
        address = logic_address(imctl, target)
        if pairs:
            imctl.printer.result(run(online_rooms(address, pairs)))
        elif top is not None:
            imctl.printer.result(run(online_top(address, kind, top)))
        else:
            imctl.printer.result(run(online_total(address)))
