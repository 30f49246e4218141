"""The page of a report in a real browser: charts are drawn, events are marked, and nothing is asked of a network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from sim.report.html import html_page
from sim.report.model import EventReport, ExpectResult, NodeSeriesRow, SeriesRow
from tests.browser import open_page
from tests.sim.report.samples import report_of

SECONDS = 14
CHARTS = ["latency", "traffic", "lost", "curve", "connected", "cpu", "memory"]

# Of each chart: how many pixels its lines, areas and axes have, and how many have the colour of events.
LOOK = """
(() => {
  const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const tone = getComputedStyle(document.documentElement).getPropertyValue("--seven").trim();
  probe.fillStyle = tone;
  probe.fillRect(0, 0, 1, 1);
  const wanted = probe.getImageData(0, 0, 1, 1).data;
  const found = {};
  document.querySelectorAll(".chart").forEach((box) => {
    const canvas = box.querySelector("canvas");
    if (!canvas) { found[box.id] = null; return; }
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let drawn = 0, marked = 0;
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] > 40) {
        drawn++;
        if ([0, 1, 2].every((c) => Math.abs(data[i + c] - wanted[c]) < 12)) marked++;
      }
    }
    found[box.id] = {drawn, marked, hidden: box.closest("section").hidden};
  });
  return found;
})()
"""


# Every text that now stands on a canvas: what, and from where to where, in pixels of the canvas.
RECORD = """
window.written = new WeakMap();
const drawing = CanvasRenderingContext2D.prototype, write = drawing.fillText, clear = drawing.clearRect;
drawing.clearRect = function () {
  window.written.set(this.canvas, []);
  return clear.apply(this, arguments);
};
drawing.fillText = function (text, x, y) {
  const width = this.measureText(text).width, left = this.textAlign === "center" ? x - width / 2 : x;
  window.written.get(this.canvas).push({text, left, right: left + width, bottom: y, color: this.fillStyle});
  return write.apply(this, arguments);
};
"""

# Of each chart: the numbers of its events, and where its plot begins.
TAGS = """
(() => {
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--seven").trim();
  const found = {};
  document.querySelectorAll(".chart").forEach((box) => {
    const texts = window.written.get(box.querySelector("canvas"));
    const top = parseFloat(box.querySelector(".u-over").style.top);
    found[box.id] = {tags: texts.filter((one) => one.color === probe.fillStyle), top};
  });
  return found;
})()
"""

# What runs over its box, and which tables hide a part of themselves.
OVERFLOW = """
(() => {
  const wide = (box) => box.scrollWidth > box.clientWidth + 1;
  return {
    page: wide(document.documentElement),
    tiles: [...document.querySelectorAll(".figures div")].filter(wide).map((box) => box.textContent),
    tables: [...document.querySelectorAll("section")].filter((section) => {
      const box = section.querySelector(".wide");
      return box && wide(box);
    }).map((section) => section.querySelector("h2, summary").textContent),
  };
})()
"""


def report(*, events=()):
    rows = tuple(
        SeriesRow(at_s, "steady", 100 - at_s, 40, 4000, 2.0 + at_s, 9.0 + at_s, 5.0 + at_s, 20.0, at_s % 3)
        for at_s in range(SECONDS)
    )
    nodes = tuple(
        NodeSeriesRow(float(at_s), name, 20.0 + at_s, 80_000_000)
        for at_s in range(SECONDS)
        for name in ("core", "comet-1")
    )
    return replace(report_of(), series=rows, node_series=nodes, events=tuple(events))


@pytest.fixture
async def page(tmp_path):
    async with open_page(tmp_path) as page:
        yield page


async def look_at(page, tmp_path, report):
    path = tmp_path / "report.html"
    path.write_text(html_page(report), encoding="utf-8")
    await page.open(path.as_uri(), offline=True)
    return await page.evaluate(LOOK)


async def test_every_chart_is_drawn_events_are_marked_and_the_console_is_silent(page, tmp_path):
    events = [EventReport(4.0, "pause", "comet-1", 1, 2.0), EventReport(9.0, "disconnect", "viewers", 400)]

    found = await look_at(page, tmp_path, report(events=events))

    assert [chart for chart in CHARTS if found.get(chart) is None or found[chart]["hidden"]] == []
    assert [chart for chart in CHARTS if found[chart]["drawn"] < 1000] == []
    assert found["latency"]["marked"] > 100
    assert found["traffic"]["marked"] > 100
    assert page.problems == []
    assert page.requests == [(tmp_path / "report.html").as_uri()]


async def test_without_events_nothing_is_marked_and_the_scale_changes_with_the_button(page, tmp_path):
    found = await look_at(page, tmp_path, report())
    await page.evaluate("document.getElementById('log').click()")

    assert found["latency"]["marked"] == 0
    assert await page.evaluate("document.getElementById('log').getAttribute('aria-pressed')") == "true"
    assert (await page.evaluate(LOOK))["latency"]["drawn"] > 1000
    assert page.problems == []


@pytest.mark.parametrize("width", [1200, 420])
async def test_numbers_of_events_are_all_there_above_the_lines_and_never_on_one_another(page, tmp_path, width):
    events = [
        EventReport(at_s, "disconnect", "a-long-name", 4) for at_s in (1.0, 4.0, 4.1, 4.2, 4.4, 4.4, 4.4, 9.0, 13.0)
    ]
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=RECORD)
    await page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    await look_at(page, tmp_path, report(events=events))
    charts = await page.evaluate(TAGS)

    assert set(CHARTS) - {"curve"} <= set(charts)
    for chart in set(CHARTS) - {"curve"}:
        tags = charts[chart]["tags"]
        numbers = [tuple(map(int, tag["text"].split("-"))) for tag in tags]
        told = [number for span in numbers for number in range(span[0], span[-1] + 1)]
        assert told == list(range(1, len(events) + 1)), chart
        assert len(tags) < len(events)
        assert all(one["right"] <= other["left"] for one, other in itertools.pairwise(tags))
        assert all(tag["bottom"] < charts[chart]["top"] for tag in tags)
    listed = await page.evaluate("[...document.querySelectorAll('ol.events li')].map((item) => item.textContent)")
    assert listed[0] == "1disconnect a-long-name, 1.00 s"
    assert len(listed) == len(events)


async def test_on_a_narrow_screen_nothing_runs_over_and_what_was_measured_is_seen(page, tmp_path):
    long = ExpectResult("delivery.lost_percent < 1% from 0ms to 2s after kill comet-1", 6.75, False, "%")
    lossy = replace(report(), expect=(ExpectResult("population.mob.latency.p99 < 500ms", 3934.0, False, "ms"), long))
    await page.call("Emulation.setDeviceMetricsOverride", width=420, height=900, deviceScaleFactor=1, mobile=False)

    await look_at(page, tmp_path, lossy)
    found = await page.evaluate(OVERFLOW)

    assert (found["page"], found["tiles"]) == (False, [])
    assert "Expectations" not in found["tables"]
    assert "Latency" in found["tables"]  # it scrolls, and a shadow at its edge says so
    shadow = await page.evaluate("getComputedStyle(document.querySelector('.wide')).backgroundImage")
    assert shadow.count("linear-gradient") == 4
