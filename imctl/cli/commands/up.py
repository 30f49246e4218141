"""`imctl up`: a whole cluster on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.exits import Exit
from imctl.cluster.naming import command_for

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cli.printer import Printer
    from imctl.cluster.spec import ClusterOptions, ClusterSpec

__all__ = ["Banner", "register"]

_ENDED_EARLY = "stopped before it was ready; nothing is left running"


class Compat(StrEnum):
    """What to be like where there is a choice."""

    GOIM = "goim"


@dataclass(frozen=True, slots=True)
class Banner:
    """A cluster that is ready, as `up` shows it.

    Args:
        summary: What `--json` prints. Any: JSON.
        detached: Whether it goes on without the command.
    """

    summary: Mapping[str, Any]
    detached: bool

    def to_json(self) -> Mapping[str, Any]:
        """Return the contract's document."""
        return self.summary

    def render(self, console: Console) -> None:
        """Show nodes, addresses, what lasts, and what to try."""
        from rich.table import Table

        from imctl.cli.tables import address_text, print_table

        summary = self.summary
        name = summary["cluster"]
        console.print(f"[bold green]cluster {name} is ready[/] in {summary['ready_ms']} ms\n")
        table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
        for column in ("node", "pid", "addresses"):
            table.add_column(column, no_wrap=column != "node")
        for node in summary["nodes"]:
            table.add_row(f"[bold]{node['name']}[/]", str(node["pid"]), address_text(node["addresses"]))
        print_table(console, table)
        console.print(f"\n[dim]bus[/]       {summary['bus']}  ({self._bus_note()})")
        console.print(f"[dim]store[/]     {summary['store']}  ({self._store_note()})")
        if summary["messages"]:
            console.print(f"[dim]messages[/]  {summary['messages']}  ({self._messages_note()})")
            if summary["messages"].startswith("sqlite:"):
                from imctl.messages.factory import sqlite_path

                console.print(f"          in {sqlite_path(summary['messages'], name)}", soft_wrap=True)
        console.print(f"[dim]registry[/]  {summary['registry']}\n")
        console.print(f"try, in another terminal:  [bold cyan]{command_for(name, 'imctl listen --mid 1')}[/]")
        push = command_for(name, 'imctl push --mid 1 "hi"')
        console.print(f"                     then  [bold cyan]{push}[/]")
        console.print(f"end it:  {command_for(name, 'imctl down')}" if self.detached else "end it:  Ctrl-C")

    def _bus_note(self) -> str:
        if self._is_embedded(self.summary["bus"]):
            return "embedded; messages do not survive a stop"
        kept = "are gone after a stop" if self.summary["bus"].startswith("memory:") else "stay with the broker"
        return f"messages under way {kept}"

    def _messages_note(self) -> str:
        if self.summary["messages"].startswith(("memory:", "fakeredis:")) or self._is_embedded(
            self.summary["messages"]
        ):
            return "kept for users who are away; gone after a stop"
        return "kept for users who are away; survive a stop"

    def _store_note(self) -> str:
        if self._is_embedded(self.summary["store"]):
            return "embedded; sessions do not survive a stop"
        return "sessions survive a stop" if self.summary["persistent"] else "sessions in memory, gone after a stop"

    def _is_embedded(self, url: str) -> bool:
        """Whether the server of a URL is one of the cluster's processes."""
        own = {address for node in self.summary["nodes"] for address in node["addresses"].values()}
        return urlsplit(url).netloc in own


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "up",
        epilog=examples(
            "imctl up",
            "imctl up --comet 2 --detach",
            "imctl up --cluster b --any-port --detach --json",
            "imctl up --logic 2 --job 2 --bus mqtt --store valkey",
            "imctl up --store redis://127.0.0.1:6379",
            "imctl up --messages sqlite://",
            "imctl up --hooks 'jwt?secret_env=JWT_SECRET' --hooks 'logins?duplicate=kick'",
        ),
    )
    def up(
        ctx: typer.Context,
        comet: Annotated[int | None, typer.Option(metavar="N", help="Comets, each a process (1)")] = None,
        logic: Annotated[int | None, typer.Option(metavar="N", help="Logics; above 1 as --split (1)")] = None,
        job: Annotated[int | None, typer.Option(metavar="N", help="Jobs; above 1 as --split (1)")] = None,
        split: Annotated[bool, typer.Option("--split", help="Every node in a process of its own")] = False,
        bus: Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                help="Messages: memory://; mqtt or valkey, started with it; or a broker: redis://, kafka://, mqtt://HOST",
            ),
        ] = None,
        store: Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                help="Sessions: memory:// or fakeredis://; valkey, started with it; or a server: redis://HOST:PORT",
            ),
        ] = None,
        messages: Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                help="Keep messages for users who are away: sqlite://, a file; valkey; or a server: redis://HOST:PORT",
            ),
        ] = None,
        hooks: Annotated[
            list[str] | None,
            typer.Option(
                "--hooks", metavar="HOOK", help="A hook: jwt?..., module:Class, file.py:Class; may be repeated"
            ),
        ] = None,
        registry: Annotated[
            str | None, typer.Option(metavar="URL", help="Join this registry (http://HOST:7171), start none")
        ] = None,
        config: Annotated[
            Path | None, typer.Option(metavar="FILE", help="imctl.toml, or one of goim's *.toml; options win")
        ] = None,
        port_base: Annotated[
            int | None, typer.Option(metavar="P", help="TCP on P+1, WebSocket on P+2, HTTP on P+11, ...")
        ] = None,
        any_port: Annotated[bool, typer.Option("--any-port", help="Any free ports")] = False,
        compat: Annotated[Compat | None, typer.Option(help="goim: its own timing and answers")] = None,
        tls: Annotated[
            bool, typer.Option("--tls", help="WSS and TLS over TCP too, with a certificate made now")
        ] = False,
        detach: Annotated[bool, typer.Option("--detach", help="Return once it is ready; it goes on")] = False,
    ) -> None:
        """Start a whole goim cluster on this machine

        Registry, logic and job in one process, each comet in its own. Ctrl-C drains, a second one ends at once.
        """
        began_ns = time.monotonic_ns()
        imctl = Context.of(ctx)
        given = {
            "comets": comet,
            "logics": logic,
            "jobs": job,
            "split": split or None,
            "bus": bus,
            "store": store,
            "messages": messages,
            "registry": registry,
            "hooks": tuple(hooks) if hooks else None,
            "port_base": port_base,
            "any_port": any_port or None,
            "compat_goim": True if compat is Compat.GOIM else None,
        }
        from imctl.cluster.spec import plan

        spec = plan(_options(imctl.cluster, given, config, tls=tls, warn=imctl.printer.warn))
        if detach:
            from imctl.cluster.daemon import start_detached

            try:
                summary = start_detached(spec, began_ns)
            except KeyboardInterrupt:
                imctl.printer.note(_ENDED_EARLY)
                raise
            imctl.printer.result(Banner(summary, detached=True))
            return
        code = run(_foreground(spec, imctl.printer, began_ns))
        if code is not Exit.OK:
            raise typer.Exit(code)


