"""What a case is, and what came of it.

A case compares two texts: what goim's source and recordings say a client sees,
and what it saw here. Texts because a person has to read them when they differ;
whatever changes from run to run (keys, rooms, times) is replaced in both.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imctl.conform.lab import Lab

__all__ = ["Case", "Result", "SilentError", "SkipCase", "UnexpectedError", "Verdict"]


class Verdict(enum.Enum):
    """How a case ended."""

    PASS = "pass"
    FAIL = "fail"
    KNOWN = "known"
    """Not what was expected, but one of the ways that are known and accepted, such as a defect of goim itself."""
    SKIPPED = "skipped"


class SkipCase(Exception):
    """Raised by a case that cannot be tried on this target; the text says why."""


class UnexpectedError(Exception):
    """What a case needs before it can look at anything went another way; the text says how."""


class SilentError(Exception):
    """A node gave no answer in time.

    Args:
        part: Which, a name of Target such as `tcp`.
        seen: What had been seen before.
        waited_s: How long was waited.
    """

    def __init__(self, part: str, seen: str, waited_s: float) -> None:
        super().__init__(part, seen, waited_s)
        self.part = part
        self.seen = seen
        self.waited_s = waited_s

    def __str__(self) -> str:
        before = f"{self.seen}; then " if self.seen else ""
        return f"{before}no answer within {self.waited_s:g} s"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing a node of goim does.

    Args:
        id: `area.name`, unique.
        area: Cases that belong together, such as `tcp-frames`.
        shows: What it is about, in a line.
        source: Where it comes from: goim's source file, or recording file and name.
        needs: Names of Target that it talks to; the first is the one it is about.
        expected: What is to be seen.
        run: Returns what was seen.
        accepted: Other texts that do not fail, and what each means.
        slow: Takes longer than a few seconds, by its nature.
        risky: Can harm a goim with the defect it looks for.
        limit_s: The case is given up after this time.
    """

    id: str
    area: str
    shows: str
    source: str
    needs: tuple[str, ...]
    expected: str
    run: Callable[[Lab], Awaitable[str]] = field(repr=False)
    accepted: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    risky: bool = False
    limit_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case.

    Args:
        got: What was seen; "" when it was skipped.
        note: Why it was skipped, or what the accepted difference means.
    """

    case: Case
    verdict: Verdict
    got: str = ""
    note: str = ""
    took_ms: float = 0.0
