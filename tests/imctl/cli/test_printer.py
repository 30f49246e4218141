from __future__ import annotations

import enum
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from imctl.cli.output import OutputError
from imctl.cli.printer import Printer, to_jsonable
from imctl.errors import ClusterError


class Color(enum.Enum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    color: Color
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    name: str

    def render(self, console: Console) -> None:
        console.print(f"[bold]hello {self.name}[/]")


def printer(*, json: bool = False, quiet: bool = False) -> Printer:
    return Printer(json=json, quiet=quiet, stdout=io.StringIO(), stderr=io.StringIO())


def texts(out: Printer) -> tuple[str, str]:
    assert isinstance(out.stdout, io.StringIO)
    assert isinstance(out.stderr, io.StringIO)
    return out.stdout.getvalue(), out.stderr.getvalue()


def test_values_become_json() -> None:
    value = {1: Plain("a", Color.RED, ("x", "y")), "path": Path("/tmp"), "raw": b"h\xff"}

    assert to_jsonable(value) == {
        "1": {"name": "a", "color": "red", "keys": ["x", "y"]},
        "path": "/tmp",
        "raw": "h\\xff",
    }


def test_result_is_one_json_document() -> None:
    out = printer(json=True)

    out.result(Plain("é", Color.RED, ()))

    assert texts(out) == ('{"name": "é", "color": "red", "keys": []}\n', "")


def test_result_renders_itself_for_people() -> None:
    out = printer()

    out.result(Shown("you"))

    assert texts(out) == ("hello you\n", "")


def test_result_without_a_rendering_is_name_and_value() -> None:
    out = printer()

    out.result({"node": "comet-1", "pid": 3})

    assert texts(out)[0] == "node: comet-1\npid: 3\n"


def test_lines_are_json_lines() -> None:
    out = printer(json=True)

    out.line({"a": 1})
    out.line("text")

    assert [json.loads(line) for line in texts(out)[0].splitlines()] == [{"a": 1}, "text"]


def test_quiet_hides_notes_only() -> None:
    out = printer(quiet=True)

    out.note("a note")
    out.warn("careful")
    out.error("broken")
    out.result({"a": 1})

    assert texts(out) == ("a: 1\n", "warning: careful\nerror: broken\n")


def test_error_after_the_document_leaves_stdout_one_document() -> None:
    out = printer(json=True)

    out.result({"a": 1})
    out.error(ClusterError("gone"), code=4)

    assert texts(out) == ('{"a": 1}\n', "error: gone\n")


def test_error_after_stream_lines_is_one_more_line() -> None:
    out = printer(json=True)

    out.line({"a": 1})
    out.error(ClusterError("gone"), code=4)

    assert json.loads(texts(out)[0].splitlines()[-1])["error"]["exit"] == 4


def test_no_color_codes_without_a_terminal() -> None:
    out = printer()

    out.warn("x")
    out.console().print("[red]y[/]")

    assert "\x1b" not in "".join(texts(out))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("color", "no_color", "painted"), [(True, "", True), (False, "", False), (True, "1", False)])
def test_color_on_a_terminal_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, color: bool, no_color: str, painted: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()

    Printer(color=color, stdout=stream, stderr=stream).warn("x")

    assert ("\x1b[33m" in stream.getvalue()) is painted


def test_an_error_is_told_also_where_stdout_cannot_be_written() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OutputError("stdout cannot be written: no space")

    stderr = io.StringIO()

    Printer(json=True, stdout=Full(), stderr=stderr).error(ClusterError("gone"), code=4)

    assert stderr.getvalue() == "error: gone\n"
