"""The pages of the project, and what is in them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "named", "page", "rows", "section"]

ROOT = Path(__file__).parent.parent


@cache
def page(name: str) -> str:
    """Return a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows of a page."""
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def named(text: str) -> list[str]:
    """Return the names in backticks of a cell."""
    return re.findall(r"`([^`]+)`", text)


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    body = text.partition(f"\n{heading}\n")[2]
    assert body, f"no heading {heading!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", body)[0]
