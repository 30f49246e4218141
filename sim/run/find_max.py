"""The highest publish rate that holds a scenario's expectations.

The same scenario runs again and again against the same cluster, each time with
every publisher's rate multiplied by another factor: 1, 2, 4 and so on until a
run does not pass (or 1/2, 1/4 and so on until one does), then between the
highest factor that passed and the lowest that did not, until these two are
within the resolution. The middle is the geometric one: what matters is how
many times as much a cluster carries.

A run that is invalid ends the climb as one that failed does, for it says
nothing of the cluster; when it stands right above the highest rate that
passed, that rate is one that the cluster holds at least.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sim.errors import Problem, ScenarioError
from sim.report.model import FindMaxReport, FindMaxStep, RunReport, Verdict
from sim.scenario.expect import format_value
from sim.scenario.scenario import Scenario
from sim.scenario.shapes import planned_messages

__all__ = ["SearchLimits", "check_searchable", "find_max", "mean_rate_per_s", "scale_publish", "step_line"]

_OUT_OF_TIME = "the time was up before a higher rate was tried"
_OUT_OF_RUNS = "{runs} runs were made, and no higher rate was tried"


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """When a search ends.

    Args:
        time_s: No run begins that would end after it, judged by the longest one so far. The first always begins.
        runs: Most runs.
        resolution: The answer is found when the lowest rate that does not hold is at most this share above it.
        lowest: The smallest factor that is tried.
        rest_s: Pause after a run that did not pass, so that what it left behind is not in the next.
    """

    time_s: float = 300.0
    runs: int = 24
    resolution: float = 0.1
    lowest: float = 1 / 64
    rest_s: float = 1.0


def check_searchable(scenario: Scenario) -> None:
    """Find out before anything starts whether a search can find something.

    Raises:
        ScenarioError: nothing is published while it is measured, some of it in a closed loop, or nothing is expected.
    """
    problems = []
    closed = [publisher.name for publisher in scenario.publish if publisher.closed is not None]
    if closed:
        message = f"{', '.join(closed)}: the rate of a closed loop is a result; --find-max needs one to raise"
        problems.append(Problem(scenario.path, 0, 0, "publish", message, "rate: 40/s in place of closed"))
    elif mean_rate_per_s(scenario) <= 0:
        message = "nothing is published in a measured phase; --find-max needs a rate to raise"
        problems.append(Problem(scenario.path, 0, 0, "publish", message))
    if not scenario.expect:
        message = "nothing is expected; --find-max needs what must hold"
        problems.append(Problem(scenario.path, 0, 0, "expect", message, "expect: [delivery.lost == 0]"))
    if problems:
        raise ScenarioError(problems)


def mean_rate_per_s(scenario: Scenario) -> float:
    """Return what all publishers send a second, over the measured phases."""
    measured = [phase for phase in scenario.phases if phase.measure]
    messages = sum(planned_messages(publisher, phase) for publisher in scenario.publish for phase in measured)
    return messages / scenario.measured_s if measured else 0.0


def scale_publish(scenario: Scenario, factor: float) -> Scenario:
    """Return the scenario with every publisher's rate multiplied in every phase, those that are not measured too."""
    phases = tuple(
        replace(
            phase,
            publish_factor=phase.publish_factor * factor,
            publish_factor_end=None if phase.publish_factor_end is None else phase.publish_factor_end * factor,
        )
        for phase in scenario.phases
    )
    return replace(scenario, phases=phases)


