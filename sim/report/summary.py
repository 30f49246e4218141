"""The result of a run on a terminal: the verdict and why, then the numbers, most telling first.

Eighty columns, and every meaning in words as well as in colour, so a log file
or a terminal without colour says the same.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sim.language.units import format_bytes, format_duration
from sim.report.clocks_table import clocks_table
from sim.report.headline import clients_fact, reasons_below, verdict_line
from sim.report.hops_table import hops_table
from sim.report.missing import no_ledger_note
from sim.report.model import (
    Comparison,
    DeliveryReport,
    LatencyStats,
    PhaseReport,
    PublishReport,
    RunReport,
    Verdict,
    plain,
)
from sim.report.tables import (
    Mark,
    baseline_table,
    closed_note,
    expectation_mark,
    find_max_table,
    format_counts,
    format_ms,
)
from sim.report.tables import Table as PlainTable
from sim.scenario.expect import format_value

__all__ = ["ComparisonSummary", "RunSummary", "sparkline", "summary_text"]

WIDTH = 80
_WIDE = 110
_NO_LIMIT = 10_000  # columns, when a table is asked for the room it needs

_STYLES = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red"}
_MARKS = {Mark.GOOD: "green", Mark.WARN: "bold yellow", Mark.BAD: "bold red", Mark.FAINT: "dim", Mark.NONE: ""}

Bucket = tuple[int, int, int]

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A report that a printer can show: render() for people, to_json() for programs.

    Args:
        report: The run.
        buckets: Overall latency as (low ns, high ns, count), for the small histogram; the report's own without.
    """

    report: RunReport
    buckets: Sequence[Bucket] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the result document."""
        return self.report.to_dict()

    def render(self, console: Console) -> None:
        """Print it."""
        # At most 80 columns, so that columns stay near each other on a wide terminal too.
        own = [(int(low * 1e6), int(high * 1e6), count) for low, high, count in self.report.latency_buckets_ms]
        console.print(_summary(self.report, self.buckets or own), width=min(WIDTH, console.width), soft_wrap=False)


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """Two runs side by side, as RunSummary is one."""

    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as the result document has it under `baseline`."""
        document: dict[str, Any] = plain(self.comparison)
        return document

    def render(self, console: Console) -> None:
        """Print it, every metric."""
        found = self.comparison
        word, style = "NOT SLOWER", "bold green"
        if found.slower:
            word, style = "SLOWER", "bold red"
        elif found.unjudged:
            word, style = f"NOT JUDGED: {found.unjudged}", "bold yellow"
        lines: list[RenderableType] = [Text.assemble((word, style), f"  {found.b} against {found.a}")]
        lines += [_bullet(reason, style) for reason in found.reasons]
        lines += [Text(), *_compared(self.comparison, everything=True)]
        console.print(Group(*lines), width=min(_WIDE, console.width), soft_wrap=False)


