from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
import signal
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TextIO

import pytest

from imctl.cli.command_lines import Prompt, Script, open_lines
from imctl.cli.line_editor import ERASE
from imctl.errors import ImctlError


@dataclass
class Terminal:
    """A terminal, its user at one end and a program at the other."""

    user: int
    program: TextIO

    def type(self, text: str) -> None:
        os.write(self.user, text.encode())

    def screen(self, until: str) -> str:
        """Return what was drawn, up to and with some text, which must come."""
        seen = ""
        while until not in seen:
            seen += os.read(self.user, 4096).decode()
        return seen

    def modes(self) -> list[object]:
        return termios.tcgetattr(self.program.fileno())


@pytest.fixture
def terminal(monkeypatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    user, program = pty.openpty()
    with open(program, "r+b", buffering=0) as raw, io.TextIOWrapper(raw, write_through=True) as stream:
        found = Terminal(user, stream)
        yield found
        os.close(found.user)


def prompt_on(terminal: Terminal) -> Prompt:
    found = open_lines(terminal.program, terminal.program, "> ", lambda _: ["room"])
    assert isinstance(found, Prompt)
    return found


async def test_typed_lines_are_given_until_control_d(terminal):
    before = terminal.modes()
    with prompt_on(terminal) as prompt:
        terminal.type("r\tlive://1\rquit\r\x04")

        async with asyncio.timeout(10):
            found = [line async for line in prompt.lines()]

    assert found == ["room live://1", "quit"]
    assert terminal.modes() == before
    assert terminal.screen("quit\r\n").startswith(f"{ERASE}> {ERASE}> room live://1\r\n")


async def test_what_is_printed_above_leaves_the_line_being_typed(terminal):
    with prompt_on(terminal) as prompt:
        terminal.type("half \r again")
        async with asyncio.timeout(10), contextlib.aclosing(prompt.lines()) as lines:
            await anext(lines)
        terminal.screen(f"{ERASE}>  again")

        with prompt.above():
            terminal.program.write("a frame\n")

        assert terminal.screen("again") == f"{ERASE}a frame\r\n{ERASE}>  again"


async def test_a_terminal_that_goes_away_ends_the_lines(terminal):
    with prompt_on(terminal) as prompt:
        gone, terminal.user = terminal.user, os.open(os.devnull, os.O_RDONLY)
        os.close(gone)

        async with asyncio.timeout(10):
            assert [line async for line in prompt.lines()] == []


async def test_after_a_stop_the_terminal_is_taken_again(terminal):
    shells = terminal.modes()
    with prompt_on(terminal) as prompt:
        taken = terminal.modes()
        termios.tcsetattr(terminal.program.fileno(), termios.TCSANOW, shells)

        os.kill(os.getpid(), signal.SIGCONT)
        await asyncio.to_thread(terminal.screen, f"{ERASE}> {ERASE}> ")

        assert terminal.modes() == taken
        terminal.type("x\r")
        async with asyncio.timeout(10), contextlib.aclosing(prompt.lines()) as lines:
            assert await anext(lines) == "x"


async def test_a_flood_of_lines_waits_in_the_terminal(terminal, monkeypatch):
    monkeypatch.setattr("imctl.cli.command_lines._WAITING_LINES", 3)
    with prompt_on(terminal) as prompt:
        terminal.type("".join(f"{n}\r" for n in range(50)) + "\x04")

        async with asyncio.timeout(10):
            assert [line async for line in prompt.lines()] == [str(n) for n in range(50)]


async def test_lines_of_a_terminal_that_cannot_draw_are_a_script(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    lines = open_lines(terminal.program, terminal.program, "> ", lambda _: [])

    terminal.type("help\nquit\n\x04")
    async with asyncio.timeout(10):
        found = [line async for line in lines.lines()]

    assert (found, lines.interactive) == (["help", "quit"], False)


def from_pipe(data: bytes) -> Iterator[TextIO]:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with open(reading, encoding="utf-8") as stream:
        yield stream


def from_file(data: bytes, path: str) -> Iterator[TextIO]:
    with open(path, "wb") as file:
        file.write(data)
    with open(path, encoding="utf-8") as stream:
        yield stream


@pytest.fixture(params=["pipe", "file", "no descriptor"])
def stdin_of(request, tmp_path) -> Iterator[Callable[[bytes], TextIO]]:
    with contextlib.ExitStack() as stack:

        def opened(data: bytes) -> TextIO:
            if request.param == "pipe":
                return stack.enter_context(contextlib.contextmanager(from_pipe)(data))
            if request.param == "file":
                return stack.enter_context(contextlib.contextmanager(from_file)(data, str(tmp_path / "script")))
            return io.StringIO(data.decode())

        yield opened


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\n\nb\r\n", ["a", "", "b"]),
        ("room 世界\nquit".encode(), ["room 世界", "quit"]),
        (b"x" * 60_000 + b"\ny\n", ["x" * 60_000, "y"]),
    ],
    ids=["nothing", "lines", "no end", "long"],
)
async def test_a_script_is_read_line_by_line(stdin_of, data, lines):
    script = open_lines(stdin_of(data), io.StringIO(), "", list)
    assert isinstance(script, Script)

    with script:
        found = [line async for line in script.lines()]

    assert found == lines


async def test_a_line_without_an_end_is_refused(stdin_of, monkeypatch):
    monkeypatch.setattr("imctl.cli.command_lines._MAX_LINE_BYTES", 100)
    with Script(stdin_of(b"x" * 101)) as script:
        with pytest.raises(ImctlError, match="a line on stdin has over 100 bytes"):
            [line async for line in script.lines()]
