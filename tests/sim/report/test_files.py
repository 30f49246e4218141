import os

import pytest

from sim.report.files import FORMATS, ReportError, check_writable, render_report, write_report
from tests.sim.report.samples import report_of


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_ending_of_the_file_is_the_format(suffix, tmp_path):
    path = tmp_path / f"run{suffix.upper()}"

    write_report(report_of(), path)

    begins = {".json": '{\n  "schema_version": 1', ".md": "## ", ".html": "<!doctype html>", ".xml": "<?xml"}
    assert path.read_text(encoding="utf-8").startswith(begins[suffix])
    assert os.listdir(tmp_path) == [path.name]


def test_another_ending_is_refused_before_the_run(tmp_path):
    with pytest.raises(ReportError, match=r"cannot be written as \.txt; expected one of \.json, \.md, \.html, \.xml"):
        check_writable(tmp_path / "run.txt")
    with pytest.raises(ReportError, match="a file without an ending"):
        check_writable(tmp_path / "run")
    with pytest.raises(ReportError, match="no format of reports"):
        render_report(report_of(), ".txt")


def test_the_folder_is_made_and_nothing_is_left_in_it(tmp_path):
    check_writable(tmp_path / "a" / "b" / "run.md")

    assert os.listdir(tmp_path / "a" / "b") == []


def test_what_cannot_be_written_is_known_before_the_run(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ReportError, match="run.md: the report cannot be written: "):
        check_writable(tmp_path / "file" / "run.md")
    (tmp_path / "run.md").mkdir()
    with pytest.raises(ReportError, match="is a folder"):
        check_writable(tmp_path / "run.md")


def test_the_old_file_stays_when_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "run.md"
    path.write_text("old")

    with pytest.raises(ReportError, match="too long"):
        write_report(report_of(), tmp_path / f"{'x' * 300}.md")

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.md"]
