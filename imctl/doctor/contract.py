"""What a check is: a function that measures something and returns what it found as a Condition, or several.

A check takes what it judges by as arguments (a `/proc` folder, a number of
clients, an address), so that each can be tried without the machine it is
about. What cannot be measured here is UNKNOWN and never an error: macOS has
no `/proc`, a container may hide it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["Condition", "Found", "Section", "Status", "examine", "examine_async", "judged", "unknown"]


class Status(Enum):
    """How a condition is."""

    OK = "ok"
    INFO = "info"
    """Nothing to judge: something optional that is there or not."""

    UNKNOWN = "unknown"
    WARNING = "warning"
    """Works, and will be slow, lose something, or not do for some uses."""

    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Condition:
    """One row.

    Args:
        name: What was looked at.
        status: How it is.
        required: What is wanted of it; empty when nothing is.
        found: What is there.
        fix: What to do, a command where there is one; empty when there is nothing to do.
        facts: The same in numbers, for programs; units are in the names.
    """

    name: str
    status: Status
    required: str
    found: str
    fix: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON


@dataclass(frozen=True, slots=True)
class Section:
    """Conditions that belong together.

    Args:
        name: What programs call it, such as network.
        title: What people read.
        conditions: In the order in which they are shown.
    """

    name: str
    title: str
    conditions: tuple[Condition, ...]


Found = Condition | Sequence[Condition]


def judged(
    name: str,
    is_good: bool,
    required: str,
    found: str,
    fix: str = "",
    *,
    otherwise: Status = Status.FAILED,
    **facts: Any,
) -> Condition:
    """Return a condition that is OK, without a fix, or else what `otherwise` says. Any: JSON."""
    if is_good:
        return Condition(name, Status.OK, required, found, "", facts)
    return Condition(name, otherwise, required, found, fix, facts)


def unknown(name: str, required: str, why: str, fix: str = "") -> Condition:
    """Return a condition that could not be found out."""
    return Condition(name, Status.UNKNOWN, required, f"unknown: {why}", fix)


def examine(name: str, check: Callable[[], Found]) -> tuple[Condition, ...]:
    """Return what a check found; UNKNOWN under this name when it could not measure."""
    try:
        return _rows(check())
    except Exception as exc:  # whatever one check meets on a strange machine must not hide what the others found
        return (_broken(name, exc),)


async def examine_async(name: str, check: Callable[[], Awaitable[Found]]) -> tuple[Condition, ...]:
    """Return what a check found, as examine()."""
    try:
        return _rows(await check())
    except Exception as exc:  # as above
        return (_broken(name, exc),)


def _rows(found: Found) -> tuple[Condition, ...]:
    return (found,) if isinstance(found, Condition) else tuple(found)


def _broken(name: str, exc: Exception) -> Condition:
    text = str(exc).partition("\n")[0]
    return unknown(name, "", f"{type(exc).__name__}: {text}" if text else type(exc).__name__)
