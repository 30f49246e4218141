"""The tables of `scenarios/README.md`, made from the declaration of the format.

The page has a pair of comments for each table, `<!-- table: clients -->` and
`<!-- end -->`; what stands between them is replaced. Run it after a change of
the format: `python -m sim.language.format_page scenarios/README.md`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from sim.language.fields import REQUIRED, Either, Field, Section
from sim.language.format import CLIENTS, EVENT, EVENT_DOCS, EVENT_KEYS, FEED, PHASE, PUBLISH, SCENARIO
from sim.language.format_expect import EXPECTATION

__all__ = ["main", "with_tables"]

_SECTIONS = {
    "scenario": SCENARIO,
    "clients": CLIENTS,
    "feeds": FEED,
    "publish": PUBLISH,
    "phases": PHASE,
    "events": EVENT,
    "expect": EXPECTATION,
}
_TABLE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """Return the page with each of its tables as the format is now.

    Raises:
        KeyError: the page asks for a table that there is not.
    """
    return _TABLE.sub(lambda match: f"{match[1]}\n{_table(match[2])}\n{match[3]}", page)


def _table(name: str) -> str:
    if name == "event-kinds":
        rows = [
            f"| `{kind}` | {EVENT_DOCS[kind]} | {', '.join(f'`{key}`' for key in keys)} |"
            for kind, keys in EVENT_KEYS.items()
        ]
        return "".join(f"{row}\n" for row in ("| `do` | what happens | goes with |", "|---|---|---|", *rows))
    return "".join(f"{row}\n" for row in ("| key | default | |", "|---|---|---|", *_rows(_SECTIONS[name], "")))


def _rows(section: Section, path: str) -> Iterator[str]:
    for known in section.fields:
        name = path + known.name
        inner = known.spec.mapping if isinstance(known.spec, Either) else known.spec
        # A section that only holds keys with defaults of their own has nothing to say for itself.
        if not isinstance(known.spec, Section) or known.shown:
            default = "one of these" if section.one_of and len(section.fields) > 1 else _default(known)
            yield f"| `{name}` | {default} | {known.doc} |"
        if isinstance(inner, Section):
            yield from _rows(inner, f"{name}.")


def _default(known: Field) -> str:
    if known.default is REQUIRED:
        return "needed"
    return known.shown if known.default in (None, ()) else f"`{known.shown}`"


def main(arguments: list[str]) -> None:
    """Rewrite the files that are named."""
    for argument in arguments:
        path = Path(argument)
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
