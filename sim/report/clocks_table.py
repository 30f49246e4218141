"""The clocks of a run on several machines as a table."""

from __future__ import annotations

from sim.report.model import RunReport
from sim.report.tables import Cell, Table, format_ms

__all__ = ["clocks_table"]


def clocks_table(report: RunReport) -> Table | None:
    """Return how the workers' clocks compare with the publisher's; None where all have the same one."""
    others = [clock for clock in report.clocks if clock.bound_ms]
    if not others:
        return None
    rows = tuple(
        (Cell(clock.worker), Cell(f"{clock.offset_ms:+,.3f}"), Cell(f"±{format_ms(clock.bound_ms)}"))
        for clock in others
    )
    worst = format_ms(max(clock.bound_ms for clock in others))
    note = f"Latencies read by these have been corrected, and are right to {worst} ms."
    return Table(
        "Clocks of the workers, ahead of the publisher's, in ms", ("", "ahead", "at most wrong by"), rows, note=note
    )
