import json

import pytest

from sim.report.compare import compare_reports
from sim.report.json import ReportError, dump, load_report
from sim.report.model import SCHEMA_VERSION, ExpectResult, RunReport, Verdict
from sim.report.reading import read_report
from tests.sim.report.samples import report_of

LEAST = {"schema_version": 1, "scenario": "a", "seed": 1, "target": "t", "started_at": "x", "verdict": "pass"}


def test_a_report_is_read_as_it_was_written():
    report = report_of()
    report = report_of(baseline=compare_reports(report, report, tolerance_percent=10, names=("a.json", "")))

    assert read_report(json.loads(dump(report))) == report


def test_what_an_older_version_did_not_write_has_its_default():
    assert read_report(LEAST) == RunReport("a", 1, "t", "x", Verdict.PASS)


def test_what_a_newer_version_adds_is_passed_over():
    document = {**LEAST, "weather": {"rain": True}, "clients": {"wanted": 3, "shoes": 6}}

    assert read_report(document).clients.wanted == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "7"}, "seed is '7'; expected a whole number"),
        ({"seed": True}, "seed is True; expected a whole number"),
        ({"verdict": "good"}, "verdict is 'good'; expected one of pass, fail, invalid, aborted"),
        ({"reasons": "none"}, "reasons is 'none'; expected a list"),
        ({"latency_ms": {"p50": "x"}}, r"latency_ms\.p50 is 'x'; expected a number"),
        ({"delivery": {"lost_at": {"a": 1.5}}}, r"delivery\.lost_at\.a is 1.5; expected a whole number"),
        ({"phases": [{"name": "a"}]}, r"it has no phases\[0\]\.duration_s"),
        ({"expect": [{"expr": "a", "value": 1, "pass": 1}]}, r"expect\[0\]\.pass is 1; expected true or false"),
        ({"latency_buckets_ms": [[1, 2]]}, r"latency_buckets_ms\[0\] is \[1, 2\]; expected a list of 3"),
        ({"nodes": {}}, "nodes is {}; expected a list"),
        ({"clients": []}, r"clients is \[\]; expected an object"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(change, message, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**LEAST, "schema_version": SCHEMA_VERSION, **change}))

    with pytest.raises(ReportError, match=f"run.json: is not a report: {message}"):
        load_report(path)


def test_an_expectation_that_no_version_knows_has_no_unit():
    document = {**LEAST, "expect": [{"expr": "moon.phase < 3", "value": 1.0, "pass": True}]}

    assert read_report(document).expect[0].unit == ""


def test_units_of_expectations_come_back_for_parts_and_windows():
    expect = (
        ExpectResult("population.viewers.latency.p99 < 5s", 12.0, True, "ms"),
        ExpectResult("publisher.chat.latency.p50 < 5s", 12.0, True, "ms"),
        ExpectResult("delivery.lost_percent < 1% from 0ms to 2s after kill comet-1", 0.5, True, "%"),
        ExpectResult("of.a.later.version < 3", 2.0, True, ""),
    )

    assert read_report(report_of(expect=expect).to_dict()).expect == expect
