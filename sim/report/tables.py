"""What a report shows as tables, in words that every format shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from sim.language.units import format_bytes, format_duration
from sim.report.missing import no_ledger_note
from sim.report.model import (
    Change,
    ClientsReport,
    ComparedMetric,
    Comparison,
    DeliveryReport,
    ExpectResult,
    FindMaxReport,
    LatencyStats,
    Loop,
    PhaseReport,
    PublishReport,
    RunReport,
    SeriesRow,
    Verdict,
)
from sim.scenario.expect import format_value

__all__ = [
    "Cell",
    "Mark",
    "Table",
    "baseline_table",
    "clients_table",
    "closed_note",
    "curve_table",
    "delivery_table",
    "events_table",
    "expectation_mark",
    "expectations_table",
    "fault_cell",
    "find_max_table",
    "format_counts",
    "format_ms",
    "latency_table",
    "machine_table",
    "nodes_table",
    "per_phase",
    "percentile_curve",
    "publishing_table",
    "seconds_table",
]

MAX_SECONDS_ROWS = 300
"""A longer run has more than a second in each row of seconds_table()."""


class Mark(Enum):
    """What to make of a cell beyond its text; formats may show it in colour, never by that alone."""

    NONE = ""
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table. `code`: what the user wrote, such as an expectation."""

    text: str
    mark: Mark = Mark.NONE
    code: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report.

    Args:
        title: Its heading.
        head: Names of the columns.
        rows: Each as long as `head`.
        texts: How many columns at the left are text; the others are numbers.
        note: A sentence below it; empty for none.
        has_aside: The second column only explains the first: where there is no room it may be left out.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: int = 1
    note: str = ""
    has_aside: bool = False


def expectations_table(report: RunReport) -> Table | None:
    """Return each expectation with what was measured; None when there are none."""
    if not report.expect:
        return None
    rows = tuple(
        (
            expectation_mark(one),
            Cell(one.expr, code=True),
            Cell(one.reason or "not measured" if one.value is None else format_value(one.value, one.unit)),
        )
        for one in report.expect
    )
    return Table("Expectations", ("", "expected", "measured"), rows, texts=2)


def expectation_mark(result: ExpectResult) -> Cell:
    """Return whether an expectation holds, in a word."""
    if result.passed is None:
        return Cell("unknown", Mark.WARN)
    return Cell("ok", Mark.GOOD) if result.passed else Cell("FAILED", Mark.BAD)


def latency_table(report: RunReport) -> Table | None:
    """Return latency of the run and of each phase; None when nothing was delivered."""
    if not report.latency_ms.count and not any(phase.latency_ms.count for phase in report.phases):
        return None
    note = f"From the planned send time to the moment the client read it, in ms.{closed_note(report)}"
    head = ("", "deliveries", "min", "p50", "p90", "p95", "p99", "p99.9", "max")
    rows = per_phase(report, lambda part: _latency_cells(part.latency_ms))
    return Table("Latency", head, rows, note=note + _brackets(report))


def closed_note(report: RunReport) -> str:
    """Return what to know of the latency of closed loops, as a sentence behind another; empty without any."""
    names = ", ".join(publisher.name for publisher in report.publishers if publisher.loop is Loop.CLOSED)
    return f" Closed loop, so from the actual send and not on a schedule: {names}." if names else ""


def delivery_table(report: RunReport) -> Table:
    """Return the ledger of the run and of each phase."""
    head = ("", "expected", "delivered", "lost", "duplicated", "reordered", "unexpected", "per s")
    note = _brackets(report).strip()
    places = {place: count for place, count in report.delivery.lost_at.items() if count}
    if places:
        note = f"Lost at {format_counts(places)}. {note}".rstrip()
    if missing := no_ledger_note(report):
        unknown = (Cell("-"),) * (len(head) - 1)
        return Table("Delivery", head, per_phase(report, lambda _: unknown), note=missing)
    return Table("Delivery", head, per_phase(report, lambda part: _delivery_cells(part.delivery)), note=note)


def publishing_table(report: RunReport) -> Table | None:
    """Return pushes of the run and of each phase; None when there were none."""
    if not report.publish.messages and not report.publish.errors:
        return None
    head = ("", "messages", "errors", "per s", "late p50", "late p99", "late max")
    rows = per_phase(report, lambda part: _publish_cells(part.publish))
    return Table("Publishing", head, rows, note="Late: from the planned time to the moment a push began, in ms.")


def nodes_table(report: RunReport) -> Table | None:
    """Return the nodes under test; None when nobody could ask them."""
    if not report.nodes:
        return None
    rows = []
    for node in report.nodes:
        drops = {place: count for place, count in node.drops.items() if count}
        rows.append(
            (
                Cell(node.name),
                Cell("-" if node.pid is None else str(node.pid)),
                Cell("-" if node.cpu_s is None else f"{node.cpu_s:.2f} s"),
                Cell("-" if node.rss_bytes is None else format_bytes(node.rss_bytes)),
                Cell(format_counts(drops), Mark.BAD) if drops else Cell("0"),
            )
        )
    return Table("Nodes", ("", "pid", "CPU", "memory", "drops"), tuple(rows))


