"""The verdicts of a run, for people, programs and CI servers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from imctl.conform.case import Result, Verdict
from imctl.conform.target import PARTS, Target

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Report"]

_STYLES = {Verdict.FAIL: "red", Verdict.KNOWN: "yellow", Verdict.SKIPPED: "dim", Verdict.PASS: "green"}
_CUT = 60
_WIDTH = 150
_NO_XML = {code: "?" for code in range(32) if code not in (9, 10, 13)}


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run, in the order of the cases."""

    target: Target
    results: tuple[Result, ...]
    took_s: float

    @property
    def failed(self) -> list[Result]:
        """Cases that failed."""
        return [result for result in self.results if result.verdict is Verdict.FAIL]

    @property
    def counts(self) -> dict[str, int]:
        """How many cases ended in which verdict."""
        found = Counter(result.verdict for result in self.results)
        return {verdict.value: found[verdict] for verdict in Verdict}

    @property
    def not_tested(self) -> list[str]:
        """Parts without an address that a case of the run needs."""
        needed = {part for result in self.results for part in result.case.needs}
        return self.target.missing(part for part in PARTS if part in needed)

    @property
    def summary(self) -> str:
        """The run in a line."""
        counts = self.counts
        text = f"{counts['pass']} passed, {counts['fail']} failed"
        if counts["known"]:
            text += f", {counts['known']} known differences"
        if counts["skipped"]:
            text += f", {counts['skipped']} skipped"
        return f"{text} in {self.took_s:.1f} s"

    def to_json(self) -> dict[str, Any]:
        """Return the document; Any because it is JSON."""
        return {
            "verdict": "fail" if self.failed else "pass",
            "target": self.target.given(),
            "not_tested": self.not_tested,
            "took_s": round(self.took_s, 2),
            "counts": self.counts,
            "cases": [
                {
                    "id": result.case.id,
                    "area": result.case.area,
                    "shows": result.case.shows,
                    "source": result.case.source,
                    "expected": result.case.expected,
                    "got": result.got,
                    "verdict": result.verdict.value,
                    "note": result.note,
                    "took_ms": round(result.took_ms, 1),
                }
                for result in self.results
            ],
        }

    def render(self, console: Console) -> None:
        """Print a table, failures first and in full, and a summary."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("CASE", "EXPECTED", "GOT", "VERDICT"):
            table.add_column(name, overflow="fold", ratio=None if name == "VERDICT" else 1)
        order = list(_STYLES)
        shown = [one for one in self.results if one.verdict is not Verdict.SKIPPED]
        for result in sorted(shown, key=lambda one: order.index(one.verdict)):
            case, in_full = result.case, result.verdict is not Verdict.PASS
            name = f"{case.id}\n{case.shows}\n{case.source}" if in_full else case.id
            got = f"{result.got}\n({result.note})" if result.note else result.got
            table.add_row(
                Text(name),
                Text(case.expected if in_full else _cut(case.expected)),
                Text(got if in_full else _cut(got)),
                Text(result.verdict.value, _STYLES[result.verdict]),
            )
        if shown:
            if not console.is_terminal:
                # A file or a CI log has no width of its own, and four columns do not go into 80.
                console.width = max(console.width, _WIDTH)
            console.print(table)
        for note, group in groupby(sorted((one.note, one.case.id) for one in self._skipped()), key=lambda one: one[0]):
            ids = [case_id for _, case_id in group]
            few = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
            console.print(Text(f"skipped: {few} ({note})", "dim"), soft_wrap=True)
        console.print(Text(self.summary, "red" if self.failed else "green"), soft_wrap=True)

    def to_junit(self) -> str:
        """Return the run as JUnit XML: a suite an area, known differences as passed with their text."""
        root = ElementTree.Element("testsuites", name="imctl conform", time=f"{self.took_s:.3f}")
        for area, group in groupby(sorted(self.results, key=lambda one: one.case.area), key=lambda one: one.case.area):
            results = list(group)
            found = Counter(result.verdict for result in results)
            suite = ElementTree.SubElement(
                root,
                "testsuite",
                name=area,
                tests=str(len(results)),
                failures=str(found[Verdict.FAIL]),
                errors="0",
                skipped=str(found[Verdict.SKIPPED]),
                time=f"{sum(result.took_ms for result in results) / 1000:.3f}",
            )
            for result in results:
                _add_case(suite, result)
        return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"

    def _skipped(self) -> list[Result]:
        return [result for result in self.results if result.verdict is Verdict.SKIPPED]


def _add_case(suite: ElementTree.Element, result: Result) -> None:
    case = result.case
    element = ElementTree.SubElement(
        suite, "testcase", name=case.id, classname=f"conform.{case.area}", time=f"{result.took_ms / 1000:.3f}"
    )
    text = f"{case.shows}\nsource: {case.source}\nexpected: {case.expected}\ngot: {result.got}".translate(_NO_XML)
    match result.verdict:
        case Verdict.FAIL:
            ElementTree.SubElement(element, "failure", message=f"got: {result.got}".translate(_NO_XML)).text = text
        case Verdict.SKIPPED:
            ElementTree.SubElement(element, "skipped", message=result.note.translate(_NO_XML))
        case Verdict.KNOWN:
            ElementTree.SubElement(element, "system-out").text = f"{text}\n{result.note}".translate(_NO_XML)
        case Verdict.PASS:
            pass


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else f"{text[: _CUT - 3]}..."
