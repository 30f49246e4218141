"""A report as Markdown, for the summary of a CI job or a comment on a change.

GitHub's dialect, which GitLab reads too. Everything that a scenario, a node
or a user named is escaped: it can neither break a table nor bring a link.
"""

from __future__ import annotations

import re

from sim.report.clocks_table import clocks_table
from sim.report.headline import facts_line, reasons_below, verdict_line
from sim.report.hops_table import hops_table
from sim.report.model import RunReport
from sim.report.parts import fanout_table, populations_table, publishers_table
from sim.report.tables import (
    Cell,
    Mark,
    Table,
    baseline_table,
    clients_table,
    delivery_table,
    events_table,
    expectations_table,
    find_max_table,
    latency_table,
    nodes_table,
    publishing_table,
)

__all__ = ["markdown_text"]

# Beyond the marks of Markdown itself: & and < begin HTML, @ and # mention people and issues, ~ strikes through,
# $ begins mathematics, : is left (an address in plain text becomes a link to itself, as everywhere).
_SPECIAL = re.compile(r"([\\`*_\[\]{}|~$])")
_AS_ENTITY = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "#": "&#35;"}

_SIGNS = {Mark.GOOD: "✅ ", Mark.WARN: "⚠️ ", Mark.BAD: "❌ "}


def markdown_text(report: RunReport) -> str:
    """Return the report: verdict and reasons first, then what they rest on."""
    word, meaning, mark = verdict_line(report)
    lines = [f"## {_SIGNS[mark]}{word}: {_escape(report.scenario)}", ""]
    lines += [f"{_sentence(_escape(meaning))} Run {_escape(facts_line(report))}.", ""]
    reasons = reasons_below(report)
    if reasons:
        lines += [*(f"- {_escape(reason)}" for reason in reasons), ""]
    tables = [expectations_table(report), latency_table(report), delivery_table(report), fanout_table(report)]
    tables += [populations_table(report), publishers_table(report)]
    if report.find_max is not None:
        tables.insert(0, find_max_table(report.find_max))
    if report.baseline is not None:
        tables.insert(1, baseline_table(report.baseline))
    tables += [hops_table(report), publishing_table(report), events_table(report), nodes_table(report)]
    tables += [clients_table(report), clocks_table(report)]
    for table in tables:
        if table is not None:
            lines += _table(table)
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> list[str]:
    lines = [f"### {_escape(table.title)}", ""]
    if table.rows:
        rule = ["---" if column < table.texts else "--:" for column in range(len(table.head))]
        lines += [_row([_escape(name) for name in table.head]), _row(rule)]
        lines += [_row([_cell(cell) for cell in row]) for row in table.rows]
        lines.append("")
    return [*lines, _escape(table.note), ""] if table.note else lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = _code(cell.text) if cell.code else _escape(cell.text)
    if cell.mark is Mark.BAD:
        return f"**{text}**"
    return text


def _code(text: str) -> str:
    """Return a code span of text that may itself have backticks; in a table even there a bar needs its escape."""
    text = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}" if text else ""


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    text = "".join(_AS_ENTITY.get(char, char) for char in " ".join(text.split()))
    return _SPECIAL.sub(r"\\\1", text)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