def events_table(report: RunReport) -> Table | None:
    """Return what was done to clients and nodes; None when nothing was."""
    if not report.events:
        return None
    rows = tuple(
        (
            Cell(event.do),
            Cell(event.target),
            Cell(f"{event.at_s:.2f} s"),
            Cell(f"{event.count:,}"),
            Cell("-" if event.for_s is None else format_duration(event.for_s)),
        )
        for event in report.events
    )
    return Table("Events", ("", "who", "at", "how many", "for"), rows, texts=2)


def _provoked_rows(clients: ClientsReport) -> list[tuple[str, str, Mark]]:
    """Return the rows of what only few scenarios have."""
    failed = clients.second_logins_failed
    rows = [
        ("connections ended as provoked", clients.provoked, Mark.NONE),
        ("second logins", clients.second_logins, Mark.NONE),
        ("second logins failed", failed, Mark.BAD),
    ]
    return [(name, f"{count:,}", mark) for name, count, mark in rows if count]


def clients_table(report: RunReport) -> Table:
    """Return the clients and the health of the load generator."""
    clients, generator = report.clients, report.generator
    rows = [
        ("clients connected", f"{clients.connected:,} of {clients.wanted:,}", Mark.NONE),
        ("clients failed", f"{clients.failed:,}", Mark.BAD if clients.failed else Mark.NONE),
        ("connects a second", format_value(clients.connects_per_s, ""), Mark.NONE),
        ("connections that ended unwanted", f"{clients.disconnected:,}", Mark.NONE),
        ("reconnects", f"{clients.reconnects:,}", Mark.NONE),
        *_provoked_rows(clients),
        ("generator workers", f"{generator.workers:,}", Mark.NONE),
        ("busiest generator process, CPU", f"{generator.cpu_percent:.0f}%", Mark.NONE),
        ("generator loop lag p99", f"{format_ms(generator.loop_lag_ms)} ms", Mark.NONE),
    ]
    return Table(
        "Clients and load generator", ("", ""), tuple((Cell(name), Cell(text, mark)) for name, text, mark in rows)
    )


def machine_table(report: RunReport) -> Table | None:
    """Return what the load generator ran on."""
    rows = tuple((Cell(key.replace("_", " ")), Cell("-" if v is None else str(v))) for key, v in report.machine.items())
    return Table("Machine of the load generator", ("", ""), rows, texts=2) if rows else None


def baseline_table(comparison: Comparison, *, everything: bool = False) -> Table:
    """Return metrics of two runs; only those that changed, or that had to be explained, unless all are asked for."""
    shown = [one for one in comparison.metrics if everything or _is_telling(one, comparison.tolerance_percent)]
    count = {change: sum(one.verdict is change for one in comparison.metrics) for change in Change}
    note = (
        f"{count[Change.WORSE]} worse, {count[Change.BETTER]} better, {count[Change.SAME]} the same, "
        f"{count[Change.NOT_JUDGED]} not judged (tolerance {comparison.tolerance_percent:g}%)."
    )
    rows = tuple(_compared_cells(one) for one in shown)
    head = ("metric", "", "baseline", "this run" if not comparison.b else "second", "change")
    note = " ".join([note, *(f"{text[:1].upper()}{text[1:]}." for text in comparison.notes)])
    return Table("Against the baseline", head, rows, texts=2, note=note)


def _is_telling(one: ComparedMetric, tolerance_percent: float) -> bool:
    """Whether it changed, or would have if it could be judged."""
    if one.verdict in (Change.BETTER, Change.WORSE):
        return True
    return bool(one.why) and one.change_percent is not None and abs(one.change_percent) > tolerance_percent


def find_max_table(found: FindMaxReport) -> Table:
    """Return every run of a search for the highest rate, the lowest rate first, and what was found."""
    rows = tuple(
        (
            Cell(str(step.verdict), Mark.GOOD if step.verdict is Verdict.PASS else Mark.BAD),
            Cell(step.reason),
            Cell(f"x{step.factor:g}"),
            Cell(format_value(step.rate_per_s, "")),
            Cell(format_ms(step.p99_ms)),
            fault_cell(step.lost),
        )
        for step in sorted(found.steps, key=lambda step: step.factor)
    )
    if found.rate_per_s is None:
        note = f"No rate that was tried holds the expectations: {found.limit}."
    else:
        word = "at least " if found.at_least else ""
        note = f"Holds {word}{format_value(found.rate_per_s, '/s')} (x{found.factor:g}): {found.limit}."
    return Table("Highest rate", ("", "why", "rates", "per s", "p99 ms", "lost"), rows, texts=2, note=note)


