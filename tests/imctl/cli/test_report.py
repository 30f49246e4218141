"""`imctl report`, and the report options of `imctl sim`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from sim.report.json import dump_file, load_report
from sim.report.model import RunReport, Verdict
from sim.report.schema import report_schema
from tests.imctl.cli.conftest import Invoke
from tests.sim.report.samples import report_of, run_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the commands run in, with a few reports in it."""
    monkeypatch.chdir(tmp_path)
    for name, report in {
        "failed": report_of(),
        "ten": run_of(10),
        "twenty": run_of(20),
        "few": run_of(10, messages=4),
        "invalid": run_of(10, verdict=Verdict.INVALID),
    }.items():
        dump_file(report, tmp_path / f"{name}.json")
    (tmp_path / "broken.json").write_text('{"schema_version": 1}')
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\nclients: [{name: a, count: 1, room: a://1}]\nphases: [{name: steady, duration: 1s}]\n"
    )
    return tmp_path


@pytest.fixture
def run_gives(monkeypatch: pytest.MonkeyPatch):
    """Have `imctl sim` end with a report without running anything; returns what says which."""

    def give(report: RunReport) -> list[object]:
        runs: list[object] = []

        async def run(*args: object) -> tuple[RunReport, bool]:
            runs.append(args)
            return report, False

        monkeypatch.setattr("imctl.cli.commands.sim._run", run)
        return runs

    return give


# --- imctl report show -------------------------------------------------------


def test_show_prints_the_summary_of_the_run(invoke: Invoke) -> None:
    result = invoke("report", "show", "failed.json")

    assert result.exit_code == 0
    assert result.stdout.startswith("FAIL  the cluster is not what the scenario expects\nroom against cluster default")
    assert "(log scale)" in result.stdout


def test_show_as_json_is_the_document(invoke: Invoke, folder: Path) -> None:
    result = invoke("report", "show", "failed.json", "--json")

    assert json.loads(result.stdout) == json.loads((folder / "failed.json").read_text())


def test_show_writes_other_formats(invoke: Invoke, folder: Path) -> None:
    result = invoke("report", "show", "failed.json", "--report", "out/run.html", "--report", "run.xml")

    assert result.exit_code == 0
    assert (folder / "out" / "run.html").read_text().startswith("<!doctype html>")
    assert ET.parse(folder / "run.xml").getroot().get("failures") == "2"
    assert result.stderr == "wrote out/run.html\nwrote run.xml\n"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["show", "none.json"], 1, "none.json: cannot be read: no such file or directory"),
        (["show", "broken.json"], 1, "broken.json: is not a report: it has no scenario"),
        (["show", "tiny.yaml"], 1, "tiny.yaml: is not a report: not JSON"),
        (["show", "ten.json", "twenty.json"], 2, "show takes 1, not 2"),
        (["show", "ten.json", "--report", "a.txt"], 2, "cannot be written as .txt"),
        (["show", "ten.json", "--tolerance", "5%"], 2, "is an option of compare"),
        (["compare", "ten.json"], 2, "compare takes 2, not 1"),
        (["compare", "ten.json", "ten.json", "--tolerance", "5"], 2, "'5' is not a share; expected such as 10%"),
        (["paint", "ten.json"], 2, "paint"),
    ],
)
def test_what_cannot_be_done_is_said(invoke: Invoke, args: list[str], code: int, message: str) -> None:
    result = invoke("report", *args)

    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())


# --- imctl report compare ----------------------------------------------------


def test_compare_ends_with_7_when_the_second_is_slower(invoke: Invoke) -> None:
    result = invoke("report", "compare", "ten.json", "twenty.json")

    assert result.exit_code == 7
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["SLOWER", "twenty.json", "against", "ten.json"]
    assert "latency.p99: 20 ms, in the baseline 10 ms (+100%, over the tolerance of 10%)" in result.stdout
    assert ["latency.p99", "worse", "10", "ms", "20", "ms", "+100%"] in [line.split() for line in lines]


def test_compare_is_fine_the_other_way_round_and_within_the_tolerance(invoke: Invoke) -> None:
    assert invoke("report", "compare", "twenty.json", "ten.json").exit_code == 0
    assert invoke("report", "compare", "ten.json", "twenty.json", "--tolerance", "150%").exit_code == 0


def test_compare_as_json(invoke: Invoke) -> None:
    result = invoke("report", "compare", "ten.json", "twenty.json", "--json", "--tolerance", "20%")

    document = json.loads(result.stdout)
    assert result.exit_code == 7
    assert list(document) == ["a", "b", "tolerance_percent", "slower", "reasons", "notes", "metrics", "unjudged"]
    assert (document["a"], document["b"], document["slower"]) == ("ten.json", "twenty.json", True)
    found = {metric["metric"]: metric for metric in document["metrics"]}
    assert found["latency.p99"]["change_percent"] == 100.0
    assert found["latency.p99"]["verdict"] == "worse"


