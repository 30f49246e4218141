import json
import re
from html.parser import HTMLParser

import pytest

from sim.report.compare import compare_reports
from sim.report.html import html_page
from sim.report.model import EventReport, NodeSeriesRow, RunReport, SeriesRow, Verdict
from tests.sim.report.samples import report_of, run_of

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page, and fails where an element is not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.tags = []
        self.attributes = []
        self.rows = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open or "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def data_of(page):
    match = re.search(r'<script type="application/json" id="series">(.*?)</script>', page)
    return json.loads(match[1])


def test_every_number_is_in_a_table_that_needs_no_script():
    page = Page(html_page(report_of()))

    assert ["FAILED", "delivery.lost == 0", "31"] in page.rows
    assert ["steady", "5,031", "5,000", "31", "5", "6", "7", "400"] in page.rows
    assert ["2", "steady", "1,995", "40", "1,900", "31", "5.00", "8.00", "11.0", "14.5"] in page.rows
    assert ["1", "warmup", "1,999", "40", "0", "-", "-", "-", "-", "-"] in page.rows
    assert ["2", "22%", "88.1", "-", "-"] in page.rows
    assert ["comet-1", "12", "4.00 s", "121 MB", "a.b 30"] in page.rows
    assert ["pause", "comet-1", "2.00 s", "1", "2s"] in page.rows
    assert [row[0] for row in page.rows if row[0].endswith("%")][:3] == ["50%", "75%", "90%"]
    assert "delivery.lost == 0: was 31" in page.text


def test_the_page_needs_and_may_load_nothing_from_outside():
    text = html_page(report_of())
    page = Page(text)

    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name in ("src", "href", "action", "srcset")]
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and name == "content")
    assert policy.startswith("default-src 'none';")
    assert "url(" not in text
    assert "@import" not in text
    assert "uPlot" in page.text


def test_charts_have_the_series():
    data = data_of(html_page(report_of()))

    assert data["series"]["p50_ms"] == [4.0, None, 5.0]
    assert data["series"]["lost"] == [0, None, 31]
    assert data["phases"][1] == {"name": "steady", "from_s": 2.0, "to_s": 12.0}
    assert data["events"] == [{"at_s": 1.25}, {"at_s": 2.0}]
    assert data["nodes"] == {
        "names": ["core", "comet-1"],
        "at_s": [1, 2],
        "cpu_percent": [[20.5, 21.5], [None, None]],
        "rss_mb": [[88.0, 88.1], [None, None]],
    }


def test_events_are_listed_by_their_numbers_and_many_of_them_can_be_opened():
    few = Page(html_page(report_of()))
    kills = tuple(EventReport(float(at_s), "kill", f"comet-{at_s}", 1) for at_s in range(31))
    many = Page(html_page(report_of(events=kills)))

    assert "1disconnect viewers, 1.25 s2pause comet-1, 2.00 s" in few.text
    assert "31 events1kill comet-0, 0.00 s" in many.text
    assert "31kill comet-30, 30.00 s" in many.text
    assert "ol" not in Page(html_page(report_of(events=()))).tags


def test_the_percentile_curve_rises_to_the_largest_value():
    curve = data_of(html_page(report_of()))["curve"]

    assert curve["nines"] == sorted(curve["nines"])
    assert curve["ms"] == sorted(curve["ms"])
    assert curve["ms"][-1] == 100.9
    median = min(range(len(curve["nines"])), key=lambda i: abs(curve["nines"][i] - 0.301))
    assert curve["ms"][median] == pytest.approx(51, rel=0.02)


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--<script>", "<b>&amp;", "\u2028 ' \" \x00"])
def test_names_cannot_become_markup(text):
    report = report_of(
        scenario=text,
        target=text,
        reasons=(text,),
        machine={text: text},
        series=(SeriesRow(0, text, 1, 1, 1, 1.0, 1.0),),
        node_series=(NodeSeriesRow(1.0, text, 1.0, 1),),
    )

    page = html_page(report)

    assert Page(page).tags.count("script") == 3
    assert data_of(page)["nodes"]["names"] == [text]
    assert "<b>" not in page


def test_a_long_run_has_a_short_table():
    rows = tuple(
        SeriesRow(second, "steady", 10, 2, 20, 1.0, float(second), 2.0, float(second), second % 2)
        for second in range(3000)
    )

    page = Page(html_page(report_of(series=rows)))

    assert ["10", "steady", "10", "20", "200", "5", "1.00", "2.00", "19.0", "19.0"] in page.rows
    assert len(page.rows) < 400
    assert "A row is 10 s; its latencies are the worst of its seconds, in ms." in page.text


def test_an_empty_run_is_a_page_too():
    page = html_page(RunReport("a", 1, "t", "x", Verdict.ABORTED))

    assert Page(page).text.count("ABORTED") >= 1
    assert data_of(page)["curve"] == {"nines": [], "ms": []}


def test_the_baseline_is_on_the_page():
    now = run_of(20)
    comparison = compare_reports(run_of(10), now, tolerance_percent=10, names=("main.json", ""))

    page = Page(html_page(run_of(20, baseline=comparison)))

    assert ["latency.p99", "worse", "10 ms", "20 ms", "+100%"] in page.rows
