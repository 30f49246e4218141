"""A line of input that is being edited: keys in, lines and what to draw out. No terminal, no clock.

Keys are those of any shell in its emacs mode. The line is always one row: what
does not fit scrolls, so that a row can be taken off the screen and put back
below whatever is printed meanwhile.
"""

from __future__ import annotations

import codecs
import enum
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["ERASE", "Event", "EventKind", "LineEditor"]

ERASE = "\r\x1b[K"
"""Empties the row of the cursor."""

_MAX_CHARS = 65536
_HISTORY = 500
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])", re.DOTALL)
_WORD_LEFT = re.compile(r"\S*\s*$")
_WORD_RIGHT = re.compile(r"\s*\S*")


class EventKind(enum.Enum):
    """What came of some keys."""

    LINE = enum.auto()  # a line is complete
    SHOW = enum.auto()  # what TAB could mean
    CLEAR = enum.auto()  # the screen is to be emptied
    END = enum.auto()  # Ctrl-D on an empty line


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, with its text."""

    kind: EventKind
    text: str = ""


class LineEditor:
    """Edits one line after the other.

    Args:
        prompt: Stands before the line.
        complete: Gives the words that fit in place of the last one of a text, for TAB.
    """

    def __init__(self, prompt: str, complete: Callable[[str], Sequence[str]] = lambda _: ()) -> None:
        self.prompt = prompt
        self._complete = complete
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""  # the begin of an escape sequence
        self._text = ""
        self._cursor = 0
        self._history: deque[str] = deque(maxlen=_HISTORY)
        self._back = 0  # how far in the history; 0 is the line being written
        self._written = ""  # that line, while the history is looked at

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read from the terminal, cut anywhere."""
        found: list[Event] = []
        text = self._pending + self._decoder.decode(data)
        self._pending = ""
        position = 0
        while position < len(text):
            key = text[position]
            if key == "\x1b":
                match = _SEQUENCE.match(text, position)
                if match is None:
                    self._pending = text[position:][:16]  # longer ones are none
                    break
                key = match[0]
            position += len(key)
            event = self._press(key)
            if event is not None:
                found.append(event)
        return found

    def draw(self, columns: int) -> str:
        """Return what shows the line in an empty or a used row, with the cursor in its place."""
        from rich.cells import cell_len

        room = max(columns - cell_len(self.prompt) - 1, 1)
        start, cells = self._cursor, 0
        while start and cells + cell_len(self._text[start - 1]) <= room:
            start -= 1
            cells += cell_len(self._text[start])
        end = self._cursor
        shown = cells
        while end < len(self._text) and shown + cell_len(self._text[end]) <= room:
            shown += cell_len(self._text[end])
            end += 1
        back = f"\x1b[{shown - cells}D" if shown > cells else ""
        return f"{ERASE}{self.prompt}{self._text[start:end]}{back}"

    def _press(self, key: str) -> Event | None:
        if key in ("\r", "\n"):
            return self._submit()
        if key == "\x04" and not self._text:
            return Event(EventKind.END)
        if key == "\x0c":
            return Event(EventKind.CLEAR)
        if key == "\t":
            return self._tab()
        if key in _MOVES:
            self._cursor = _MOVES[key](self._text, self._cursor)
        elif key in _CUTS:
            other = _CUTS[key](self._text, self._cursor)
            first, last = min(self._cursor, other), max(self._cursor, other)
            self._text, self._cursor = self._text[:first] + self._text[last:], first
        elif key in _HISTORY_KEYS:
            self._look_back(self._back + _HISTORY_KEYS[key])
        elif len(key) == 1 and key.isprintable() and len(self._text) < _MAX_CHARS:
            self._text = self._text[: self._cursor] + key + self._text[self._cursor :]
            self._cursor += 1
        return None

    def _submit(self) -> Event:
        line = self._text
        if line.strip() and (not self._history or self._history[-1] != line):
            self._history.append(line)
        self._text, self._cursor, self._back, self._written = "", 0, 0, ""
        return Event(EventKind.LINE, line)

    def _look_back(self, back: int) -> None:
        if not 0 <= back <= len(self._history):
            return
        if not self._back:
            self._written = self._text
        self._back = back
        self._text = self._history[-back] if back else self._written
        self._cursor = len(self._text)

    def _tab(self) -> Event | None:
        before = self._text[: self._cursor]
        word = before.rpartition(" ")[2]
        words = [found for found in self._complete(before) if found.startswith(word)]
        if not words:
            return None
        common = words[0] + " " if len(words) == 1 else _common_start(words)
        added = common[len(word) :]
        self._text = before + added + self._text[self._cursor :]
        self._cursor += len(added)
        return None if added else Event(EventKind.SHOW, "  ".join(words))


def _common_start(words: Sequence[str]) -> str:
    """Return what all of the words begin with."""
    first, last = min(words), max(words)
    size = next((at for at, letter in enumerate(first) if letter != last[at]), len(first))
    return first[:size]


def _left(text: str, at: int) -> int:
    return max(at - 1, 0)


def _right(text: str, at: int) -> int:
    return min(at + 1, len(text))


def _start(text: str, at: int) -> int:
    return 0


def _end(text: str, at: int) -> int:
    return len(text)


def _word_left(text: str, at: int) -> int:
    found = _WORD_LEFT.search(text[:at])
    return found.start() if found else 0


def _word_right(text: str, at: int) -> int:
    found = _WORD_RIGHT.match(text, at)
    return found.end() if found else len(text)


_Where = Callable[[str, int], int]

_MOVES: dict[str, _Where] = {
    **dict.fromkeys(("\x02", "\x1b[D", "\x1bOD"), _left),
    **dict.fromkeys(("\x06", "\x1b[C", "\x1bOC"), _right),
    **dict.fromkeys(("\x01", "\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), _start),
    **dict.fromkeys(("\x05", "\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), _end),
    **dict.fromkeys(("\x1bb", "\x1b[1;5D", "\x1b[1;3D"), _word_left),
    **dict.fromkeys(("\x1bf", "\x1b[1;5C", "\x1b[1;3C"), _word_right),
}
"""Keys that move the cursor: Ctrl-B and left, Ctrl-F and right, and so on."""

_CUTS: dict[str, _Where] = {
    **dict.fromkeys(("\x7f", "\x08"), _left),
    **dict.fromkeys(("\x04", "\x1b[3~"), _right),
    "\x15": _start,
    "\x0b": _end,
    **dict.fromkeys(("\x17", "\x1b\x7f"), _word_left),
    "\x1bd": _word_right,
}
"""Keys that delete from the cursor to a place: backspace, delete, Ctrl-U, Ctrl-K, Ctrl-W, Alt-D."""

_HISTORY_KEYS = {"\x10": 1, "\x1b[A": 1, "\x1bOA": 1, "\x0e": -1, "\x1b[B": -1, "\x1bOB": -1}
"""Keys that go back in the history, and forth."""