def _options(
    cluster: str, given: Mapping[str, Any], config: Path | None, *, tls: bool, warn: Callable[[str], None]
) -> ClusterOptions:
    """Return the options: the command line's first, then the file's, then the defaults."""
    from imctl.cluster.spec import ClusterOptions
    from imctl.cluster.state import ClusterFolder

    fields: dict[str, Any] = {}
    if config is not None:
        from imctl.cluster.settings import load_settings

        found = load_settings(config, is_bound=given.get("host") is not None)
        if found.warning:
            warn(found.warning)
        fields = {**found.cluster, "settings": found.nodes}
    fields |= {name: value for name, value in given.items() if value is not None}
    if given["any_port"] and given["port_base"] is None:
        fields.pop("port_base", None)
    if tls:
        from imctl.cluster.tls import self_signed

        comet = fields.get("settings", {}).get("comet", {})
        cert, key = comet.get("tls_cert"), comet.get("tls_key")
        if not cert:
            folder = ClusterFolder(cluster)
            folder.make()
            cert, key = map(str, self_signed(folder.path / "tls", fields.get("host", "127.0.0.1")))
        fields |= {"tls_cert": cert, "tls_key": key}
    return ClusterOptions(cluster=cluster, **fields)


async def _foreground(spec: ClusterSpec, printer: Printer, began_ns: int) -> Exit:
    """Supervise in this process until Ctrl-C, SIGTERM or `imctl down`."""
    import asyncio
    import signal

    from imctl.cluster.supervisor import Event, Supervisor

    def show(event: Event) -> None:
        text = f"{event.node}: {event.text}" if event.node else event.text
        if ready and (event.warning or event.node):
            clock = time.strftime("%H:%M:%S")
            (printer.warn if event.warning else printer.note)(f"{clock} {text}")

    ready = aborted = False
    supervisor = Supervisor(spec, on_event=show)
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None

    def interrupt(name: str) -> None:
        nonlocal aborted
        if not ready:
            if not this.cancelling():  # what comes while it ends what it has started changes nothing
                printer.note(f"{name}: ending what has started")
                this.cancel()
        elif supervisor.stopping:
            aborted = True
            supervisor.abort()
        else:
            supervisor.stop()
            printer.note(f"{name}: asking clients to leave; once more ends it at once")

    for number, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "terminal closed")):
        loop.add_signal_handler(number, interrupt, name)
    try:
        await supervisor.start(began_ns)
    except asyncio.CancelledError:
        printer.note(_ENDED_EARLY)
        return Exit.INTERRUPTED
    try:
        ready = True
        printer.result(Banner(supervisor.summary(), detached=False))
        if printer.json:
            printer.note(f"cluster {spec.cluster} is up, supervisor pid {os.getpid()}; Ctrl-C ends it")
        await supervisor.stopped.wait()
    finally:  # also when stdout is gone
        await supervisor.stop()
    printer.note("stopped; nothing is left running")
    return Exit.INTERRUPTED if aborted else Exit.OK
