"""What is made of the numbers of a run: expectations, the verdict, a comparison, a search."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

__all__ = [
    "EXIT_CODES",
    "NOT_JUDGED_EXIT_CODE",
    "SLOWER_EXIT_CODE",
    "Change",
    "ComparedMetric",
    "Comparison",
    "ExpectResult",
    "FindMaxReport",
    "FindMaxStep",
    "Verdict",
]


class Verdict(enum.StrEnum):
    """What a run says about the cluster under test."""

    PASS = "pass"
    FAIL = "fail"  # an expectation does not hold
    INVALID = "invalid"  # the load generator was the bottleneck: the run says nothing
    ABORTED = "aborted"  # a safety limit ended it


EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INVALID: 5, Verdict.ABORTED: 6}
SLOWER_EXIT_CODE = 7
NOT_JUDGED_EXIT_CODE = 9


class Change(enum.StrEnum):
    """What the second of two runs makes of one metric."""

    BETTER = "better"
    SAME = "same"  # within the tolerance, or too small or too uncertain a change to mean anything
    WORSE = "worse"
    NOT_JUDGED = "not_judged"  # the runs are too short to tell
    SHOWN = "shown"  # never judged: it depends on the machine, or on one sample


@dataclass(frozen=True, slots=True)
class ExpectResult:
    """An expectation and what was measured.

    Args:
        expr: As the scenario wrote it.
        value: Measured, in the metric's unit; None when there was nothing to measure, which is never a pass.
        passed: Whether it holds; `pass` in the document. None when nobody knows, as a process of the load generator
            died and its figures with it.
        unit: Unit of `value`; empty for a count. Not in the document: the metric's name there has it.
        reason: Why there is no value; empty when there is one. Not in the document: the run's reasons have it.
    """

    expr: str
    value: float | None
    passed: bool | None = field(metadata={"key": "pass"})
    unit: str = field(default="", metadata={"key": None})
    reason: str = field(default="", metadata={"key": None})


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One metric in two runs.

    Args:
        metric: Its path, as in expectations.
        unit: Of both values; empty for a count.
        a: In the first run, the baseline; null when it was not measured there, as for `b`.
        b: In the second.
        change_percent: From a to b; null when there is no such share (a is 0, or one is missing).
        verdict: What to make of it.
        why: What kept a change beyond the tolerance from being judged; empty when nothing did.
    """

    metric: str
    unit: str
    a: float | None
    b: float | None
    change_percent: float | None
    verdict: Change
    why: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    Args:
        a: What the first is, the baseline: its file.
        b: What the second is; empty for the run that the document is of.
        tolerance_percent: How much worse a metric may be.
        slower: Whether any metric is worse.
        reasons: One line for each metric that is worse.
        notes: What makes the two hard to compare: another load, another machine, a run that was not valid.
        metrics: In the order of a report.
        unjudged: Why no latency could be judged by the tolerance, though both runs have some; empty when one could,
            or there was none.
    """

    a: str
    b: str
    tolerance_percent: float
    slower: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: tuple[ComparedMetric, ...] = ()
    unjudged: str = ""

    @property
    def exit_code(self) -> int:
        """Exit code of a command that compares."""
        if self.slower:
            return SLOWER_EXIT_CODE
        return NOT_JUDGED_EXIT_CODE if self.unjudged else 0


@dataclass(frozen=True, slots=True)
class FindMaxStep:
    """One run of a search for the highest rate.

    Args:
        factor: Every publisher's rate was multiplied by it.
        rate_per_s: What all of them published together by it, over the measured phases.
        p99_ms: Latency; null when nothing was delivered.
        lost: Deliveries that never came.
        verdict: Of this run.
        reason: The weightiest one why it is no pass; empty for a pass.
    """

    factor: float
    rate_per_s: float
    p99_ms: float | None
    lost: int
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FindMaxReport:
    """A search for the highest publish rate that holds the expectations; the rest of the report is of the run at it.

    Args:
        rate_per_s: The highest rate that held; null when none did.
        factor: Of that rate; null as there.
        at_least: The cluster may hold more: it was not the cluster that set the limit.
        limit: What did: the expectation that failed at the next higher rate, the load generator, or the time.
        steps: Every run, in order.
    """

    rate_per_s: float | None
    factor: float | None
    at_least: bool
    limit: str
    steps: tuple[FindMaxStep, ...] = ()
