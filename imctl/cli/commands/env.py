"""`imctl env`: the cluster's addresses for scripts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from imctl.cli.context import Context, examples

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cluster.client import ClusterInfo

__all__ = ["environment", "register"]


class Format(StrEnum):
    """How to print them."""

    SHELL = "shell"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables by name."""

    variables: Mapping[str, str]

    def to_json(self) -> Mapping[str, str]:
        """Return the variables."""
        return self.variables

    def render(self, console: Console) -> None:
        """Print what a shell can eval; no wrapping, no colour."""
        for name, value in self.variables.items():
            console.out(f"export {name}={shlex.quote(value)}", highlight=False)


def environment(info: ClusterInfo) -> dict[str, str]:
    """Return IMCTL_* of a running cluster; several addresses have commas between them."""
    parts = {
        "IMCTL_CLUSTER": info.cluster,
        "IMCTL_LOGIC_HTTP": _urls("http://", info.addresses("logic", "http")),
        "IMCTL_LOGIC_GRPC": _urls("", info.addresses("logic", "grpc")),
        "IMCTL_COMET_TCP": _urls("", info.comet_tcp),
        "IMCTL_COMET_WS": _urls("ws://", info.comet_ws, "/sub"),
        "IMCTL_COMET_WSS": _urls("wss://", info.comet_wss, "/sub"),
        "IMCTL_COMET_TLS": _urls("", info.addresses("comet", "tls")),
        "IMCTL_COMET_GRPC": _urls("", info.addresses("comet", "grpc")),
        "IMCTL_REGISTRY": info.registry or "",
        "IMCTL_BUS": info.bus,
        "IMCTL_STORE": info.store,
    }
    return {name: value for name, value in parts.items() if value}


def _urls(before: str, addresses: list[str], after: str = "") -> str:
    return ",".join(f"{before}{address}{after}" for address in addresses)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("env", epilog=examples('eval "$(imctl env)" && curl "$IMCTL_LOGIC_HTTP/goim/online/total"'))
    def env(
        ctx: typer.Context,
        output: Annotated[Format, typer.Option("-o", "--output", help="shell or json")] = Format.SHELL,
    ) -> None:
        """Print the addresses as variables for a shell to eval"""
        imctl = Context.of(ctx)
        from imctl.cluster.client import find_cluster

        if output is Format.JSON:
            imctl.printer.json = True
        imctl.printer.result(Environment(environment(find_cluster(imctl.cluster))))
