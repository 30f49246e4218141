"""Whom a command talks to: the node named by --target, else one of the running cluster; and rooms."""

from __future__ import annotations

import re

import typer

from imctl.cli.context import Context

__all__ = ["comet_address", "logic_address", "parse_room", "parse_target"]

_TARGET = re.compile(r"(?:(?:http|tcp|ws)://)?(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):(\d{1,5})/?")


def parse_target(text: str) -> str:
    """Return `HOST:PORT`; for `typer.Option(parser=parse_target)`.

    Raises:
        typer.BadParameter: it is something else.
    """
    match = _TARGET.fullmatch(text.strip())
    if match is None or not 0 < int(match[2]) < 65536:
        raise typer.BadParameter(f"{text!r} is no address; expected HOST:PORT, such as 127.0.0.1:3111")
    return f"{match[1]}:{int(match[2])}"


def parse_room(text: str) -> tuple[str, str]:
    """Return type and id of a room key.

    Raises:
        typer.BadParameter: it is none, or goim could not push to it.
    """
    kind, separator, room = text.partition("://")
    if not (kind and separator and room):
        raise typer.BadParameter(f"{text!r} is no room; expected TYPE://ID, such as live://1000")
    return kind, room


def logic_address(context: Context, target: str | None) -> str:
    """Return the address of logic's HTTP API.

    Raises:
        ClusterError: no target is given, and there is no cluster.
    """
    if target is not None:
        return target
    from imctl.cluster.client import find_cluster

    return find_cluster(context.cluster).logic_http


def comet_address(context: Context, target: str | None, *, ws: bool) -> tuple[str, int]:
    """Return host and port of a comet.

    Raises:
        ClusterError: no target is given, and there is no cluster, or none with such a listener.
    """
    from imctl.errors import ClusterError

    if target is None:
        from imctl.cluster.client import find_cluster

        info = find_cluster(context.cluster)
        found = info.comet_ws if ws else info.comet_tcp
        if not found:
            raise ClusterError(
                f"cluster {context.cluster!r} has no comet that listens for {'WebSocket' if ws else 'TCP'}"
            )
        target = found[0]
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port)
