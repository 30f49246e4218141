"""docs/commands.md from the commands themselves: `python -m imctl.cli.reference > docs/commands.md`.

A test fails when the page is not what this module makes of the commands.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise

import typer
import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from imctl.cli import exits
from imctl.cli.app import COMMANDS, build_app
from imctl.cli.exits import Exit

__all__ = ["commands_page", "exit_meanings"]

_INTRO = """\
# Commands

This page is made from the commands, by `python -m imctl.cli.reference > docs/commands.md`. On a terminal
`imctl COMMAND --help` shows the same.

Results go to stdout, everything said to people (notes, warnings, errors, hints, progress) to stderr. With `--json`
stdout carries JSON and nothing else: one document for a command that ends, JSON lines for one that streams (`listen`,
`connect`, `tap`, `decode --pcap`, `logs`, `stats -f`). A command that fails says why on stderr, and with `--json` also
as `{"error": {"kind", "message", "hint", "exit"}}` on stdout, unless its own document is out already.

Durations are `500ms`, `10s`, `4m`, `1m30s`: always with a unit. A room is `TYPE://ID`. A target is `HOST:PORT`; without
one a command takes a node of the running cluster.
"""

_NOTES = """\
| variable | does |
|---|---|
| `IMCTL_CLUSTER` | the cluster meant where `--cluster` is left out |
| `IMCTL_STATE_DIR` | where clusters keep their state, see [Configuration](configuration.md#environment) |
| `IMCTL_DEBUG` | any value: show the traceback with an error |
| `NO_COLOR` | any value: no colour |
"""

_EXITS_OF_ALL = """\
Below, each command names those beside 0, 2, 8, 130 and 141. Whatever the command, it is 1 when its result cannot be
written (a full disk), and 3 when a cluster cannot have the name given, or the state folder is of no use.
"""

# Beside 0, 2 (usage), 8 (a fault of ours), 130 (Ctrl-C) and 141 (`| head`), which any command can end with.
_EXITS: dict[str, tuple[Exit, ...]] = {
    "up": (Exit.FAILED, Exit.INVALID, Exit.UNREACHABLE),
    "down": (Exit.UNREACHABLE,),
    "ps": (Exit.UNREACHABLE,),
    "logs": (Exit.UNREACHABLE,),
    "stats": (Exit.UNREACHABLE,),
    "env": (Exit.UNREACHABLE,),
    "wait": (Exit.TIMED_OUT,),
    "kill": (Exit.UNREACHABLE,),
    "pause": (Exit.UNREACHABLE,),
    "resume": (Exit.UNREACHABLE,),
    "restart": (Exit.UNREACHABLE,),
    "node": (Exit.FAILED, Exit.INVALID, Exit.UNREACHABLE),
    "push": (Exit.FAILED, Exit.UNREACHABLE),
    "listen": (Exit.UNREACHABLE, Exit.TIMED_OUT),
    "connect": (Exit.FAILED, Exit.UNREACHABLE, Exit.TIMED_OUT),
    "trace": (Exit.FAILED, Exit.UNREACHABLE, Exit.TIMED_OUT),
    "online": (Exit.FAILED, Exit.UNREACHABLE),
    "history": (Exit.FAILED, Exit.UNREACHABLE),
    "offline": (Exit.FAILED, Exit.UNREACHABLE),
    "hooks": (Exit.FAILED, Exit.UNREACHABLE),
    "decode": (Exit.FAILED,),
    "tap": (Exit.FAILED, Exit.UNREACHABLE, Exit.TIMED_OUT),
    "encode": (),
    "sim": (Exit.FAILED, Exit.INVALID, Exit.UNREACHABLE, Exit.RUN_INVALID, Exit.SLOWER, Exit.NOT_JUDGED),
    "report": (Exit.FAILED, Exit.SLOWER, Exit.NOT_JUDGED),
    "conform": (Exit.FAILED, Exit.UNREACHABLE),
    "doctor": (Exit.FAILED,),
    "check": (Exit.INVALID,),
    "schema": (),
    "scenarios": (),
    "completion": (),
}


def exit_meanings() -> dict[Exit, str]:
    """Return what each exit code means: the text that stands under it in the enum."""
    tree = ast.parse(inspect.getsource(exits))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Exit")
    found: dict[Exit, str] = {}
    for node, after in pairwise(body):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[Exit[node.targets[0].id]] = str(after.value.value)
    return found


def commands_page() -> str:
    """Return docs/commands.md."""
    group = typer.main.get_command(build_app())
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name="imctl")
    lines = [_INTRO, "## Global options", "", "They may stand before or after the command's name.", ""]
    lines += [*_table(group, context), "", *_NOTES.splitlines(), ""]
    lines += ["## Exit codes", "", "| code | means |", "|---|---|"]
    lines += [f"| {code.value} | {_cell(text)} |" for code, text in exit_meanings().items()]
    lines += ["", *_EXITS_OF_ALL.splitlines(), ""]
    for name in COMMANDS:
        command = group.commands[name]
        assert isinstance(command, TyperCommand)
        lines += [*_command(command, typer.Context(command, info_name=name, parent=context)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _command(command: TyperCommand, context: typer.Context) -> Iterator[str]:
    name = str(command.name)
    yield from (f"## {name}", "")
    first, *more = (" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    yield from (f"{_sentence(first)}", "")
    for paragraph in more:
        yield from (textwrap.fill(paragraph, 120, break_on_hyphens=False), "")
    yield from ("```text", command.get_usage(context).removeprefix("Usage: "), "```", "")
    rows = _table(command, context)
    if rows:
        yield from (*rows, "")
    yield from ("```sh", *_examples(command), "```", "")
    codes = ", ".join(f"{code.value} ({code.name.lower().replace('_', ' ')})" for code in _EXITS[name])
    yield f"Exit codes: {codes or 'none of its own'}."


def _table(command: TyperCommand | TyperGroup, context: typer.Context) -> list[str]:
    """Return the arguments and options of a command, each with all that its help says."""
    rows = []
    for param in command.params:
        record = param.get_help_record(context)
        if record is None:
            continue
        word, text = record
        if isinstance(param, TyperArgument):
            word = word.partition(" <")[0] if param.metavar else word  # its type says nothing to a reader
        also = f" ({', '.join(_codes(param.secondary_opts))})" if _is_hidden_pair(param, word) else ""
        rows.append(f"| `{_cell(word)}`{also} | {_cell(text)} |")
    return ["| | |", "|---|---|", *rows] if rows else []


def _is_hidden_pair(param: object, word: str) -> bool:
    """Whether an option has a second name that its help does not show."""
    return isinstance(param, TyperOption) and any(name not in word for name in param.secondary_opts)


def _codes(names: list[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _examples(command: TyperCommand) -> list[str]:
    lines = (command.epilog or "").splitlines()
    return [line.strip() for line in lines if line.startswith("  ")]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(commands_page())