def test_compare_says_in_every_way_when_it_could_not_judge(invoke: Invoke) -> None:
    result = invoke("report", "compare", "few.json", "few.json")

    assert result.exit_code == 9
    lines = result.stdout.splitlines()
    assert lines[0] == "NOT JUDGED: too few messages: 4 of 5  few.json against few.json"
    assert "9 the same, 5 not judged (tolerance 10%)." in result.stdout
    assert "warning: no latency could be judged by few.json: too few messages: 4 of 5" in result.stderr
    assert "hint: measure 5 s or more in both runs" in result.stderr
    document = json.loads(invoke("report", "compare", "few.json", "few.json", "--json").stdout)
    assert document["unjudged"] == "too few messages: 4 of 5"
    assert document["metrics"][1]["verdict"] == "not_judged"


def test_compare_writes_the_second_with_the_comparison(invoke: Invoke, folder: Path) -> None:
    result = invoke("report", "compare", "ten.json", "twenty.json", "--report", "both.md")

    assert result.exit_code == 7
    assert "### Against the baseline" in (folder / "both.md").read_text()


# --- imctl sim ---------------------------------------------------------------


def test_sim_writes_its_reports(invoke: Invoke, folder: Path, run_gives) -> None:
    run_gives(run_of(10))

    result = invoke("sim", "tiny.yaml", "--report", "a.json", "--report", "a.md", "--report", "out/a.html", "--json")

    assert result.exit_code == 0
    assert load_report(folder / "a.json").to_dict() == json.loads(result.stdout)
    assert (folder / "a.md").read_text().startswith("## ✅ PASS: room")
    assert (folder / "out" / "a.html").exists()


@pytest.mark.parametrize(
    ("now_ms", "verdict", "code"), [(20, "pass", 7), (10, "pass", 0), (20, "fail", 1), (20, "invalid", 5)]
)
def test_sim_compares_with_the_baseline(invoke: Invoke, run_gives, now_ms: int, verdict: str, code: int) -> None:
    run_gives(run_of(now_ms, verdict=Verdict(verdict)))

    result = invoke("sim", "tiny.yaml", "--baseline", "ten.json", "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == code
    assert document["verdict"] == verdict
    assert document["baseline"]["slower"] == (now_ms == 20)
    assert any(reason.startswith("slower than the baseline: latency.p99: ") for reason in document["reasons"]) == (
        code == 7
    )


def test_sim_shows_that_it_is_slower(invoke: Invoke, run_gives) -> None:
    run_gives(run_of(20))

    result = invoke("sim", "tiny.yaml", "--baseline", "ten.json")

    assert result.stdout.startswith("SLOWER  no expectation was given, and it is slower than the baseline\n")
    assert "- slower than the baseline: latency.p50: 20 ms, in the baseline 10 ms" in result.stdout
    assert "Against the baseline ten.json" in result.stdout


def test_sim_does_not_pass_by_a_baseline_that_could_not_judge(invoke: Invoke, run_gives) -> None:
    run_gives(run_of(10, messages=4))

    result = invoke("sim", "tiny.yaml", "--baseline", "ten.json")

    assert result.exit_code == 9
    assert result.stdout.startswith("NOT JUDGED  no latency could be compared with the baseline's: too few messages")
    assert "warning: no latency could be judged by ten.json" in result.stderr


def test_sim_takes_the_tolerance(invoke: Invoke, run_gives) -> None:
    run_gives(run_of(20))

    assert invoke("sim", "tiny.yaml", "--baseline", "ten.json", "--tolerance", "150%").exit_code == 0


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--report", "a.txt"], 2, "expected one of .json, .md, .html, .xml"),
        (["--report", "ten.json/a.md"], 2, "the report cannot be written"),
        (["--baseline", "none.json"], 3, "--baseline none.json: cannot be read: no such file or directory"),
        (["--baseline", "broken.json"], 3, "is not a report: it has no scenario"),
        (["--baseline", "invalid.json"], 3, "is of a run that says nothing: its verdict is invalid"),
        (["--tolerance", "5%"], 2, "needs a --baseline to compare with"),
    ],
)
def test_sim_finds_out_before_it_runs(invoke: Invoke, run_gives, args: list[str], code: int, message: str) -> None:
    runs = run_gives(run_of(10))

    result = invoke("sim", "tiny.yaml", *args)

    assert (result.exit_code, runs) == (code, [])
    assert message in " ".join(result.stderr.split())


def test_a_report_that_cannot_be_written_in_the_end_fails_a_run_that_passed(
    invoke: Invoke, folder: Path, run_gives, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_gives(run_of(10))
    monkeypatch.setattr("imctl.cli.commands.sim.check_reports", lambda _: None)

    result = invoke("sim", "tiny.yaml", "--report", "gone/a.md", "--report", "b.md", "--json")

    assert result.exit_code == 1
    assert "gone/a.md: the report cannot be written: no such file or directory" in result.stderr
    assert json.loads(result.stdout)["verdict"] == "pass"
    assert (folder / "b.md").exists()

    run_gives(replace(run_of(10), verdict=Verdict.INVALID))
    assert invoke("sim", "tiny.yaml", "--report", "gone/a.md").exit_code == 5


# --- imctl schema --report ---------------------------------------------------


def test_the_schema_of_the_document_can_be_shown(invoke: Invoke) -> None:
    assert json.loads(invoke("schema", "--report").stdout) == report_schema()
    assert json.loads(invoke("schema", "--report", "--json").stdout) == report_schema()
