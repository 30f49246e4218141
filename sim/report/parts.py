"""Tables of what is looked at from another side: messages as a whole, populations, publishers."""

from __future__ import annotations

from collections.abc import Sequence

from sim.report.model import (
    FanoutReport,
    PopulationReport,
    PublisherReport,
    RunReport,
    SpreadStats,
)
from sim.report.tables import Cell, Mark, Table, fault_cell, format_ms, per_phase
from sim.scenario.expect import format_value

__all__ = ["fanout_table", "populations_table", "publishers_table"]


def fanout_table(report: RunReport) -> Table | None:
    """Return what became of messages to several clients; None when there were none."""
    if not report.fanout.messages:
        return None
    rows = per_phase(report, lambda part: _fanout_cells(part.fanout))
    note = (
        "Messages that several clients had to get: how many reached all of them, and how far apart the first and the "
        "last reader were, in ms."
    )
    head = ("", "messages", "reached all", "share", "spread p50", "p99", "max")
    return Table("Fan-out", head, rows, note=note)


def populations_table(report: RunReport) -> Table | None:
    """Return what each population got; None when there is only one, which the whole run is of."""
    if len(report.populations) < 2:
        return None
    return Table("Populations", ("", *_HEAD), tuple((Cell(one.name), *_part_cells(one)) for one in report.populations))


def publishers_table(report: RunReport) -> Table | None:
    """Return what became of each publisher's messages; None when there is only one."""
    if len(report.publishers) < 2:
        return None
    rows = tuple(
        (Cell(one.name), Cell(f"{one.publish.messages:,}"), fault_cell(one.publish.errors), *_part_cells(one))
        for one in report.publishers
    )
    note = " ".join(
        f"{one.name} has no figures of deliveries: {one.reason}." for one in report.publishers if one.reason
    )
    return Table("Publishers", ("", "messages", "errors", *_HEAD), rows, note=note)


_HEAD = ("expected", "lost", "duplicated", "reordered", "unexpected", "p50 ms", "p99 ms", "max ms")


def _part_cells(one: PopulationReport | PublisherReport) -> tuple[Cell, ...]:
    delivery, latency = one.delivery, one.latency_ms
    if delivery is None or latency is None:
        return (Cell("-"),) * len(_HEAD)
    faults: Sequence[int] = (delivery.lost, delivery.duplicated, delivery.reordered, delivery.unexpected)
    return (
        Cell(f"{delivery.expected:,}"),
        *(fault_cell(count) for count in faults),
        *(Cell(format_ms(number)) for number in (latency.p50, latency.p99, latency.max)),
    )


def _fanout_cells(fanout: FanoutReport) -> tuple[Cell, ...]:
    missed = fanout.complete < fanout.messages
    spread: SpreadStats = fanout.spread_ms
    return (
        Cell(f"{fanout.messages:,}"),
        Cell(f"{fanout.complete:,}", Mark.BAD if missed else Mark.NONE),
        Cell(format_value(fanout.complete_percent, "%")),
        *(Cell(format_ms(number)) for number in (spread.p50, spread.p99, spread.max)),
    )
