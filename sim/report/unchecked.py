"""What went wrong in a run that expected nothing, which passes whatever comes."""

from __future__ import annotations

from sim.report.model import RunReport

__all__ = ["unchecked_text"]


def unchecked_text(report: RunReport) -> str:
    """Return what no expectation was there to catch; empty with expectations, or when nothing went wrong."""
    if report.expect:
        return ""
    delivery = report.delivery
    counts = ((delivery.lost, "lost"), (delivery.duplicated, "duplicated"), (delivery.reordered, "reordered"))
    wrong = [(count, what) for count, what in (*counts, (delivery.unexpected, "unexpected")) if count]
    faults: list[str] = []
    if wrong:
        (count, what), *more = wrong
        were = "message was" if count == 1 else "messages were"
        faults = [f"{count:,} {were} {what}", *(f"{count:,} {what}" for count, what in more)]
    if report.publish.errors:
        faults.append(f"{report.publish.errors:,} push{'es' * (report.publish.errors != 1)} failed")
    if report.clients.failed:
        faults.append(f"{report.clients.failed:,} client{'s' * (report.clients.failed != 1)} could not connect")
    return f"no expectation was given, and {', '.join(faults)}" if faults else ""
