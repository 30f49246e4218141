"""The hops of a run's followed messages as a table."""

from __future__ import annotations

from sim.report.hops import HOPS, HopStats
from sim.report.model import RunReport
from sim.report.tables import Cell, Mark, Table, format_ms

__all__ = ["hops_table"]

_MEANING = {
    "publish": "planned time to logic",
    "logic": "to the bus",
    "bus": "to job",
    "job": "to comet",
    "comet": "to the socket",
    "wire": "to the client",
    "total": "all of it",
}


def hops_table(report: RunReport) -> Table | None:
    """Return the time of each hop; None where there is nothing to say."""
    hops = report.hops_ms
    head = ("", "", "messages", "p50", "p99", "max")
    if not hops.traced:
        return Table("Hops", head, (), texts=2, note=f"Not measured: {hops.reason}.") if hops.reason else None
    rows = []
    for name in HOPS:
        stats: HopStats = getattr(hops, name)
        meaning = _MEANING[name]
        if name == "job" and hops.job.batching_percent is not None:
            meaning += f", {hops.job.batching_percent:.0f}% of it for room batches"
        numbers = (Cell(format_ms(value)) for value in (stats.p50, stats.p99, stats.max))
        mark = Mark.NONE if stats.count else Mark.FAINT
        rows.append((Cell(name, mark), Cell(meaning, mark), Cell(f"{stats.count:,}"), *numbers))
    note = f"Of {hops.traced:,} followed messages, each the mean over its receivers, in ms."
    if hops.reason:
        note += f" {hops.reason[:1].upper()}{hops.reason[1:]}."
    return Table("Hops", head, tuple(rows), texts=2, note=note, has_aside=True)