async def find_max(
    run_once: Callable[[float], Awaitable[RunReport]],
    *,
    rate_per_s: float,
    limits: SearchLimits = SearchLimits(),
    clock: Callable[[], float] = time.monotonic,
    on_step: Callable[[FindMaxStep], None] = lambda step: None,
) -> RunReport:
    """Search, and return the report of the run at the highest rate that passed, with `find_max` in it.

    When none passed it is the report of the run at the lowest rate.

    Args:
        run_once: Runs the scenario with its rates multiplied by a factor.
        rate_per_s: The rate where the factor is 1.
        limits: When it ends.
        clock: Seconds.
        on_step: Told of each run when it is over.
    """
    search = _Search(rate_per_s, limits)
    end_s = clock() + limits.time_s
    longest_s = 0.0
    ended_by = ""
    while (factor := search.next_factor()) is not None:
        if len(search.steps) >= limits.runs:
            ended_by = _OUT_OF_RUNS.format(runs=limits.runs)
            break
        began_s = clock()
        if began_s + longest_s > end_s:
            ended_by = _OUT_OF_TIME
            break
        step = search.add(factor, await run_once(factor))
        on_step(step)
        if step.verdict is not Verdict.PASS and limits.rest_s:
            await asyncio.sleep(limits.rest_s)
        longest_s = max(longest_s, clock() - began_s)
    return search.report(ended_by)


def step_line(step: FindMaxStep) -> str:
    """Return a step as a line for people."""
    verdict = f"{step.verdict}: {step.reason}" if step.reason else str(step.verdict)
    rate, p99 = format_value(step.rate_per_s, "/s"), format_value(step.p99_ms, "ms")
    return f"x{step.factor:<8g} {rate:>11}  p99 {p99:>8}  lost {step.lost:,}  {verdict}"


class _Search:
    """What is known so far, and which factor is to be tried next."""

    def __init__(self, rate_per_s: float, limits: SearchLimits) -> None:
        self.steps: list[FindMaxStep] = []
        self._rate_per_s = rate_per_s
        self._limits = limits
        self._low: tuple[FindMaxStep, RunReport] | None = None
        """The highest that passed."""
        self._high: tuple[FindMaxStep, RunReport] | None = None
        """The lowest that did not."""

    def next_factor(self) -> float | None:
        """Return what to try, None when the answer is known as well as was asked for."""
        if self._high is None:
            return 1.0 if self._low is None else self._low[0].factor * 2
        high = self._high[0].factor
        if self._low is None:
            return high / 2 if high / 2 >= self._limits.lowest else None
        low = self._low[0].factor
        if high <= low * (1 + self._limits.resolution):
            return None
        return float(f"{math.sqrt(low * high):.4g}")

    def add(self, factor: float, report: RunReport) -> FindMaxStep:
        """Note a run."""
        step = FindMaxStep(
            factor=factor,
            rate_per_s=round(self._rate_per_s * factor, 3),
            p99_ms=report.latency_ms.p99,
            lost=report.delivery.lost,
            verdict=report.verdict,
            reason="" if report.verdict is Verdict.PASS else next(iter(report.reasons), ""),
        )
        self.steps.append(step)
        if report.verdict is Verdict.PASS:
            self._low = (step, report)
        else:
            self._high = (step, report)
        return step

    def report(self, ended_by: str) -> RunReport:
        """Return the best run with the search.

        Args:
            ended_by: What ended it before the answer was known well enough; empty when it was.
        """
        best = self._low or self._high
        assert best is not None, "the first run always begins"
        step = self._low[0] if self._low is not None else None
        of_cluster = self._high is not None and self._high[0].verdict is not Verdict.INVALID
        found = FindMaxReport(
            rate_per_s=step.rate_per_s if step is not None else None,
            factor=step.factor if step is not None else None,
            # Out of time between two rates, one held and one not: it may still be a little more.
            at_least=step is not None and (not of_cluster or bool(ended_by)),
            limit=self._limit(ended_by),
            steps=tuple(self.steps),
        )
        return replace(best[1], find_max=found)

    def _limit(self, ended_by: str) -> str:
        if self._high is None:
            return ended_by
        step = self._high[0]
        what = f"at {format_value(step.rate_per_s, '/s')} {step.reason or step.verdict}"
        return f"{what}; {ended_by}" if ended_by else what
