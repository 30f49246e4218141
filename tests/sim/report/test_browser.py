"""The page of a report in a real browser: charts are drawn, events are marked, and nothing is asked of a network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.report.html import html_page
from sim.report.model import EventReport, NodeSeriesRow, SeriesRow
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