def seconds_table(report: RunReport) -> Table | None:
    """Return the series, in at most MAX_SECONDS_ROWS rows; None when there is none."""
    if not report.series:
        return None
    step = -(-len(report.series) // MAX_SECONDS_ROWS)
    chunks = (report.series[start : start + step] for start in range(0, len(report.series), step))
    rows = tuple(_second_cells(chunk) for chunk in chunks)
    note = f"A row is {step} s; its latencies are the worst of its seconds, in ms." if step > 1 else "Latencies in ms."
    head = ("second", "phase", "connected", "messages", "delivered", "lost", "p50", "p90", "p99", "max")
    return Table("Second by second", head, rows, texts=2, note=note)


def curve_table(report: RunReport) -> Table | None:
    """Return the percentile curve at the shares people ask for; None without a histogram."""
    curve = percentile_curve(report)
    if not curve:
        return None
    rows = []
    total = report.latency_ms.count
    for percent in (50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 99.999, 100):
        if percent == 100 or total * (100 - percent) / 100 >= 1:
            value = next(value for share, value in curve if share >= percent - 1e-9 or share == curve[-1][0])
            rows.append((Cell(f"{percent}%"), Cell(format_ms(value))))
    return Table("Percentiles", ("of the deliveries", "at most, ms"), tuple(rows))


def percentile_curve(report: RunReport) -> list[tuple[float, float]]:
    """Return (percent of the deliveries, latency in ms that they do not exceed), rising to 100."""
    total = sum(count for _, _, count in report.latency_buckets_ms)
    seen = 0
    curve: list[tuple[float, float]] = []
    for _, high, count in report.latency_buckets_ms:
        seen += count
        # No percentile is over the largest value, which is known exactly.
        curve.append((seen / total * 100, min(high, report.latency_ms.max or high)))
    return curve


def format_counts(counts: Mapping[str, int]) -> str:
    """Return `comet.slow_client 12, job.queue_full 3`, the largest first."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{place} {count:,}" for place, count in ordered)


def format_ms(value: float | None) -> str:
    """Return milliseconds with the digits that matter: `0.42`, `6.1`, `255`."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def per_phase(
    report: RunReport, cells: Callable[[RunReport | PhaseReport], tuple[Cell, ...]]
) -> tuple[tuple[Cell, ...], ...]:
    """Return a row for the run and one a phase; the only phase, when it is measured, would repeat the first row."""
    rows = [(Cell("overall"), *cells(report))]
    if len(report.phases) != 1 or not report.phases[0].measure:
        for phase in report.phases:
            name = Cell(phase.name) if phase.measure else Cell(f"({phase.name})", Mark.FAINT)
            rows.append((name, *cells(phase)))
    return tuple(rows)


def _brackets(report: RunReport) -> str:
    return "" if all(phase.measure for phase in report.phases) else " Phases in brackets are not in the overall row."


def _latency_cells(stats: LatencyStats) -> tuple[Cell, ...]:
    numbers = (stats.min, stats.p50, stats.p90, stats.p95, stats.p99, stats.p999, stats.max)
    return (Cell(f"{stats.count:,}"), *(Cell(format_ms(number)) for number in numbers))


def _delivery_cells(delivery: DeliveryReport) -> tuple[Cell, ...]:
    faults = (delivery.lost, delivery.duplicated, delivery.reordered, delivery.unexpected)
    return (
        Cell(f"{delivery.expected:,}"),
        Cell(f"{delivery.delivered:,}"),
        *(fault_cell(count) for count in faults),
        Cell(format_value(delivery.deliveries_per_s, "")),
    )


def _publish_cells(publish: PublishReport) -> tuple[Cell, ...]:
    lag = publish.send_lag_ms
    return (
        Cell(f"{publish.messages:,}"),
        fault_cell(publish.errors),
        Cell(format_value(publish.rate_per_s, "")),
        *(Cell(format_ms(number)) for number in (lag.p50, lag.p99, lag.max)),
    )


def _second_cells(rows: Sequence[SeriesRow]) -> tuple[Cell, ...]:
    first = rows[0]
    lost = [row.lost for row in rows if row.lost is not None]
    columns = [[row.p50_ms for row in rows], [row.p90_ms for row in rows], [row.p99_ms for row in rows]]
    columns.append([row.max_ms for row in rows])
    worst = (max((value for value in column if value is not None), default=None) for column in columns)
    return (
        Cell(f"{first.at_s}"),
        Cell(first.phase or "-"),
        Cell(f"{min(row.connected for row in rows):,}"),
        Cell(f"{sum(row.messages for row in rows):,}"),
        Cell(f"{sum(row.delivered for row in rows):,}"),
        fault_cell(sum(lost)) if lost else Cell("-"),
        *(Cell(format_ms(value)) for value in worst),
    )


def _compared_cells(one: ComparedMetric) -> tuple[Cell, ...]:
    marks = {Change.WORSE: Mark.BAD, Change.BETTER: Mark.GOOD, Change.SHOWN: Mark.FAINT}
    word = one.verdict.replace("_", " ")
    return (
        Cell(one.metric, code=True),
        Cell(f"{word}, {one.why}" if one.why else word, marks.get(one.verdict, Mark.NONE)),
        Cell(format_value(one.a, one.unit)),
        Cell(format_value(one.b, one.unit)),
        Cell("-" if one.change_percent is None else f"{one.change_percent:+,.0f}%"),
    )


def fault_cell(count: int) -> Cell:
    """Return a count of something that should not be."""
    return Cell(f"{count:,}", Mark.BAD if count else Mark.NONE)
