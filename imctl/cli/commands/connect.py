"""`imctl connect`: one connection to a comet, by hand or by a script, with every frame shown."""

from __future__ import annotations

from typing import Annotated

import typer

from imctl.cli.comet_client import (
    AcceptsOption,
    CometOption,
    KeyOption,
    MidOption,
    RoomOption,
    WsOption,
    client_token,
)
from imctl.cli.context import Context, examples, run
from imctl.cli.exits import Exit
from imctl.cli.target import comet_address
from imctl.cli.values import parse_duration

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "connect",
        epilog=examples(
            "imctl connect --mid 1 --room live://1",
            "imctl connect --ws --target 127.0.0.1:3102 --no-heartbeats",
            r"printf 'room live://2\nwait 13\nbeat\nwait 3 2s\n' | imctl connect --mid 1 --json",
        ),
    )
    def connect(
        ctx: typer.Context,
        mid: MidOption = 0,
        key: KeyOption = "",
        room: RoomOption = "",
        accepts: AcceptsOption = "1000",
        ws: WsOption = False,
        heartbeats: Annotated[
            bool, typer.Option("--heartbeats/--no-heartbeats", help="Show heartbeats; those of the command beat always")
        ] = True,
        heartbeat_every: Annotated[
            float,
            typer.Option(
                "--heartbeat-every",
                parser=parse_duration,
                metavar="TIME",
                show_default=False,
                help="Between heartbeats that are sent by themselves; 0s sends none (30s)",
            ),
        ] = 30.0,
        target: CometOption = None,
    ) -> None:
        """Connect as a client, show every frame both ways, and send what you type

        The command help of the prompt lists what can be typed: change the room, subscribe, send any operation or
        bytes, wait for a frame. Where stdin is no terminal it is a script of such commands, one a line: the first
        wrong one ends it with exit 2, a wait in vain with 27. A connection that the comet closes ends it with 4.
        """
        from imctl.cli.conversation import talk

        imctl = Context.of(ctx)
        token = client_token(mid, key, room, accepts)
        address = comet_address(imctl, target, ws=ws)
        if run(talk(imctl, address, token, ws=ws, heartbeat_s=heartbeat_every or None, show_beats=heartbeats)):
            raise typer.Exit(Exit.INTERRUPTED)
