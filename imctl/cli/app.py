"""The `imctl` command: global options, the list of commands, and how errors end.

Global options may stand before and after the command's name: they are moved
to the front before anything is parsed, up to a `--`. A command is a module in
`imctl.cli.commands` with `register(app)`; it imports only what `--help` needs
at its top, and the rest inside the command.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from imctl import __version__
from imctl.cli.context import DEFAULT_CLUSTER, Context, examples
from imctl.cli.exits import Exit, exit_code
from imctl.cli.output import output_stream
from imctl.cli.printer import Printer

__all__ = ["COMMANDS", "build_app", "hoist_globals", "main"]

COMMANDS = (
    "up",
    "down",
    "ps",
    "logs",
    "stats",
    "env",
    "wait",
    "kill",
    "pause",
    "resume",
    "restart",
    "node",
    "push",
    "listen",
    "connect",
    "trace",
    "online",
    "history",
    "offline",
    "hooks",
    "decode",
    "encode",
    "tap",
    "sim",
    "report",
    "conform",
    "doctor",
    "check",
    "schema",
    "scenarios",
    "completion",
)
"""In the order that help shows; each is a module of `imctl.cli.commands`."""

_TOGETHER = dict.fromkeys(("kill", "pause", "resume", "restart"), "control")
"""Commands that share a module."""

_FLAGS = ("--json", "--quiet", "--no-color")
_VALUED = ("--cluster",)
_ANY_LENGTH = 1000


def hoist_globals(args: Sequence[str]) -> list[str]:
    """Return the arguments with the global options, wherever they stood, in front; what follows `--` stays.

    One that lacks its value is all that is returned: the next option, or the command, is not to be taken for it.
    """
    front: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            rest += ["--", *words]
        elif word in _FLAGS or word.startswith(tuple(f"{name}=" for name in _VALUED)):
            front.append(word)
        elif word in _VALUED:
            value = next(words, "-")
            if value.startswith("-"):
                return [word]
            front += [word, value]
        else:
            rest.append(word)
    return front + rest


class _Group(TyperGroup):
    """Moves the global options, and turns every ending into an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoist_globals(args) or ["--help"])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Show the first line of each command whole: the parser's own list cuts what is longer than the terminal."""
        rows = [(name, command.get_short_help_str(_ANY_LENGTH)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, **{**extra, "prog_name": "imctl", "standalone_mode": False})
        except (Exception, KeyboardInterrupt) as exc:
            code = _report(exc, words)
        sys.exit(int(code) if isinstance(code, int) else 0)


def _report(exc: BaseException, words: Sequence[str]) -> int:
    """Show an error and return its exit code."""
    options = words[: words.index("--")] if "--" in words else words
    printer = Printer(json="--json" in options, color="--no-color" not in options)
    if isinstance(exc, typer.TyperException):  # the parser's own errors
        context = getattr(exc, "ctx", None)
        path = context.command_path if context is not None else "imctl"
        message = exc.format_message().replace(": Value error, ", ": ")  # the words of a validator behind the parser
        printer.error(message, kind="UsageError", hint=f"{path} --help", code=exc.exit_code)
        return exc.exit_code
    if isinstance(exc, typer.Abort):
        return Exit.INTERRUPTED
    code = exit_code(exc)
    if code is Exit.OUTPUT_CLOSED or isinstance(exc, KeyboardInterrupt):
        return code
    if code is Exit.INTERNAL:
        _report_fault(printer, exc)
    else:
        printer.error(exc, code=code)
        if os.environ.get("IMCTL_DEBUG"):
            sys.excepthook(type(exc), exc, exc.__traceback__)
    return code


def _report_fault(printer: Printer, exc: BaseException) -> None:
    """Show a fault of our own in one line, and say where its traceback is."""
    import traceback

    text = "".join(traceback.format_exception(exc))
    where = "IMCTL_DEBUG=1 shows the traceback"
    if os.environ.get("IMCTL_DEBUG"):
        printer.stderr.write(text)
        where = "the traceback is above"
    else:
        from imctl.cluster.state import state_root

        path = Path(state_root()) / "fault.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(text, encoding="utf-8")
        except OSError:
            pass
        else:
            where = f"the traceback is in {path}; IMCTL_DEBUG=1 shows it here"
    printer.error(f"{type(exc).__name__}: {exc}", kind=type(exc).__name__, hint=where, code=Exit.INTERNAL)


def _show_version(wanted: bool) -> None:
    if wanted:
        Printer().write(f"imctl {__version__}\n")
        raise typer.Exit


def _globals(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Results as JSON on stdout")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No notes, only results, warnings and errors")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour (also: NO_COLOR)")] = False,
    cluster: Annotated[
        str, typer.Option("--cluster", envvar="IMCTL_CLUSTER", metavar="NAME", help="Which cluster")
    ] = DEFAULT_CLUSTER,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and end")
    ] = False,
) -> None:
    """A goim cluster on your machine, and the tools to push, watch and load it

    The global options below may also stand after the command's name.
    """
    printer = Printer(json=json, quiet=quiet, color=not no_color)
    ctx.obj = Context(cluster=cluster, json=json, quiet=quiet, color=not no_color, printer=printer)


def build_app() -> typer.Typer:
    """Return the application with all its commands."""
    app = typer.Typer(
        name="imctl",
        cls=_Group,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,  # typer's rich help costs 180 ms of imports; plain help is read just as well
    )
    app.callback(
        epilog=examples("imctl up", "imctl listen --mid 1", 'imctl push --mid 1 "hi"', "imctl sim scenarios/room.yaml")
    )(_globals)
    for name in dict.fromkeys(_TOGETHER.get(command, command) for command in COMMANDS):
        importlib.import_module(f"imctl.cli.commands.{name}").register(app)
    return app


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    sys.stdout = output_stream(sys.stdout)
    if sys.stderr is None:  # it was closed before the start: nobody wants to be told
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  open until the end of the process
    build_app()(args=argv)
    raise SystemExit(0)  # not reached: the group exits
