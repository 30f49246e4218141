import re

import pytest

from sim.report.compare import compare_reports
from sim.report.markdown import markdown_text
from sim.report.model import EventReport, ExpectResult, NodeReport, Verdict
from tests.sim.report.samples import report_of, run_of


def test_verdict_and_reasons_come_first():
    lines = markdown_text(report_of()).splitlines()

    assert lines[0] == "## ❌ FAIL: room"
    assert lines[2] == (
        "The cluster is not what the scenario expects. "
        "Run against cluster default, 1,999 of 2,000 clients, 12.5s, seed 7, 2026-11-23T05:00:00Z."
    )
    assert lines[4] == "- delivery.lost == 0: was 31"


def test_tables_have_what_was_measured():
    text = markdown_text(report_of())

    assert "| **FAILED** | `delivery.lost == 0` | 31 |" in text
    assert "| **FAILED** | `phase.spike.latency.p99 < 200ms` | nothing was delivered in spike |" in text
    assert "| ok | `latency.p99 < 200ms` |" in text
    assert "| (warmup) | 5,031 | 5,000 | **31** | **5** | **6** | **7** | 400 |" in text
    assert "Lost at comet.slow\\_client 30, unknown 1." in text
    assert "| steady | 1,000 | **990** | 99% | 1.50 | 12.2 | 40.0 |" in text
    assert "| viewers | 5,031 | **31** | **5** | **6** | **7** | 51.0 | 99.9 | 101 |" in text
    assert "| room-viewers | 1,000 | **3** | 5,031 | **31** |" in text
    assert "| comet-1 | 12 | 4.00 s | 121 MB | **a.b 30** |" in text
    assert "| pause | comet-1 | 2.00 s | 1 | 2s |" in text
    assert "| clients connected | 1,999 of 2,000 |" in text


def test_every_row_has_the_columns_of_its_head():
    blocks = re.findall(r"(?:^\|.*\n)+", markdown_text(report_of()), re.M)

    assert len(blocks) == 10
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_a_good_run():
    text = markdown_text(run_of(5, 6))

    assert text.startswith("## ✅ PASS: room\n\nNo expectation was given. Run against ")
    assert "### Expectations" not in text


def test_a_slower_run_says_so_and_in_what():
    now = run_of(20)
    comparison = compare_reports(run_of(10), now, tolerance_percent=10, names=("main.json", ""))

    text = markdown_text(run_of(20, baseline=comparison))

    assert text.startswith("## ❌ SLOWER: room")
    assert "| `latency.p99` | **worse** | 10 ms | 20 ms | +100% |" in text


NASTY = "a|b`c``d *e* _f_ <img src=x> [g](http://h) @team #1 ~~i~~ $j$ &lt; \\ \n## k"


@pytest.mark.parametrize("in_a_table", [True, False])
def test_names_can_neither_break_a_table_nor_bring_markup(in_a_table):
    table = {
        "expect": (ExpectResult(NASTY, 1.0, True),),
        "nodes": (NodeReport(NASTY, drops={NASTY: 1}),),
        "events": (EventReport(1.0, NASTY, NASTY, 1),),
    }
    head = {"scenario": NASTY, "reasons": (NASTY,), "verdict": Verdict.INVALID}

    text = markdown_text(report_of(**(table if in_a_table else head)))

    plain = re.sub(r"(`+) .*? \1", "", text)  # code spans show everything as it is
    assert "<img" not in plain
    assert not re.search(r"(?<!\\)\[g|@team|(?<!&)#1|(?<!\\)~~|(?<!\\)\*e|(?<!\\)_f|(?<!\\)\$j", plain)
    assert "\n## k" not in text
    if in_a_table:
        assert "``` a\\|b`c``d *e*" in text
        for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
