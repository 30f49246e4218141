"""The errors of the simulator; a command line maps each branch to an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Problem", "RunInterruptedError", "ScenarioError", "SimError", "TargetError"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a scenario, and where; its text is safe to show on a terminal.

    Args:
        file: The scenario's path, or the option it came from (`--set phases.steady.duration=fast`).
        line: Counted from 1; 0 when the problem has no place in a file.
        column: Counted from 1; 0 as for `line`.
        path: Which value, such as `phases[2].duration`; empty for the whole file.
        message: What is wrong; what was expected. Names the value itself.
        hint: What to write instead, one line; empty when there is nothing to say.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __post_init__(self) -> None:
        for name in ("file", "path", "message", "hint"):
            object.__setattr__(self, name, _printable(getattr(self, name)))

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.message}"


class SimError(Exception):
    """Base of all errors of the simulator.

    Args:
        message: What is wrong: the thing, what came, what was expected.
        hint: What to do about it, one line; empty when there is nothing to say.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RunInterruptedError(SimError):
    """A run was ended by whoever started it, before anything was measured."""


class ScenarioError(SimError):
    """A scenario cannot be run as written; `problems` holds everything that is wrong, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = [f"{count} {'problem' if count == 1 else 'problems'} in the scenario"]
        for problem in self.problems:
            lines.append(str(problem))
            if problem.hint:
                lines.append(f"  hint: {problem.hint}")
        super().__init__("\n".join(lines))


class TargetError(SimError):
    """The cluster under test cannot be reached, or does not answer as goim does."""


def _printable(text: str) -> str:
    """Escape what a scenario can smuggle into a message to move a terminal's cursor, and line ends."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