def summary_text(report: RunReport, buckets: Sequence[Bucket] = ()) -> str:
    """Return the summary as plain text, 80 columns wide."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False, highlight=False)
    with console.capture() as capture:
        RunSummary(report, buckets).render(console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def sparkline(buckets: Iterable[Bucket], width: int = 40) -> str:
    """Return a histogram in one line: left to right the smallest to the largest value, on a logarithmic axis.

    A height is the bar's share of the highest one; any count at all is at
    least the lowest bar. A bucket wider than a bar is spread over what it covers.
    """
    filled = [(math.log(max(low, 1)), math.log(max(high, 2)), count) for low, high, count in buckets if count > 0]
    if not filled:
        return ""
    start = min(low for low, _, _ in filled)
    step = (max(high for _, high, _ in filled) - start) / width
    columns = [0.0] * width
    for low, high, count in filled:
        first = min(int((low - start) / step), width - 1)
        last = min(int((high - start) / step), width - 1)
        for column in range(first, last + 1):
            columns[column] += count / (last - first + 1)
    highest = max(columns)
    return "".join(_BARS[math.ceil(count * len(_BARS) / highest) - 1] if count else " " for count in columns)


def _summary(report: RunReport, buckets: Sequence[Bucket]) -> Group:
    parts: list[RenderableType] = [*_verdict(report)]
    if report.find_max is not None:
        found = find_max_table(report.find_max)
        parts += _section(found.title, *_plain(found))
    parts += _section("Expectations", _expectations(report))
    if report.baseline is not None:
        parts += _section(f"Against the baseline {report.baseline.a}", *_compared(report.baseline, everything=False))
    parts += _section(
        "Latency, planned time to read, in ms", _latency(report), _histogram(report, buckets), _closed(report)
    )
    parts += _section("Delivery", _delivery(report), _delivery_notes(report))
    hops = hops_table(report)
    if hops is not None:
        parts += _section("Hops, in ms", *_plain(hops))
    parts += _section("Publishing", _publishing(report))
    parts += _section("Nodes", _nodes(report))
    parts += _section("Clients and load generator", _generator(report))
    clocks = clocks_table(report)
    if clocks is not None:
        parts += _section(clocks.title, *_plain(clocks))
    return Group(*parts)


def _section(title: str, *parts: RenderableType | None) -> list[RenderableType]:
    shown = [Padding(part, (0, 0, 0, 2)) for part in parts if part is not None]
    return [Text(), Text(title, style="bold"), *shown] if shown else []


def _verdict(report: RunReport) -> list[RenderableType]:
    word, meaning, mark = verdict_line(report)
    uneasy = report.slower or report.unjudged or mark is Mark.WARN
    style = "bold yellow" if uneasy else _STYLES.get(report.verdict, "bold yellow")
    length = format_duration(sum(phase.duration_s for phase in report.phases)) if report.phases else ""
    facts = [f"{report.scenario} against {report.target}", clients_fact(report)]
    if length:
        facts.append(length)
    facts.append(f"seed {report.seed}")
    lines: list[RenderableType] = [Text.assemble((word, style), f"  {meaning}"), Text(", ".join(facts), style="dim")]
    lines += [_bullet(reason, style) for reason in reasons_below(report)]
    return lines


def _bullet(reason: str, style: str) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text("-", style=style), Text(reason))
    return grid


def _expectations(report: RunReport) -> Table | None:
    if not report.expect:
        return None
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for result in report.expect:
        cell = expectation_mark(result)
        value = "not measured" if result.value is None else format_value(result.value, result.unit)
        known = result.passed is not None
        table.add_row(Text(cell.text, style=_MARKS[cell.mark]), result.expr, value if known else result.reason)
    return table


def _compared(comparison: Comparison, *, everything: bool) -> list[RenderableType]:
    return _plain(baseline_table(comparison, everything=everything))


def _plain(found: PlainTable) -> list[RenderableType]:
    """Return a table that formats share; its second column is text that may wrap."""
    parts: list[RenderableType] = [_Fitting(found)] if found.rows else []
    return [*parts, Text(found.note, style="dim")]


@dataclass(frozen=True, slots=True)
class _Fitting:
    """A table that is shown without a second column that only explains, or folded, where it has no room."""

    found: PlainTable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(range(len(self.found.head)))
        if self.found.has_aside and not _fits(table, console, options):
            table = self._table([number for number in range(len(self.found.head)) if number != 1])
        yield _Foldable(table)

    def _table(self, columns: Sequence[int]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
        for number in columns:
            justify: JustifyMethod = "left" if number < self.found.texts else "right"
            table.add_column(self.found.head[number], justify=justify, no_wrap=number != 1)
        for row in self.found.rows:
            cells = (row[number] for number in columns)
            table.add_row(*(Text(cell.text, style=_MARKS[cell.mark]) for cell in cells))
        return table


@dataclass(frozen=True, slots=True)
class _Foldable:
    """A table of numbers that becomes a paragraph a row where it has no room: `overall: expected 20, lost 1`."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if _fits(self.table, console, options):
            yield self.table
            return
        heads = [str(column.header) for column in self.table.columns]
        for name, *cells in zip(*(column.cells for column in self.table.columns), strict=True):
            facts = [f"{head} {cell}".strip() for head, cell in zip(heads[1:], cells, strict=True) if str(cell)]
            yield Text(": ".join(filter(None, [str(name), ", ".join(facts)])))


def _fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    """Whether no cell is cut that may not be."""
    return Measurement.get(console, options.update(max_width=_NO_LIMIT), table).minimum <= options.max_width


