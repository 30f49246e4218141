"""`imctl node`: one node in this process, with the flags of the Go binary, for any machine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.goim_flags import GoimFlagsCommand, ignored_flags

if TYPE_CHECKING:
    from rich.console import Console

    from imctl.cli.printer import Printer
    from imctl.cluster.spec import ProcessSpec

__all__ = ["register"]


class Kind(StrEnum):
    """What to run; core is registry, logic and job over a bus in memory."""

    COMET = "comet"
    LOGIC = "logic"
    JOB = "job"
    REGISTRY = "registry"
    CORE = "core"


_PARTS = {Kind.CORE: ("registry", "logic", "job")}


@dataclass(frozen=True, slots=True)
class Started:
    """A node that is ready."""

    name: str
    kind: str
    pid: int
    ready_ms: int
    addresses: Mapping[str, str | None]

    def render(self, console: Console) -> None:
        """Show its addresses."""
        console.print(f"[bold green]{self.kind} {self.name} is ready[/] in {self.ready_ms} ms, pid {self.pid}")
        for name, address in self.addresses.items():
            if address:
                console.print(f"  {name:<14} {address}")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "node",
        cls=GoimFlagsCommand,
        epilog=examples(
            "imctl node core --bind 10.0.0.1",
            "imctl node comet --bind 10.0.0.2 --registry http://10.0.0.1:7171 --addrs 203.0.113.7",
            "imctl node registry --set port=7172",
            "imctl node logic -conf=logic.toml -region=sh -zone=sh001 -deploy.env=dev -weight=10",
        ),
    )
    def node(
        ctx: typer.Context,
        kind: Annotated[Kind, typer.Argument(help="What to run; core is registry, logic and job in one")],
        conf: Annotated[Path | None, typer.Option(metavar="FILE", help="imctl.toml, or goim's *.toml")] = None,
        region: Annotated[str | None, typer.Option(envvar="REGION", help="Region in the registry")] = None,
        zone: Annotated[str | None, typer.Option(envvar="ZONE", help="Zone in the registry")] = None,
        deploy_env: Annotated[
            str | None,
            typer.Option("--deploy-env", "--deploy.env", envvar="DEPLOY_ENV", help="Environment in the registry"),
        ] = None,
        host: Annotated[str | None, typer.Option(help="Hostname in the registry, unique; the server id")] = None,
        addrs: Annotated[
            str | None, typer.Option(envvar="ADDRS", metavar="A,B", help="Addresses that clients dial (comet)")
        ] = None,
        weight: Annotated[int | None, typer.Option(envvar="WEIGHT", help="Share of the balancer")] = None,
        offline: Annotated[
            bool, typer.Option("--offline", envvar="OFFLINE", help="Not given to clients (comet)")
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", envvar="DEBUG", help="Log more")] = False,
        bind: Annotated[str | None, typer.Option(metavar="IP", help="Address to listen on (127.0.0.1)")] = None,
        registry: Annotated[str | None, typer.Option(metavar="URL", help="Registry to join")] = None,
        bus: Annotated[str | None, typer.Option(metavar="URL", help="Message bus (logic, job)")] = None,
        store: Annotated[str | None, typer.Option(metavar="URL", help="Sessions (logic)")] = None,
        messages: Annotated[
            str | None, typer.Option(metavar="URL", help="Keep messages for users who are away (logic)")
        ] = None,
        hooks: Annotated[
            list[str] | None, typer.Option("--hooks", metavar="HOOK", help="A hook (logic), see `imctl up`; repeatable")
        ] = None,
        settings: Annotated[
            list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, such as tcp_port=0")
        ] = None,
    ) -> None:
        """Run one node here, with the flags of goim's binary

        Until Ctrl-C or SIGTERM. Logs what it drops, and on SIGUSR1 all that it has counted. Flags may have Go's form,
        -zone=sh001. As in goim, a file's values win over flags, and flags over the environment; --bind, --registry,
        --bus, --store and --set, which goim does not have, win over the file, and --hooks come after its hooks.
        """
        imctl = Context.of(ctx)
        flags: dict[str, Any] = {
            "region": region,
            "zone": zone,
            "env": deploy_env,
            "hostname": host,
            "weight": weight,
            "offline": offline or None,
            "public_addrs": addrs.split(",") if addrs else None,
            "host": bind,
        }
        outside = {"registry": registry, "bus": bus, "store": store, "messages": messages}
        given = {name: value for name, value in flags.items() if value is not None}
        spec, warning = _spec(kind, given, outside, conf, settings or (), hooks or ())
        for text in (warning, _about_flags(ignored_flags(ctx))):
            if text:
                imctl.printer.warn(text)
        _log_to_stderr(debug=debug)
        from protocol.aio.open_files import raise_open_files

        raise_open_files()
        run(_run(spec, imctl.printer))


def _spec(
    kind: Kind,
    flags: Mapping[str, Any],
    outside: Mapping[str, str | None],
    conf: Path | None,
    extra: Sequence[str],
    hooks: Sequence[str] = (),
) -> tuple[ProcessSpec, str]:
    """Return the process, and what of the file is not done.

    As in goim a file's values win over flags, and flags over the environment. Our own
    --bind, --registry, --bus, --store and --set win over the file: goim has no such flags.
    """
    import dataclasses

    from imctl.cluster.node_config import config_class
    from imctl.cluster.spec import OptionsError, ProcessSpec, shareable

    parts = _PARTS.get(kind, (kind.value,))
    file: Mapping[str, Mapping[str, Any]] = {}
    urls: dict[str, Any] = {}
    warning = ""
    if conf is not None:
        from imctl.cluster.settings import load_settings

        found = load_settings(conf, kind.value, is_bound="host" in flags)
        warning = found.warning
        if found.goim and found.goim not in parts:
            raise OptionsError(f"{conf} is goim's file for {found.goim}; {kind} takes none of its settings")
        if "host" in found.cluster:
            flags = {"host": found.cluster["host"], **flags}
        file, urls = found.nodes, {name: found.cluster[name] for name in outside if name in found.cluster}
    urls |= {name: url for name, url in outside.items() if url is not None}
    messages = urls.pop("messages", None)
    chosen = dict(_assignment(word) for word in extra)
    everything = {field.name for part in parts for field in dataclasses.fields(config_class(part))}
    if unknown := sorted(set(chosen) - everything):
        raise OptionsError(f"--set {unknown[0]}: {kind} has no such setting", hint="docs/configuration.md has them all")
    settings = {}
    for part in parts:
        known = {field.name for field in dataclasses.fields(config_class(part))}
        # A flag that a kind of node has no use for is accepted, as by goim's binaries.
        settings[part] = {name: value for name, value in flags.items() if name in known} | dict(file.get(part, {}))
        settings[part] |= {name: value for name, value in chosen.items() if name in known}
        if kind is Kind.CORE and part == "job":
            # Its own registry knows no comet yet: nothing to wait for.
            settings[part].setdefault("discover_timeout_s", 0.0)
    if messages is not None:
        from imctl.messages.factory import messages_hook

        hooks = [*hooks, messages_hook(messages)]
    if hooks and "logic" in settings:
        settings["logic"]["hooks"] = (*settings["logic"].get("hooks", ()), *hooks)
    if kind in (Kind.LOGIC, Kind.JOB) and not shareable(urls.get("bus", "memory://")):
        raise OptionsError(
            f"{kind} alone: its bus must be one that logic and job share, and memory:// lives in one process",
            hint="use a broker: --bus redis://127.0.0.1:6379; or `imctl node core`, which runs logic and job together",
        )
    name = settings[parts[-1]].get("hostname") or config_class(parts[-1])().hostname
    spec = ProcessSpec(name=name if kind is not Kind.CORE else "core", kind=kind.value, parts=settings, **urls)
    return spec, warning


def _about_flags(ignored: list[str]) -> str:
    return f"without an effect here: {', '.join(ignored)}; the log goes to stderr, --debug logs more" if ignored else ""


def _assignment(word: str) -> tuple[str, Any]:
    """Return name and value of `name=value`; the value is JSON where it can be, else text."""
    import json

    name, equals, value = word.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{word!r}; expected NAME=VALUE", param_hint="--set")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _log_to_stderr(*, debug: bool) -> None:
    import logging

    from imctl.cluster.logs import LOG_FORMAT, LOG_TIME

    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format=LOG_FORMAT, datefmt=LOG_TIME)


def _port_setting(what: str) -> str:
    """Return the setting of a listening address, such as tcp_port for `comet tcp`."""
    part, _, name = what.partition(" ")
    return "port" if part == "registry" else f"{name}_port"


async def _run(spec: ProcessSpec, printer: Printer) -> None:
    import asyncio
    import signal

    from imctl.cluster.assemble import Assembly
    from imctl.cluster.drop_log import log_drops, log_stats
    from imctl.cluster.ports import with_holder
    from imctl.errors import PortInUseError

    began_ns = time.monotonic_ns()
    assembly = Assembly(spec)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        loop.add_signal_handler(number, this.cancel)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # as goim
    try:
        await assembly.start(None)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except PortInUseError as exc:
        raise with_holder(exc, instead=f"another port: --set {_port_setting(exc.what)}=PORT, 0 for any") from exc
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        loop.add_signal_handler(number, ended.set)
    ready_ms = (time.monotonic_ns() - began_ns) // 1_000_000
    printer.result(Started(spec.name, spec.kind, os.getpid(), ready_ms, assembly.addresses))
    # Nobody asks this process what it has counted: it says so itself.
    telling = asyncio.create_task(log_drops(assembly.stats), name="drop log")
    loop.add_signal_handler(signal.SIGUSR1, log_stats, assembly.stats)
    await ended.wait()
    telling.cancel()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        loop.add_signal_handler(number, this.cancel)  # the second one aborts
    try:
        await assembly.stop()
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
