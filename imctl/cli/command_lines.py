"""Lines of commands for a program that goes on: typed at a prompt, or a script on stdin.

A prompt stays the last row of the terminal: what is printed `above()` it
scrolls past, and the line being typed is as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import tty
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TextIO

from imctl.cli.line_editor import ERASE, EventKind, LineEditor
from imctl.errors import ImctlError

__all__ = ["CommandLines", "Prompt", "Script", "open_lines"]

_CLEAR = "\x1b[H\x1b[2J"
_MAX_LINE_BYTES = 1024 * 1024
_READ_BYTES = 65536
_WAITING_LINES = 1000


class CommandLines(Protocol):
    """Where lines come from; entered and left as a context manager."""

    interactive: bool
    """Somebody types them, and can type another after a mistake."""

    def above(self) -> AbstractContextManager[None]:
        """Print during this block, and nowhere else while lines are taken."""

    def lines(self) -> AsyncGenerator[str, None]:
        """Give each line without its end; the last one is followed by the end of input, or Ctrl-D."""


class Prompt:
    """Lines typed at a terminal.

    Args:
        fd: The terminal to read from.
        screen: The terminal to draw on.
        prompt: Stands before the line.
        complete: As of LineEditor.
    """

    interactive = True

    def __init__(self, fd: int, screen: TextIO, prompt: str, complete: Callable[[str], Sequence[str]]) -> None:
        self._fd = fd
        self._screen = screen
        self._editor = LineEditor(prompt, complete)
        self._found: deque[str] = deque()
        self._ended = False
        self._news = asyncio.Event()
        self._reading = False
        self._drawn = False
        self._before: list[int | list[bytes | int]] = []

    def __enter__(self) -> Prompt:
        """Take the terminal; signals that concern it are taken too."""
        loop = asyncio.get_running_loop()
        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd, termios.TCSADRAIN)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        loop.add_signal_handler(signal.SIGCONT, self._back_in_front)
        self._read_more()
        self._draw()
        return self

    def __exit__(self, *exc: object) -> None:
        """Give the terminal back as it was, with the cursor at the start of an empty row."""
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGWINCH)
        loop.remove_signal_handler(signal.SIGCONT)
        self._read_no_more()
        self._erase()
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    @contextlib.contextmanager
    def above(self) -> Iterator[None]:
        """Take the line away while something is printed."""
        drawn = self._drawn
        self._erase()
        try:
            yield
        finally:
            if drawn:
                self._draw()

    async def lines(self) -> AsyncGenerator[str, None]:
        """Give the lines as they are typed."""
        while True:
            while self._found:
                yield self._found.popleft()
                self._read_more()
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    def _read_more(self) -> None:
        if not self._reading and not self._ended and len(self._found) < _WAITING_LINES:
            self._reading = True
            asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _read_no_more(self) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self._end()
            return
        for event in self._editor.feed(data):
            if event.kind is EventKind.LINE:
                self._found.append(event.text)
                self._write(f"{ERASE}{self._editor.prompt}{event.text}\n")
            elif event.kind is EventKind.SHOW:
                self._write(f"{ERASE}{event.text}\n")
            elif event.kind is EventKind.CLEAR:
                self._write(_CLEAR)
            else:
                self._end()
                return
        self._draw()
        self._news.set()
        if len(self._found) >= _WAITING_LINES:
            self._read_no_more()

    def _end(self) -> None:
        self._ended = True
        self._read_no_more()
        self._news.set()

    def _back_in_front(self) -> None:
        # After Ctrl-Z and `fg`: the shell has left the terminal as it likes it.
        with contextlib.suppress(termios.error):
            tty.setcbreak(self._fd, termios.TCSADRAIN)
        self._draw()

    def _draw(self) -> None:
        self._drawn = True
        try:
            columns = os.get_terminal_size(self._screen.fileno()).columns
        except (OSError, ValueError):
            columns = 80
        self._write(self._editor.draw(columns or 80))

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            self._write(ERASE)

    def _write(self, text: str) -> None:
        # As Printer.note(): a terminal that is gone is no reason to fail.
        with contextlib.suppress(OSError):
            self._screen.write(text)
            self._screen.flush()


class Script:
    """Lines of a file, a pipe, or a terminal where no prompt can be drawn.

    Args:
        stdin: Its descriptor is read where it has one, so that waiting for a pipe holds up nothing else.
    """

    interactive = False

    def __init__(self, stdin: TextIO) -> None:
        self._stdin = stdin

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held."""

    def above(self) -> AbstractContextManager[None]:
        """There is nothing below."""
        return contextlib.nullcontext()

    async def lines(self) -> AsyncGenerator[str, None]:
        """Give the lines, the last one also without its end.

        Raises:
            ImctlError: one is far too long.
        """
        rest = b""
        async for data in self._pieces():
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield _text(line)
            if len(rest) > _MAX_LINE_BYTES:
                raise ImctlError(f"a line on stdin has over {_MAX_LINE_BYTES} bytes")
        if rest:
            yield _text(rest)

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            fd = self._stdin.fileno()
        except (OSError, ValueError):  # of a test: no descriptor
            yield self._stdin.read().encode()
            return
        while True:
            await _readable(fd)
            data = os.read(fd, _READ_BYTES)
            if not data:
                return
            yield data


def open_lines(stdin: TextIO, screen: TextIO, prompt: str, complete: Callable[[str], Sequence[str]]) -> Prompt | Script:
    """Return a prompt where both streams are terminals that can draw one, else a script."""
    if stdin.isatty() and screen.isatty() and os.environ.get("TERM") != "dumb":
        return Prompt(stdin.fileno(), screen, prompt, complete)
    return Script(stdin)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")


async def _readable(fd: int) -> None:
    """Return once a descriptor can be read; files always can, and cannot be waited for."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
