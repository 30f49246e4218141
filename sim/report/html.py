"""A report as one HTML file that needs nothing else: no server, no network.

All numbers are in tables, so the page can be read without JavaScript; with it
there are charts (uPlot, which is in the file). The page forbids itself every
request by its own policy, so a report may be opened anywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from sim.report.clocks_table import clocks_table
from sim.report.headline import facts_line, reasons_below, verdict_line
from sim.report.hops_table import hops_table
from sim.report.missing import no_ledger_note
from sim.report.model import RunReport
from sim.report.parts import fanout_table, populations_table, publishers_table
from sim.report.tables import (
    Cell,
    Mark,
    Table,
    baseline_table,
    clients_table,
    curve_table,
    delivery_table,
    events_table,
    expectations_table,
    find_max_table,
    format_ms,
    latency_table,
    machine_table,
    nodes_table,
    percentile_curve,
    publishing_table,
    seconds_table,
)

__all__ = ["html_page"]

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)

_MANY_EVENTS = 30  # more are a list to open
_LOG_FROM = 30.0  # where the worst second's maximum is so many times the median, a linear scale shows a flat line


def html_page(report: RunReport) -> str:
    """Return the page."""
    word, _, _ = verdict_line(report)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{word}: {escape(report.scenario)} - imctl sim</title>",
            f"<style>{_static('uPlot.min.css')}\n{_static('report.css')}</style>",
            "</head>",
            "<body>",
            "<main>",
            *_head(report),
            *_body(report),
            f"<footer>imctl sim, seed {report.seed}, {escape(report.started_at)}. Charts by uPlot (MIT).</footer>",
            "</main>",
            f'<script type="application/json" id="series">{_data(report)}</script>',
            f"<script>{_static('uPlot.iife.min.js')}</script>",
            f"<script>{_static('report.js')}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


@cache
def _static(name: str) -> str:
    return (files("sim.report") / "static" / name).read_text(encoding="utf-8").strip()


def _head(report: RunReport) -> Iterator[str]:
    word, meaning, mark = verdict_line(report)
    kind = word.lower().replace(" ", "-") + " warn" * (mark is Mark.WARN)
    yield f'<h1><span class="verdict {kind}">{word}</span> {escape(report.scenario)}</h1>'
    yield f"<p>{escape(meaning[:1].upper() + meaning[1:])}.</p>"
    yield f'<p class="faint">{escape(facts_line(report))}</p>'
    reasons = reasons_below(report)
    if reasons:
        yield f'<ul class="reasons">{"".join(f"<li>{escape(reason)}</li>" for reason in reasons)}</ul>'
    yield '<dl class="figures">'
    for name, value, bad in _figures(report):
        yield f"<div><dt>{name}</dt><dd{_class('bad') if bad else ''}>{escape(value)}</dd></div>"
    yield "</dl>"


def _figures(report: RunReport) -> Iterator[tuple[str, str, bool]]:
    """Yield the numbers one looks for first: name, value, whether it is a fault."""
    latency, delivery = report.latency_ms, report.delivery
    for name, value in (("latency p50", latency.p50), ("p99", latency.p99), ("max", latency.max)):
        yield name, "-" if value is None else f"{format_ms(value)} ms", False
    if not no_ledger_note(report):
        yield "deliveries/s", f"{delivery.deliveries_per_s:,.0f}", False
        yield "delivered", f"{delivery.delivered:,}", False
        yield "lost", f"{delivery.lost:,}", delivery.lost > 0
        wrong = delivery.duplicated, delivery.reordered, delivery.unexpected
        yield "dup. / reord. / unexp.", " / ".join(f"{count:,}" for count in wrong), any(wrong)
    yield "clients", f"{report.clients.connected:,}", report.clients.failed > 0


def _body(report: RunReport) -> Iterator[str]:
    if report.find_max is not None:
        yield from _section(find_max_table(report.find_max))
    yield from _section(expectations_table(report))
    if report.baseline is not None:
        yield from _section(baseline_table(report.baseline))
    button = '<button type="button" id="log" aria-pressed="false">log scale</button>'
    if report.series:
        note = f'<p class="note">Each second of the run; the bands lie between lines.</p>{_event_list(report)}'
        yield _chart("latency", "Latency over time", button, below=note)
    yield from _section(latency_table(report))
    if report.series:
        yield _chart("traffic", "Deliveries and published messages a second")
    if any(row.lost for row in report.series):
        yield _chart("lost", "Lost deliveries, by the second in which their messages were pushed")
    for table in (delivery_table(report), fanout_table(report), populations_table(report), publishers_table(report)):
        yield from _section(table)
    pair = [_chart("curve", "Percentile curve")] if report.latency_buckets_ms else []
    if report.series:
        pair.append(_chart("connected", "Connected clients"))
    if report.node_series:
        pair += [_chart("cpu", "CPU of the nodes, % of a core"), _chart("memory", "Memory of the nodes, MB")]
    yield f'<div class="pair">{"".join(pair)}</div>'
    for table in (hops_table(report), events_table(report), nodes_table(report), publishing_table(report)):
        yield from _section(table)
    yield from _section(clients_table(report))
    for table in (clocks_table(report), machine_table(report)):
        yield from _section(table)
    for table in (curve_table(report), seconds_table(report), _node_seconds(report)):
        if table is not None:
            yield f"<section><details><summary>{escape(table.title)}</summary>{_table(table)}</details></section>"


def _event_list(report: RunReport) -> str:
    """Return the names of the numbers that stand above the charts' lines."""
    items = (
        f"<li><span>{number}</span>{escape(f'{event.do} {event.target}'.strip())}, {event.at_s:.2f} s</li>"
        for number, event in enumerate(report.events, 1)
    )
    found = f'<ol class="events">{"".join(items)}</ol>'
    if len(report.events) > _MANY_EVENTS:
        return f"<details><summary>{len(report.events):,} events</summary>{found}</details>"
    return found if report.events else ""


