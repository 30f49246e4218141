from dataclasses import replace

import pytest

from sim.report.html import html_page
from sim.report.junit import junit_text
from sim.report.markdown import markdown_text
from sim.report.missing import no_ledger_note
from sim.report.model import ExpectResult, GeneratorReport, Verdict
from sim.report.summary import summary_text
from tests.sim.report.samples import report_of


def broken(*processes):
    expect = ExpectResult("delivery.lost == 0", None, None, "", f"not known: {', '.join(processes)}")
    generator = GeneratorReport(2, broken=processes)
    return replace(
        report_of(),
        verdict=Verdict.INVALID,
        generator=generator,
        expect=(expect,),
        reasons=(f"it broke: {processes[0]}",),
    )


def test_without_its_publisher_a_run_does_not_know_what_was_to_be_delivered():
    report = broken("worker 1 died", "publisher hung")
    read = sum(phase.latency_ms.count for phase in report.phases)

    assert no_ledger_note(report) == (
        f"Not known: the publisher hung, so nobody can tell what was to be delivered. Clients read {read:,} messages."
    )
    assert no_ledger_note(broken("worker 1 died")) == ""


@pytest.mark.parametrize("text", [summary_text, markdown_text, html_page, junit_text])
def test_every_format_says_who_died_and_that_nothing_is_known(text):
    shown = " ".join(text(broken("publisher died")).split())

    assert "publisher died" in shown
    assert "FAILED" not in shown
    assert "<dt>lost</dt>" not in shown
    if text is not junit_text:  # it has numbers as properties only, and skips what an invalid run expected
        assert "Not known: the publisher died" in shown
        assert "unknown" in shown
        assert "not known: publisher died" in shown
