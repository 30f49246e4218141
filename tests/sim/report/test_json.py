import json
import os

import pytest

from sim.report.json import ReportError, dump, dump_file, load_file
from sim.report.model import GeneratorReport, RunReport, Verdict

REPORT = RunReport("räume", 7, "t", "2026-11-23T05:00:00Z", Verdict.PASS)


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "report.json"

    dump_file(REPORT, path)

    assert load_file(path) == REPORT.to_dict()
    assert "räume" in path.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ReportError, match=r"report.json: the report cannot be written: no such file"):
        dump_file(REPORT, tmp_path / "none" / "report.json")


def test_a_number_that_json_has_not_is_an_error():
    broken = RunReport("a", 1, "t", "x", Verdict.PASS, generator=GeneratorReport(1, float("nan")))

    with pytest.raises(ValueError, match="JSON compliant"):
        dump(broken)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a report: not JSON"),
        ("[" * 100_000, "is not a report: not JSON"),
        ("[]", "is not a report: it has no schema_version"),
        ("{}", "is not a report: it has no schema_version"),
        (json.dumps({"schema_version": 99}), "is a report of version 99; expected version 1"),
    ],
)
def test_what_is_no_report_is_refused(text, message, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)

    with pytest.raises(ReportError, match=message):
        load_file(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ReportError, match="cannot be read: no such file"):
        load_file(tmp_path / "a.json")