def _chart(name: str, title: str, extra: str = "", *, below: str = "") -> str:
    """Return the place of a chart; hidden until the script has something to put there."""
    return (
        f'<section data-chart hidden><div class="chart-head"><h2>{escape(title)}</h2>{extra}</div>'
        f'<div class="chart" id="{name}"></div>{below}</section>'
    )


def _section(table: Table | None) -> Iterator[str]:
    if table is not None:
        yield f"<section><h2>{escape(table.title)}</h2>{_table(table)}</section>"


def _table(table: Table) -> str:
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    if not table.rows:
        return note
    head = "".join(f'<th scope="col"{_text(i, table)}>{escape(name)}</th>' for i, name in enumerate(table.head))
    thead = f"<thead><tr>{head}</tr></thead>" if any(table.head) else ""
    rows = "".join(f"<tr>{''.join(_cell(cell, i, table) for i, cell in enumerate(row))}</tr>" for row in table.rows)
    return f'<div class="wide"><table>{thead}<tbody>{rows}</tbody></table></div>{note}'


def _cell(cell: Cell, column: int, table: Table) -> str:
    text = f"<code>{escape(cell.text)}</code>" if cell.code else escape(cell.text)
    if cell.mark is not Mark.NONE:
        text = f"<span{_class(cell.mark.value)}>{text}</span>"
    tag, scope = ("th", ' scope="row"') if column == 0 and table.texts == 1 else ("td", "")
    return f"<{tag}{scope}{_text(column, table)}>{text}</{tag}>"


def _text(column: int, table: Table) -> str:
    return _class("text") if column < table.texts else ""


def _class(name: str) -> str:
    return f' class="{name}"'


def _node_seconds(report: RunReport) -> Table | None:
    """Return the nodes over time, the newest figures of each in a row; None when there are none."""
    columns = _node_columns(report)
    names = columns["names"]
    if not names:
        return None
    step = -(-len(columns["at_s"]) // 300)
    rows = []
    for i in range(0, len(columns["at_s"]), step):
        cells = [Cell(f"{columns['at_s'][i]:g}")]
        for node in range(len(names)):
            cpu, memory = columns["cpu_percent"][node][i], columns["rss_mb"][node][i]
            cells += [Cell("-" if cpu is None else f"{cpu:.0f}%"), Cell("-" if memory is None else f"{memory:.1f}")]
        rows.append(tuple(cells))
    head = ("second", *(text for name in names for text in (f"{name} CPU", "MB")))
    return Table("Nodes over time", head, tuple(rows))


def _data(report: RunReport) -> str:
    """Return what the charts are drawn from, as JSON that is safe inside a script element."""
    data = {
        "seconds": len(report.series),
        "log": _wants_log(report),
        "phases": _spans(report),
        "events": [{"at_s": event.at_s} for event in report.events],
        "series": {
            name: [getattr(row, name) for row in report.series]
            for name in ("at_s", "p50_ms", "p90_ms", "p99_ms", "max_ms", "delivered", "messages", "lost", "connected")
        },
        "curve": _curve(report),
        "nodes": _node_columns(report),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # "</script" and "<!--" would end or change the element; in JSON only strings can have them.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _wants_log(report: RunReport) -> bool:
    latency = report.latency_ms
    return bool(latency.p50 and latency.max and latency.max / latency.p50 > _LOG_FROM)


def _spans(report: RunReport) -> list[dict[str, Any]]:
    spans, at_s = [], 0.0
    for phase in report.phases:
        spans.append({"name": phase.name, "from_s": at_s, "to_s": at_s + phase.duration_s})
        at_s += phase.duration_s
    return spans


def _curve(report: RunReport) -> dict[str, list[float]]:
    """Return the percentile curve; `nines` is 1 for 90 %, 2 for 99 %, and so on."""
    total = report.latency_ms.count or 1
    nines, values = [], []
    for percent, value in percentile_curve(report):
        # The last share is all of them, infinitely many nines: half a delivery short of it is where the curve ends.
        nines.append(round(-math.log10(max(1 - percent / 100, 0.5 / total)), 4))
        values.append(round(value, 3))
    return {"nines": nines, "ms": values}


def _node_columns(report: RunReport) -> dict[str, Any]:
    """Return the node series as columns over whole seconds, a list a node."""
    names = list(dict.fromkeys(row.name for row in report.node_series))
    at_s = sorted({round(row.at_s) for row in report.node_series})
    place = {second: i for i, second in enumerate(at_s)}
    cpu: Sequence[list[float | None]] = [[None] * len(at_s) for _ in names]
    memory: Sequence[list[float | None]] = [[None] * len(at_s) for _ in names]
    for row in report.node_series:
        node, i = names.index(row.name), place[round(row.at_s)]
        cpu[node][i] = row.cpu_percent
        memory[node][i] = None if row.rss_bytes is None else round(row.rss_bytes / 1e6, 1)
    return {"names": names, "at_s": at_s, "cpu_percent": cpu, "rss_mb": memory}
