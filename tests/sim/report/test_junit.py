from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from sim.report.compare import compare_reports
from sim.report.junit import junit_text
from sim.report.model import ExpectResult, Verdict
from tests.sim.report.samples import report_of, run_of


def suite_of(report):
    root = ET.fromstring(junit_text(report))
    assert root.tag == "testsuites"
    [suite] = root.findall("testsuite")
    for key in ("tests", "failures", "errors", "skipped", "time"):
        assert root.get(key) == suite.get(key)
    return suite


def outcomes(suite):
    """Return what each case is: the tag of its problem, `` when it passed."""
    tags = ("failure", "error", "skipped")
    return {
        case.get("name"): next((tag for tag in tags if case.find(tag) is not None), "")
        for case in suite.iter("testcase")
    }


def test_one_case_an_expectation_and_one_for_the_run():
    suite = suite_of(report_of())

    assert outcomes(suite) == {
        "the run is valid": "",
        "delivery.lost == 0": "failure",
        "phase.spike.latency.p99 < 200ms": "failure",
        "latency.p99 < 200ms": "",
    }
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped", "time")} == {
        "name": "room", "tests": "4", "failures": "2", "errors": "0", "skipped": "0", "time": "12.500",
    }  # fmt: skip
    messages = [failure.get("message") for failure in suite.iter("failure")]
    assert messages == [
        "delivery.lost == 0: was 31",
        "phase.spike.latency.p99 < 200ms: nothing was delivered in spike",
    ]


def test_key_numbers_are_properties():
    properties = {one.get("name"): one.get("value") for one in suite_of(report_of()).iter("property")}

    assert properties["delivery.lost"] == "31"
    assert properties["latency_ms.max"] == "100.9"
    assert properties["verdict"] == "fail"


def test_what_was_not_measured_is_no_property():
    properties = {one.get("name") for one in suite_of(run_of()).iter("property")}

    assert "latency_ms.p99" not in properties


@pytest.mark.parametrize("verdict", [Verdict.INVALID, Verdict.ABORTED])
def test_an_invalid_run_is_an_error_and_its_expectations_are_skipped(verdict):
    report = report_of(verdict=verdict, reasons=("the load generator lagged", "and more"))

    suite = suite_of(report)

    assert outcomes(suite) == {
        "the run is valid": "error",
        "delivery.lost == 0": "skipped",
        "phase.spike.latency.p99 < 200ms": "skipped",
        "latency.p99 < 200ms": "skipped",
    }
    error = suite.find("testcase/error")
    assert error is not None
    assert (error.get("message"), error.text) == ("the load generator lagged", "the load generator lagged\nand more")


@pytest.mark.parametrize(
    ("verdict", "now_ms", "outcome"), [("pass", 20, "failure"), ("pass", 10, ""), ("fail", 20, "skipped")]
)
def test_the_baseline_is_a_case_of_its_own(verdict, now_ms, outcome):
    now = run_of(now_ms, verdict=Verdict(verdict))
    now = replace(now, baseline=compare_reports(run_of(10), now, tolerance_percent=10, names=("a", "")))

    suite = suite_of(now)

    assert outcomes(suite)["not slower than the baseline"] == outcome


def test_a_baseline_that_could_not_judge_is_an_error():
    now = run_of(10, messages=4)
    now = replace(now, baseline=compare_reports(now, now, tolerance_percent=10, names=("a", "")))

    suite = suite_of(now)

    assert outcomes(suite)["not slower than the baseline"] == "error"
    assert suite.find("testcase/error").text == "no latency could be judged: too few messages: 4 of 5"


def test_what_xml_cannot_hold_is_replaced():
    text = 'a\x00b\x1b[31m<c>&"d" \ud800 \U0001f600'
    report = report_of(scenario=text, target=text, reasons=(text,), expect=(ExpectResult(text, 1.0, False),))

    suite = suite_of(report)

    assert suite.get("name") == 'a\ufffdb\ufffd[31m<c>&"d" \ufffd \U0001f600'
    assert junit_text(report).encode("utf-8")