def _table(*names: str) -> Table:
    """Return a table whose first column is text and the others are numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(names[0], overflow="fold")
    for name in names[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _latency(report: RunReport) -> RenderableType | None:
    if not report.latency_ms.count and not any(phase.latency_ms.count for phase in report.phases):
        return None
    table = _table("", "deliveries", "p50", "p90", "p99", "max")
    _latency_row(table, Text("overall", style="bold"), report.latency_ms)
    for phase in _rows(report):
        _latency_row(table, _phase_name(phase.name, phase.measure), phase.latency_ms)
    return _Foldable(table)


def _latency_row(table: Table, name: Text, stats: LatencyStats) -> None:
    numbers = (stats.p50, stats.p90, stats.p99, stats.max)
    table.add_row(name, f"{stats.count:,}", *map(format_ms, numbers))


def _rows(report: RunReport) -> Sequence[PhaseReport]:
    """Return the phases to show; the only one, when it is measured, would repeat the overall row."""
    return () if len(report.phases) == 1 and report.phases[0].measure else report.phases


def _phase_name(name: str, measure: bool) -> Text:
    return Text(name) if measure else Text(f"({name})", style="dim")


def _histogram(report: RunReport, buckets: Sequence[Bucket]) -> Text | None:
    line = sparkline(buckets)
    if not line or report.latency_ms.count == 0:
        return None
    return Text.assemble(
        (f"{format_ms(report.latency_ms.min)} ", "dim"),
        (line, "cyan"),
        (f" {format_ms(report.latency_ms.max)} (log scale)", "dim"),
    )


def _delivery(report: RunReport) -> RenderableType | None:
    if no_ledger_note(report):
        return None
    table = _table("", "expected", "delivered", "lost", "duplicated", "reordered", "unexpected")
    _delivery_row(table, Text("overall", style="bold"), report.delivery)
    for phase in _rows(report):
        _delivery_row(table, _phase_name(phase.name, phase.measure), phase.delivery)
    return _Foldable(table)


def _closed(report: RunReport) -> Text | None:
    note = closed_note(report).strip()
    return Text(note, style="dim") if note else None


def _delivery_row(table: Table, name: Text, delivery: DeliveryReport) -> None:
    faults = (delivery.lost, delivery.duplicated, delivery.reordered, delivery.unexpected)
    marked = [Text(f"{fault:,}", style="bold red" if fault else "") for fault in faults]
    table.add_row(name, f"{delivery.expected:,}", f"{delivery.delivered:,}", *marked)


def _delivery_notes(report: RunReport) -> Text:
    if note := no_ledger_note(report):
        return Text(note)
    lines = [Text(f"{format_value(report.delivery.deliveries_per_s, '')} deliveries a second")]
    if any(not phase.measure for phase in report.phases):
        lines[0].append("; phases in brackets are not in the overall row", style="dim")
    places = {place: count for place, count in report.delivery.lost_at.items() if count}
    if places:
        lines.append(Text(f"lost at {format_counts(places)}", style="red"))
    fanout = report.fanout
    if fanout.messages and fanout.complete_percent is not None:
        spread = f"; first to last p50 {format_ms(fanout.spread_ms.p50)} ms, p99 {format_ms(fanout.spread_ms.p99)} ms"
        share = format_value(fanout.complete_percent, "%")
        lines.append(Text(f"{share} of {fanout.messages:,} messages to several clients reached all of them{spread}"))
    return Text("\n").join(lines)


def _publishing(report: RunReport) -> RenderableType | None:
    if not report.publish.messages and not report.publish.errors:
        return None
    table = _table("", "messages", "errors", "per s", "sent late p50", "p99", "max")
    _publish_row(table, Text("overall", style="bold"), report.publish)
    for phase in _rows(report):
        _publish_row(table, _phase_name(phase.name, phase.measure), phase.publish)
    return _Foldable(table)


def _publish_row(table: Table, name: Text, publish: PublishReport) -> None:
    lag = publish.send_lag_ms
    errors = Text(f"{publish.errors:,}", style="bold red" if publish.errors else "")
    late = ("-" if value is None else f"{format_ms(value)} ms" for value in (lag.p50, lag.p99, lag.max))
    table.add_row(name, f"{publish.messages:,}", errors, format_value(publish.rate_per_s, ""), *late)


def _nodes(report: RunReport) -> RenderableType | None:
    if not report.nodes:
        return None
    table = _table("", "pid", "cpu", "memory", "drops")
    for node in report.nodes:
        drops = {place: count for place, count in node.drops.items() if count}
        table.add_row(
            node.name,
            "-" if node.pid is None else str(node.pid),
            "-" if node.cpu_s is None else f"{node.cpu_s:.2f} s",
            "-" if node.rss_bytes is None else format_bytes(node.rss_bytes),
            Text(f"{sum(drops.values()):,}", style="bold red") if drops else "0",
        )
        if drops:
            table.add_row(Text(f"  {format_counts(drops)}", style="red"))
    return _Foldable(table)


def _generator(report: RunReport) -> Table:
    clients, generator = report.clients, report.generator
    grid = Table.grid(padding=(0, 2))
    facts = [f"{clients.connected:,} of {clients.wanted:,} connected", f"{clients.connects_per_s:,.0f}/s"]
    if clients.failed:
        facts.append(f"{clients.failed:,} failed")
    if clients.reconnects:
        facts.append(f"{clients.reconnects:,} reconnects")
    if clients.second_logins:
        facts.append(f"{clients.second_logins:,} second logins")
    if clients.second_logins_failed:
        facts.append(f"{clients.second_logins_failed:,} second logins failed")
    grid.add_row("clients", ", ".join(facts))
    many = "worker" if generator.workers == 1 else "workers"
    grid.add_row(
        "generator",
        f"{generator.workers} {many}, busiest at {generator.cpu_percent:.0f}% CPU, "
        f"loop lag p99 {format_ms(generator.loop_lag_ms)} ms",
    )
    return grid
