import io
import random
from dataclasses import replace

import pytest
from rich.console import Console

from sim.measure.histogram import Histogram
from sim.report.compare import compare_reports
from sim.report.hops import HOPS, HopStats, JobHopStats
from sim.report.model import (
    ClientsReport,
    DeliveryReport,
    ExpectResult,
    FanoutReport,
    GeneratorReport,
    HopsReport,
    LagStats,
    LatencyStats,
    NodeReport,
    PhaseReport,
    PublishReport,
    RunReport,
    SpreadStats,
    Verdict,
)
from sim.report.summary import ComparisonSummary, RunSummary, sparkline, summary_text
from tests.sim.report.samples import report_of, run_of

LATENCY = LatencyStats(600_000, 0.31, 1.52, 3.4, 4.9, 12.44, 31.0, 261.2)
PUBLISH = PublishReport(1200, 3, 80.0, LagStats(0.1, 0.6, 2.3))
DELIVERY = DeliveryReport(600_000, 599_969, 31, 5, 6, 7, 39_997.9, {"comet.slow_client": 30, "job.queue_full": 1})
REPORT = RunReport(
    scenario="room",
    seed=7,
    target="cluster default",
    started_at="2026-11-23T05:00:00Z",
    verdict=Verdict.FAIL,
    reasons=("delivery.lost == 0: was 31",),
    clients=ClientsReport(2000, 1999, 1, 998.2, 0, 4),
    publish=PUBLISH,
    delivery=DELIVERY,
    latency_ms=LATENCY,
    phases=(PhaseReport("warmup", 2, False, PUBLISH, DELIVERY, LATENCY), PhaseReport("steady", 10.0)),
    generator=GeneratorReport(2, 41.3, 1.2),
    nodes=(
        NodeReport("core", 11, 1.21, 88_000_000),
        NodeReport("comet-1", 12, 4.02, 121_000_000, {"comet.slow_client": 30}),
        NodeReport("far"),
    ),
    expect=(
        ExpectResult("delivery.lost == 0", 31.0, False),
        ExpectResult("phase.steady.latency.p99 < 200ms", None, False, "ms", "nothing was delivered in steady"),
        ExpectResult("node.core.rss < 200MB", 88e6, True, "bytes"),
    ),
)
PASSED = RunReport("smoke", 1, "t", "x", Verdict.PASS, clients=ClientsReport(50, 50, 0, 900.0, 0))


def histogram():
    found = Histogram()
    rng = random.Random(1)
    for _ in range(5000):
        found.record(round(rng.lognormvariate(15, 0.8)))
    return tuple(found.buckets())


def test_the_verdict_is_the_first_word_and_the_reasons_follow():
    lines = summary_text(REPORT).splitlines()

    assert lines[0].startswith("FAIL  ")
    assert "room against cluster default, 1,999 of 2,000 clients, 12s, seed 7" in lines[1]
    assert lines[2] == "- delivery.lost == 0: was 31"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_words(verdict):
    assert summary_text(replace(REPORT, verdict=verdict)).startswith(verdict.name)


def test_expectations_show_what_was_measured():
    lines = [" ".join(line.split()) for line in summary_text(REPORT).splitlines()]

    assert "FAILED delivery.lost == 0 31" in lines
    assert "FAILED phase.steady.latency.p99 < 200ms not measured" in lines
    assert "ok node.core.rss < 200MB 88 MB" in lines


def test_numbers_stand_in_rows_for_the_run_and_each_phase():
    lines = [" ".join(line.split()) for line in summary_text(REPORT, histogram()).splitlines()]

    assert "overall 600,000 1.52 3.40 12.4 261" in lines
    assert "(warmup) 600,000 1.52 3.40 12.4 261" in lines
    assert "steady 0 - - - -" in lines
    assert "overall 600,000 599,969 31 5 6 7" in lines
    assert "lost at comet.slow_client 30, job.queue_full 1" in lines
    assert "overall 1,200 3 80 0.10 ms 0.60 ms 2.30 ms" in lines
    assert "comet-1 12 4.02 s 121 MB 30" in lines
    assert "far - - - 0" in lines
    assert "clients 1,999 of 2,000 connected, 998/s, 1 failed, 4 reconnects" in lines
    assert "generator 2 workers, busiest at 41% CPU, loop lag p99 1.20 ms" in lines
    assert any("log scale" in line and "█" in line for line in lines)


