from sim.report.clocks_table import clocks_table
from sim.report.html import html_page
from sim.report.markdown import markdown_text
from sim.report.model import ClockReport
from sim.report.summary import summary_text
from tests.sim.report.samples import report_of

SAME = ClockReport("worker 1 (a, pid 1)")
OTHER = ClockReport("worker 2 (b, pid 2)", -12.5, 0.42)


def test_only_clocks_that_are_not_the_publishers_are_shown_with_their_bound():
    table = clocks_table(report_of(clocks=(SAME, OTHER)))

    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [["worker 2 (b, pid 2)", "-12.500", "±0.42"]]
    assert "right to 0.42 ms" in table.note


def test_there_is_no_table_where_all_have_one_clock():
    assert clocks_table(report_of()) is None
    assert clocks_table(report_of(clocks=(SAME,))) is None


def test_every_report_for_people_has_the_clocks():
    report = report_of(clocks=(SAME, OTHER))

    for text in (summary_text(report), markdown_text(report), html_page(report)):
        assert "Clocks of the workers" in text
        assert "-12.500" in text.replace("\\", "")
