"""Requirements as package metadata has them, `redis<9,>=7.1; extra == "x"`: as much of that as ours need."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

__all__ = ["Requirement", "parse_requirement", "parse_requirements", "satisfies"]

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_BOUND = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([0-9][0-9A-Za-z.+!-]*)\s*")
_RELEASE = re.compile(r"\d+(?:\.\d+)*")

_COMPARE: Mapping[str, Callable[[int], bool]] = {
    ">=": lambda order: order >= 0,
    "<=": lambda order: order <= 0,
    "==": lambda order: order == 0,
    "!=": lambda order: order != 0,
    ">": lambda order: order > 0,
    "<": lambda order: order < 0,
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that is needed.

    Args:
        name: As it is installed.
        bounds: Such as `>=7.1,<9`; empty when any version will do.
        extra: Of which extra it is; empty for one that everybody needs.
        is_conditional: Whether it is needed on some systems only.
    """

    name: str
    bounds: str
    extra: str = ""
    is_conditional: bool = False


def parse_requirement(text: str) -> Requirement:
    """Return the requirement of a line of metadata.

    Raises:
        ValueError: it is none.
    """
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no requirement")
    name, bounds, marker = match[1], match[2] or "", match[3] or ""
    extra = _EXTRA.search(marker)
    rest = _EXTRA.sub("", marker)
    ordered = sorted((bound.strip() for bound in bounds.split(",") if bound.strip()), key=lambda one: one[0] != ">")
    return Requirement(name, ",".join(ordered), extra[1] if extra else "", "==" in rest or "!=" in rest)


def parse_requirements(lines: Iterable[str] | None) -> tuple[Requirement, ...]:
    """Return the requirements of a package, as importlib.metadata.requires() has them."""
    return tuple(parse_requirement(line) for line in lines or ())


def satisfies(version: str, bounds: str) -> bool:
    """Whether a version is within bounds; what follows its numbers, such as rc1, does not count.

    Raises:
        ValueError: the bounds are of another form, or the version has no numbers.
    """
    for bound in filter(None, bounds.split(",")):
        match = _BOUND.fullmatch(bound)
        if match is None:
            raise ValueError(f"bound {bound!r}; expected such as >=7.1")
        if not _COMPARE[match[1]](_order(version, match[2])):
            return False
    return True


def _order(one: str, other: str) -> int:
    pairs = list(zip_longest(_release(one), _release(other), fillvalue=0))
    left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return (left > right) - (left < right)


def _release(version: str) -> list[int]:
    match = _RELEASE.match(version)
    if match is None:
        raise ValueError(f"version {version!r} does not begin with a number")
    return [int(part) for part in match[0].split(".")]
