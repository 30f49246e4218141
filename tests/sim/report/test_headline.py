"""What a run that expected nothing says of what went wrong, in every format."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from sim.report.headline import reasons_below, verdict_line
from sim.report.html import html_page
from sim.report.junit import junit_text
from sim.report.markdown import markdown_text
from sim.report.model import ClientsReport, Comparison, DeliveryReport, ExpectResult, PublishReport, RunReport, Verdict
from sim.report.summary import summary_text
from sim.report.tables import Mark
from sim.report.unchecked import unchecked_text

QUIET = RunReport("mine", 1, "t", "2026-11-23T05:00:00Z", Verdict.PASS)
LOST = "no expectation was given, and 708 messages were lost"
LOSSY = replace(QUIET, delivery=DeliveryReport(1000, 292, 708), reasons=(LOST, "3 clients: connection ended"))


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, ""),
        ({"delivery": DeliveryReport(10, 3, 7)}, "7 messages were lost"),
        ({"delivery": DeliveryReport(10, 9, 1)}, "1 message was lost"),
        ({"delivery": DeliveryReport(9000, 9000, 0, 2000)}, "2,000 messages were duplicated"),
        (
            {"delivery": DeliveryReport(10, 8, 2, 3, 4, 5)},
            "2 messages were lost, 3 duplicated, 4 reordered, 5 unexpected",
        ),
        ({"publish": PublishReport(10, 1)}, "1 push failed"),
        (
            {"publish": PublishReport(10, 2), "clients": ClientsReport(10, 7, 3)},
            "2 pushes failed, 3 clients could not connect",
        ),
    ],
)
def test_what_nobody_expected_anything_of_is_told(parts, text):
    assert unchecked_text(replace(QUIET, **parts)) == (f"no expectation was given, and {text}" if text else "")


def test_with_an_expectation_it_is_for_that_to_judge():
    assert unchecked_text(replace(LOSSY, expect=(ExpectResult("latency.p99 < 1s", 1.0, True, "ms"),))) == ""


def test_the_verdict_stays_pass_and_says_what_was_lost():
    assert verdict_line(LOSSY) == ("PASS", LOST, Mark.WARN)
    assert LOSSY.exit_code == 0
    assert reasons_below(LOSSY) == ["3 clients: connection ended"]


def test_without_a_loss_the_verdict_is_as_plain_as_ever():
    assert verdict_line(QUIET) == ("PASS", "no expectation was given", Mark.GOOD)


def test_a_run_that_could_not_be_compared_is_no_plain_pass():
    short = replace(QUIET, baseline=Comparison("a.json", "", 10.0, False, unjudged="too short to tell: 3 s"))

    word, meaning, mark = verdict_line(short)

    assert (word, mark) == ("NOT JUDGED", Mark.BAD)
    assert meaning == "no latency could be compared with the baseline's: too short to tell: 3 s"
    assert (short.exit_code, short.passed) == (9, False)
    assert summary_text(short).startswith("NOT JUDGED  no latency could be compared")
    assert '<span class="verdict not-judged">NOT JUDGED</span>' in html_page(short)
    assert verdict_line(replace(short, verdict=Verdict.FAIL))[0] == "FAIL"


def test_the_terminal_has_it_once():
    text = summary_text(LOSSY)

    assert text.startswith(f"PASS  {LOST}\n")
    assert text.count("708 messages were lost") == 1
    assert "- 3 clients: connection ended" in text


def test_markdown_warns():
    text = markdown_text(LOSSY)

    assert text.startswith("## \u26a0\ufe0f PASS: mine\n")
    assert text.count("o expectation was given, and 708 messages were lost.") == 1


def test_the_page_warns():
    page = html_page(LOSSY)

    assert '<span class="verdict pass warn">PASS</span>' in page
    assert "<p>No expectation was given, and 708 messages were lost.</p>" in page
    assert ".verdict.warn" in page


def test_junit_has_it_with_the_run_itself():
    suite = ET.fromstring(junit_text(LOSSY))

    [case] = suite.iter("testcase")
    assert case.findtext("system-out") == f"warning: {LOST}"
    assert suite.find("testsuite").get("failures") == "0"
