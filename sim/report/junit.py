"""A report as JUnit XML, which every CI system shows as test results.

One test case an expectation, one for the run itself (an invalid or aborted
run is an error there, and its expectations are skipped: they say nothing),
and one for the baseline when there is one. Key numbers are properties.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from sim.report.headline import facts_line, verdict_line
from sim.report.model import RunReport, Verdict
from sim.report.unchecked import unchecked_text
from sim.scenario.expect import explain, format_value

__all__ = ["junit_text"]

# What XML 1.0 cannot hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_text(report: RunReport) -> str:
    """Return the XML document."""
    suites = ET.Element("testsuites", name="imctl sim")
    suite = ET.SubElement(suites, "testsuite", name=_legal(report.scenario), timestamp=_legal(report.started_at))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(report).items():
        ET.SubElement(properties, "property", name=name, value=_legal(value))
    time_s = sum(phase.duration_s for phase in report.phases)
    valid = report.verdict in (Verdict.PASS, Verdict.FAIL)
    _validity(suite, report, time_s, valid=valid)
    for result in report.expect:
        case = _case(suite, report, result.expr)
        if not valid:
            ET.SubElement(case, "skipped", message="the run is not valid, so this says nothing")
        elif not result.passed:
            _problem(case, "failure", explain(result), kind="expectation")
        else:
            ET.SubElement(case, "system-out").text = _legal(f"was {format_value(result.value, result.unit)}")
    if report.baseline is not None:
        _baseline(suite, report)
    for element in (suites, suite):
        for kind, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            element.set(kind, str(len(list(suite.iter(tag)))))
        element.set("time", f"{time_s:.3f}")
    ET.SubElement(suite, "system-out").text = _legal(
        "\n".join([f"{verdict_line(report)[0]} {report.scenario} {facts_line(report)}", *report.reasons])
    )
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _validity(suite: ET.Element, report: RunReport, time_s: float, *, valid: bool) -> None:
    case = _case(suite, report, "the run is valid", time_s)
    if not valid:
        _problem(case, "error", "\n".join(report.reasons) or report.verdict.value, kind=report.verdict.value)
    elif text := unchecked_text(report):  # JUnit knows no warnings
        ET.SubElement(case, "system-out").text = f"warning: {text}"


def _baseline(suite: ET.Element, report: RunReport) -> None:
    assert report.baseline is not None
    case = _case(suite, report, "not slower than the baseline")
    if report.verdict is not Verdict.PASS:
        ET.SubElement(case, "skipped", message="the run did not pass, so it is not compared")
    elif report.baseline.slower:
        _problem(case, "failure", "\n".join(report.baseline.reasons), kind="baseline")
    elif report.baseline.unjudged:
        _problem(case, "error", f"no latency could be judged: {report.baseline.unjudged}", kind="not judged")


def _case(suite: ET.Element, report: RunReport, name: str, time_s: float = 0.0) -> ET.Element:
    classname = _legal(f"imctl.sim.{report.scenario}")
    return ET.SubElement(suite, "testcase", classname=classname, name=_legal(name), time=f"{time_s:.3f}")


def _problem(case: ET.Element, tag: str, text: str, *, kind: str) -> None:
    first, *_ = text.splitlines()
    ET.SubElement(case, tag, message=_legal(first), type=kind).text = _legal(text)


def _properties(report: RunReport) -> dict[str, str]:
    """Return the numbers one looks for first, each with its unit in the name."""
    numbers = {
        "seed": report.seed,
        "clients.connected": report.clients.connected,
        "publish.messages": report.publish.messages,
        "delivery.expected": report.delivery.expected,
        "delivery.delivered": report.delivery.delivered,
        "delivery.lost": report.delivery.lost,
        "delivery.duplicated": report.delivery.duplicated,
        "delivery.reordered": report.delivery.reordered,
        "delivery.unexpected": report.delivery.unexpected,
        "delivery.deliveries_per_s": report.delivery.deliveries_per_s,
        "latency_ms.p50": report.latency_ms.p50,
        "latency_ms.p99": report.latency_ms.p99,
        "latency_ms.max": report.latency_ms.max,
    }
    if report.find_max is not None and report.find_max.rate_per_s is not None:
        numbers["find_max.rate_per_s"] = report.find_max.rate_per_s
    texts = {"verdict": report.verdict.value, "target": report.target}
    return {**texts, **{name: str(number) for name, number in numbers.items() if number is not None}}


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
