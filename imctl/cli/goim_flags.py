"""The flags of goim's binaries, in the form that Go's flag package takes them.

There `-region sh`, `-region=sh`, `--region sh` and `--region=sh` are one, and
a switch may have a value: `-debug=true`. Every binary also has glog's flags.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

__all__ = ["GoimFlagsCommand", "ignored_flags", "translate"]

_VALUED = frozenset(("conf", "region", "zone", "deploy.env", "host", "addrs", "weight"))
_SWITCHES = frozenset(("debug", "offline"))
_GLOG_VALUED = frozenset(("log_dir", "v", "stderrthreshold", "vmodule", "log_backtrace_at"))
_GLOG_SWITCHES = frozenset(("logtostderr", "alsologtostderr"))
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
"""As Go's strconv.ParseBool."""
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))

_META = "imctl.ignored_flags"


def translate(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments with goim's flags in our form, and the flags of glog that have no effect here.

    The log goes to stderr in any case, so `-logtostderr` is done and not among them.
    """
    words = iter(args)
    ignored: list[str] = []
    translated: list[str] = []
    for word in words:
        if word == "--":
            return [*translated, word, *words], ignored
        translated += _one(word, words, ignored)
    return translated, ignored


def _one(word: str, following: Iterator[str], ignored: list[str]) -> list[str]:
    name, equals, value = word.lstrip("-").partition("=")
    if not word.startswith("-"):
        return [word]
    if name in _VALUED:
        return [f"--{name}", value] if equals else [f"--{name}"]
    if name in _SWITCHES and (not equals or value in _TRUE | _FALSE):
        return [] if equals and value in _FALSE else [f"--{name}"]
    if name in _GLOG_SWITCHES:
        return []
    # Ours is --version, so -v can only be glog's.
    if name in _GLOG_VALUED and not (name == "v" and word.startswith("--")):
        ignored.append(f"-{name}")
        if not equals:
            next(following, None)
        return []
    return [word]


class GoimFlagsCommand(TyperCommand):
    """A command that takes goim's flags as Go's flag package does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, after goim's forms have become ours. Any: the context's class is one that typer keeps to itself."""
        translated, ctx.meta[_META] = translate(args)
        return super().parse_args(ctx, translated)


def ignored_flags(ctx: typer.Context) -> list[str]:
    """Return the flags that were given and have no effect."""
    found: list[str] = ctx.meta.get(_META, [])
    return found
