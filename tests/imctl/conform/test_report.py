from __future__ import annotations

import io
from xml.etree import ElementTree

from rich.console import Console

from imctl.conform import Case, Report, Result, Target, Verdict


async def nothing(lab: object) -> str:
    return ""


def result(name: str, verdict: Verdict, got: str = "", note: str = "") -> Result:
    case = Case(f"area.{name}", f"area-{name[0]}", "what it shows", "x.go", ("tcp", "http"), "expected text", nothing)
    return Result(case, verdict, got, note, 1.25)


REPORT = Report(
    Target(tcp="h:1"),
    (
        result("passed", Verdict.PASS, "expected text"),
        result("skipped", Verdict.SKIPPED, note="no address"),
        result("known", Verdict.KNOWN, "otherwise", "goim's own way"),
        result("failed", Verdict.FAIL, "\x1b[31m\0 <wrong>"),
    ),
    2.5,
)


def test_failures_are_printed_first_and_in_full():
    out = io.StringIO()
    REPORT.render(Console(file=out, width=120, color_system=None))
    text = out.getvalue()

    assert text.index("area.failed") < text.index("area.known") < text.index("area.passed")
    assert "what it shows" in text
    assert "goim's own way" in text
    assert "skipped: area.skipped (no address)" in text
    assert text.splitlines()[-1] == "1 passed, 1 failed, 1 known differences, 1 skipped in 2.5 s"


def test_the_document_has_every_case():
    document = REPORT.to_json()

    assert document["verdict"] == "fail"
    assert document["counts"] == {"pass": 1, "fail": 1, "known": 1, "skipped": 1}
    assert document["not_tested"] == ["logic http"]
    assert document["target"] == {"tcp": "h:1"}
    assert document["cases"][2] == {
        "id": "area.known",
        "area": "area-k",
        "shows": "what it shows",
        "source": "x.go",
        "expected": "expected text",
        "got": "otherwise",
        "verdict": "known",
        "note": "goim's own way",
        "took_ms": 1.2,
    }


def test_junit_can_be_read_whatever_was_got():
    root = ElementTree.fromstring(REPORT.to_junit().split("\n", 1)[1])

    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"area-p", "area-s", "area-k", "area-f"}
    assert suites["area-f"].get("failures") == "1"
    assert suites["area-s"].get("skipped") == "1"
    failure = suites["area-f"].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "got: ?[31m? <wrong>"
    assert suites["area-k"].find("testcase/failure") is None


def test_a_run_without_a_failure_is_a_pass():
    report = Report(Target(tcp="h:1"), REPORT.results[:3], 1)

    assert report.failed == []
    assert report.to_json()["verdict"] == "pass"
