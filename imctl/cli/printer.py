"""Everything a command shows: results on stdout, what is said to people on stderr.

With --json stdout carries JSON and nothing else: one document for a command
that ends, JSON lines for one that streams. An error is text on stderr always,
and with --json also the document {"error": {...}} on stdout (for a stream:
one more line), unless the command's own document is out already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, runtime_checkable

from imctl.cli.output import OutputError, write_bytes

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Printer", "Renderable", "to_jsonable", "wants_color"]


@runtime_checkable
class Renderable(Protocol):
    """A result that knows how people like to read it."""

    def render(self, console: Console) -> None:
        """Print it on a rich console, which is stdout."""


def to_jsonable(value: Any) -> Any:
    """Return what `json` can write: to_json() when there is one, else dataclasses as dicts.

    Any: this is the border to JSON, whose values have no one type.
    """
    own = getattr(value, "to_json", None)
    if callable(own):
        return to_jsonable(own())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    return value


def wants_color(stream: TextIO) -> bool:
    """Whether to use colour on a stream, by NO_COLOR (no-color.org), TERM and whether it is a terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


class Printer:
    """Prints for one run of one command.

    Args:
        json: Results as JSON.
        quiet: No notes; results, warnings and errors only.
        color: False takes colour away; True leaves it to each stream.
        stdout: Where results go, sys.stdout by default.
        stderr: Where people are talked to, sys.stderr by default.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        color: bool = True,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self.color = color
        self.stdout = stdout if stdout is not None else sys.stdout
        self.stderr = stderr if stderr is not None else sys.stderr
        self._document_out = False
        self._consoles: dict[bool, Console] = {}

    def result(self, value: Any) -> None:
        """Show the one result of a command: a dataclass or a dict.

        Any: results share nothing but that they can be JSON; one with
        render(console) is shown to people by it, others as `name: value`.
        """
        if self.json:
            self._document_out = True
            self._json(value)
        elif isinstance(value, Renderable):
            value.render(self.console())
        else:
            data = to_jsonable(value)
            rows = data.items() if isinstance(data, dict) else [("", data)]
            for name, item in rows:
                text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
                self.write(f"{name}: {text}\n" if name else f"{text}\n")

    def line(self, value: Any) -> None:
        """Show one item of a stream now: a JSON line, or render(console), or plain text."""
        if self.json:
            self._json(value)
        elif isinstance(value, Renderable):
            value.render(self.console())
        else:
            text = value if isinstance(value, str) else json.dumps(to_jsonable(value), ensure_ascii=False)
            self.write(f"{text}\n")

    def write(self, text: str) -> None:
        """Put text on stdout as it is, and send it on its way."""
        self.stdout.write(text)
        self.stdout.flush()

    def write_bytes(self, data: bytes) -> None:
        """Put bytes on stdout as they are, for a pipe."""
        write_bytes(self.stdout, data)

    def note(self, text: str) -> None:
        """Tell people something on stderr; --quiet hides it."""
        if not self.quiet:
            self._say(text)

    def answer(self, text: str) -> None:
        """Tell people something that they have asked for, on stderr, also with --quiet."""
        self._say(text)

    def warn(self, text: str, *, hint: str = "") -> None:
        """Warn people on stderr."""
        self._say(f"{self._paint('warning:', '33')} {text}")
        if hint:
            self._say(f"{self._paint('hint:', '36')} {hint}")

    def error(self, exc: BaseException | str, *, kind: str = "", hint: str = "", code: int = 1) -> None:
        """Show why the command fails.

        Args:
            exc: The error; its `hint` is shown, and every problem when it is a group of them.
            kind: Class name to give in JSON when exc is only text.
            hint: Used when exc carries none.
            code: The exit code that will follow, for the JSON document.
        """
        message = str(exc) or type(exc).__name__
        hint = getattr(exc, "hint", "") or hint
        for number, text in enumerate(message.splitlines() or [message]):
            self._say(f"{self._paint('error:', '31')} {text}" if number == 0 else text)
        if hint:
            self._say(f"{self._paint('hint:', '36')} {hint}")
        if self.json and not self._document_out:
            kind = kind or (type(exc).__name__ if isinstance(exc, BaseException) else "Error")
            # It was told on stderr: that stdout cannot be written too does not change what went wrong first.
            with contextlib.suppress(OutputError):
                self._json({"error": {"kind": kind, "message": message, "hint": hint, "exit": int(code)}})

    def console(self, *, stderr: bool = False) -> Console:
        """Return the rich console of stdout, or of stderr for progress; rich is imported here, not before."""
        console = self._consoles.get(stderr)
        if console is None:
            from rich.console import Console

            stream = self.stderr if stderr else self.stdout
            console = Console(
                file=stream,
                no_color=not self.color or not wants_color(stream),
                highlight=False,
                soft_wrap=not stream.isatty(),
            )
            self._consoles[stderr] = console
        return console

    def _json(self, value: Any) -> None:
        self.write(json.dumps(to_jsonable(value), ensure_ascii=False) + "\n")

    def _say(self, text: str) -> None:
        # Nobody to talk to (the terminal was closed) is no reason to fail: `up` has a cluster to end.
        with contextlib.suppress(OSError):
            self.stderr.write(f"{text}\n")
            self.stderr.flush()

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and wants_color(self.stderr) else text
