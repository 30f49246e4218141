"""What commands that are a client of a comet share: who they are, how they connect, and what is said of it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from imctl.cli.target import parse_room, parse_target
from imctl.cli.values import parse_operations
from imctl.errors import ClusterError

if TYPE_CHECKING:
    from datetime import datetime

    from protocol.aio import Client
    from protocol.bodies import AuthToken

__all__ = [
    "CONNECT_S",
    "AcceptsOption",
    "CometOption",
    "KeyOption",
    "MidOption",
    "RoomOption",
    "WsOption",
    "clock_text",
    "client_token",
    "connect_hint",
    "connected_text",
    "translate_error",
]

CONNECT_S = 5.0
"""Limit for a connection with its auth."""

MidOption = Annotated[int, typer.Option("--mid", metavar="M", help="User id; 0 is nobody")]
KeyOption = Annotated[str, typer.Option("--key", metavar="K", help="Connection id; one is made up if left out")]
RoomOption = Annotated[str, typer.Option("--room", metavar="ROOM", help="Room to join, TYPE://ID")]
AcceptsOption = Annotated[
    str, typer.Option("--accepts", metavar="OPS", help="Operations wanted of pushes by mid, by key and to all")
]
WsOption = Annotated[bool, typer.Option("--ws", help="Over WebSocket")]
CometOption = Annotated[
    str | None, typer.Option(parser=parse_target, metavar="HOST:PORT", help="Address of any goim comet")
]


def client_token(mid: int, key: str, room: str, accepts: str) -> AuthToken:
    """Return what the client says it is, of its options.

    Raises:
        typer.BadParameter: the room or the operations are none.
    """
    from protocol.bodies import AuthToken

    if room:
        parse_room(room)
    return AuthToken(
        mid=mid,
        key=key or f"imctl-{uuid.uuid4().hex[:12]}",
        room_id=room,
        platform="imctl",
        accepts=parse_operations(accepts),
    )


def connected_text(client: Client, token: AuthToken, *, ws: bool) -> str:
    """Return `HOST:PORT over TCP: mid 1, key k, accepts 1000`."""
    where = f"{client.address} over {'WebSocket' if ws else 'TCP'}"
    who = f"mid {token.mid}, key {token.key}" + f", room {token.room_id}" * bool(token.room_id)
    accepts = ",".join(map(str, token.accepts)) or "nothing"
    return f"{where}: {who}, accepts {accepts}"


def clock_text(at: datetime) -> str:
    """Return `15:04:05.123`."""
    return f"{at:%H:%M:%S.%f}"[:-3]


def translate_error(exc: Exception, *, hint: str) -> Exception:
    """Return what to raise for an end of the connection: a refused client or a ClusterError.

    Args:
        exc: What came of connecting, or of a connection.
        hint: What to do when the comet was there, and let the client in.
    """
    from protocol.aio import AuthRefusedError

    if isinstance(exc, (AuthRefusedError, ClusterError)):
        return exc
    return ClusterError(f"comet: {exc}", hint=connect_hint(exc) or hint)


def connect_hint(exc: BaseException | None) -> str:
    """Return what may be behind a failure to connect; "" when it is none."""
    from protocol.aio import ConnectError, ReplyTimeoutError

    if isinstance(exc, ConnectError):
        return "does a comet listen there?"
    if isinstance(exc, ReplyTimeoutError) and exc.what == "auth":
        return "does a logic run? the comet asks one who may come in"
    return ""
