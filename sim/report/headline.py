"""What stands at the head of a report: the verdict, what it means, and what was run."""

from __future__ import annotations

from sim.language.units import format_duration
from sim.report.model import RunReport, Verdict
from sim.report.tables import Mark
from sim.report.unchecked import unchecked_text

__all__ = ["clients_fact", "facts_line", "reasons_below", "verdict_line"]


def verdict_line(report: RunReport) -> tuple[str, str, Mark]:
    """Return the verdict as a word, what it means, and its mark."""
    found = "every expectation holds" if report.expect else unchecked_text(report) or "no expectation was given"
    if report.slower:
        return "SLOWER", f"{found}, and it is slower than the baseline", Mark.BAD
    if report.unjudged:
        return "NOT JUDGED", f"no latency could be compared with the baseline's: {report.unjudged}", Mark.BAD
    match report.verdict:
        case Verdict.PASS:
            return "PASS", found, Mark.GOOD if report.expect or not unchecked_text(report) else Mark.WARN
        case Verdict.FAIL:
            return "FAIL", "the cluster is not what the scenario expects", Mark.BAD
        case Verdict.INVALID:
            return "INVALID", f"{_fault(report)}: no word on the cluster", Mark.BAD
        case Verdict.ABORTED:
            return "ABORTED", "the run was ended early", Mark.BAD


def _fault(report: RunReport) -> str:
    """Return what made a run invalid."""
    if report.generator.broken:
        return ", ".join(report.generator.broken)
    return "the load generator was the bottleneck" if report.generator.overloaded else "the run did not go as planned"


def clients_fact(report: RunReport) -> str:
    """Return how many clients there were, and of how many when that is not all of them."""
    clients = report.clients
    of = f" of {clients.wanted:,}" if clients.connected < clients.wanted else ""
    return f"{clients.connected:,}{of} clients"


def reasons_below(report: RunReport) -> list[str]:
    """Return the reasons that the verdict's line does not tell already."""
    told = verdict_line(report)[1]
    return [reason for reason in report.reasons if not told.startswith(reason)]


def facts_line(report: RunReport) -> str:
    """Return what was run, in a line: target, clients, length, seed, time."""
    facts = [f"against {report.target}", clients_fact(report)]
    if report.phases:
        facts.append(format_duration(sum(phase.duration_s for phase in report.phases)))
    return ", ".join([*facts, f"seed {report.seed}", report.started_at])