def test_messages_that_did_not_reach_everybody_are_said_and_nearly_all_is_not_all():
    fanout = FanoutReport(100_000, 99_999, 99.999, SpreadStats(1.5, 12.25, 40.0))

    text = " ".join(summary_text(replace(REPORT, fanout=fanout)).split())

    assert "99.999% of 100,000 messages to several clients reached all of them; first to last p50 1.50 ms" in text
    assert "several clients" not in summary_text(REPORT)


def test_a_single_phase_is_not_shown_twice():
    one = PhaseReport("steady", 3.0, True, PUBLISH, DELIVERY, LATENCY)

    assert "steady" not in summary_text(replace(REPORT, phases=(one,), expect=(), reasons=()))
    assert "(steady)" in summary_text(replace(REPORT, phases=(replace(one, measure=False),), expect=(), reasons=()))


def test_a_run_without_anything_still_reads():
    text = summary_text(PASSED)

    assert text.startswith("PASS  no expectation was given\n")
    assert "Latency" not in text
    assert "Nodes" not in text


@pytest.mark.parametrize("report", [REPORT, PASSED], ids=["full", "empty"])
def test_it_fits_eighty_columns(report):
    long_names = tuple(replace(phase, name=phase.name + "-of-a-very-long-name") for phase in report.phases)
    report = replace(report, phases=long_names, reasons=("word " * 40,), target="t" * 100)

    assert max(map(len, summary_text(report, histogram()).splitlines())) <= 80


def test_colour_adds_nothing_to_the_words():
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system="standard", highlight=False)

    RunSummary(REPORT, histogram()).render(console)

    assert "\x1b[" in stream.getvalue()
    assert Console(file=io.StringIO(), width=80).render_str(stream.getvalue()) is not None
    assert "\x1b" not in summary_text(REPORT)


def test_a_narrow_terminal_loses_no_name_and_no_number():
    hops = {hop: HopStats(9, 0.97, 1.5, 18.9) for hop in HOPS} | {"job": JobHopStats(9, 0.97, 1.5, 18.9)}
    report = report_of(hops_ms=HopsReport(traced=9, **hops))
    stream = io.StringIO()

    RunSummary(report).render(Console(file=stream, width=40, highlight=False))

    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert max(map(len, lines)) <= 40
    hops = lines[lines.index("Hops, in ms") + 1 :]
    assert [line.split()[0] for line in hops[: len(HOPS) + 1]] == ["messages", *HOPS]
    assert hops[1].split() == ["publish", "9", "0.97", "1.50", "18.9"]
    delivery = " ".join(lines[lines.index("Delivery") + 1 :]).split()
    assert " ".join(delivery).startswith(f"overall: expected {report.delivery.expected:,}, delivered")
    assert "\u2026" not in stream.getvalue()


def test_a_wide_terminal_keeps_the_columns_together():
    stream = io.StringIO()

    RunSummary(REPORT).render(Console(file=stream, width=300, highlight=False, soft_wrap=True))

    assert max(len(line.rstrip()) for line in stream.getvalue().splitlines()) <= 80


def test_the_document_goes_out_as_json():
    assert RunSummary(REPORT).to_json() == REPORT.to_dict()


def test_a_sparkline_shows_where_the_counts_are():
    low, high = sparkline([(1000, 1001, 1), (10**6, 10**6 + 1, 8)], width=10), sparkline(histogram(), width=30)

    assert low == "▁        █"
    assert len(high) == 30
    assert 8 < high.index("█") < 22
    assert sparkline([]) == ""
    assert sparkline([(5, 9, 0)]) == ""
    assert sparkline([(0, 0, 3)], width=4).strip() != ""


def test_a_wide_bucket_leaves_no_gaps():
    assert " " not in sparkline([(1000, 100_000, 40), (100_001, 200_000, 3)], width=20)


@pytest.mark.parametrize("width", [30, 44, 80, 200])
def test_a_comparison_cuts_no_number_and_no_verdict_however_narrow_the_terminal_is(width):
    found = compare_reports(run_of(10), run_of(20), tolerance_percent=10, names=("a.json", "b.json"))
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)

    ComparisonSummary(found).render(console)

    text = " ".join(console.file.getvalue().split())
    assert "…" not in text
    for part in ("latency.p99", "worse", "10 ms", "20 ms", "+100%", "delivery.deliveries_per_s"):
        assert part in text
