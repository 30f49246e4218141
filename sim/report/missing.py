"""What a run cannot tell, since the process of the load generator that knew it died."""

from __future__ import annotations

from sim.report.model import RunReport

__all__ = ["no_ledger_note"]


def no_ledger_note(report: RunReport) -> str:
    """Return why nobody knows what was to be delivered, and what was read; empty where the ledger is whole."""
    lost = next((what for what in report.generator.broken if what.startswith("publisher ")), "")
    if not lost:
        return ""
    read = sum(phase.latency_ms.count for phase in report.phases)
    return f"Not known: the {lost}, so nobody can tell what was to be delivered. Clients read {read:,} messages."
