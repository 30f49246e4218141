"""Runs cases side by side and judges them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence

from imctl.conform.case import Case, Result, SilentError, SkipCase, UnexpectedError, Verdict
from imctl.conform.lab import Lab, Wires
from imctl.conform.report import Report
from imctl.conform.target import PARTS, Target

__all__ = ["run_cases"]

_AT_ONCE = 24
_SILENT_AT_MOST = 4
"""Cases in a row that a part may leave without any answer before no more of its cases are tried."""


async def run_cases(
    target: Target,
    cases: Sequence[Case],
    *,
    wait_s: float = 5.0,
    slow: bool = False,
    risky: bool = False,
    on_result: Callable[[Result], None] = lambda result: None,
) -> Report:
    """Run the cases whose parts are given, and return the verdicts in the order of the cases.

    Args:
        target: Parts that are not given are not tested; their cases are skipped.
        cases: Which.
        wait_s: Longest wait for one answer of a node.
        slow: Also the slow ones.
        risky: Also those that can harm a goim with the defect they look for.
        on_result: Called with each verdict as it comes.
    """
    began_s = time.monotonic()
    async with Wires(target) as wires:
        runner = _Runner(wires, wait_s=wait_s, slow=slow, risky=risky, on_result=on_result)
        # The slow ones first: they mostly wait, and the others run beside them.
        order = sorted(range(len(cases)), key=lambda index: not cases[index].slow)
        async with asyncio.TaskGroup() as group:
            tasks = {
                index: group.create_task(runner.run(cases[index]), name=f"case {cases[index].id}") for index in order
            }
    results = tuple(tasks[index].result() for index in range(len(cases)))
    return Report(target, results, time.monotonic() - began_s)


class _Runner:
    """Runs one case after another, some at a time."""

    def __init__(
        self, wires: Wires, *, wait_s: float, slow: bool, risky: bool, on_result: Callable[[Result], None]
    ) -> None:
        self._wires = wires
        self._wait_s = wait_s
        self._slow = slow
        self._risky = risky
        self._on_result = on_result
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._seed = secrets.randbits(64)
        self._silent: Counter[str] = Counter()

    async def run(self, case: Case) -> Result:
        result = self._skipped(case)
        if result is None and case.slow:
            result = await self._judge(case)  # without a place: it only waits
        elif result is None:
            async with self._places:
                result = self._gone(case) or await self._judge(case)
        self._on_result(result)
        return result

    def _skipped(self, case: Case) -> Result | None:
        missing = self._wires.target.missing(case.needs)
        if missing:
            return Result(case, Verdict.SKIPPED, note=f"no address of {' and '.join(missing)} given")
        if case.slow and not self._slow:
            return Result(case, Verdict.SKIPPED, note="slow: only with --slow")
        if case.risky and not self._risky:
            return Result(case, Verdict.SKIPPED, note="can harm a Go comet: only with --risky")
        return None

    def _gone(self, case: Case) -> Result | None:
        for part in case.needs:
            if self._silent[part] >= _SILENT_AT_MOST:
                note = f"{PARTS[part]} left {_SILENT_AT_MOST} cases in a row without an answer"
                return Result(case, Verdict.SKIPPED, note=note)
        return None

    async def _judge(self, case: Case) -> Result:
        began_s = time.monotonic()
        self._seed += 1
        verdict, note = None, ""
        async with Lab(self._wires, seed=self._seed, wait_s=self._wait_s) as lab:
            try:
                async with asyncio.timeout(case.limit_s):
                    got = await case.run(lab)
            except SkipCase as exc:
                verdict, got, note = Verdict.SKIPPED, "", str(exc)
            except Exception as exc:
                # Whatever a node does must end in a verdict; an answer of another shape than any
                # that was thought of shows as the KeyError or TypeError of who reads it.
                got = lab.plain(self._trouble(case, exc))
            else:
                for part in case.needs:
                    self._silent[part] = 0
        if verdict is None:
            verdict, note = _verdict(case, got)
        return Result(case, verdict, got, note, (time.monotonic() - began_s) * 1000)

    def _trouble(self, case: Case, exc: Exception) -> str:
        """Return what an error says of the node."""
        match exc:
            case ExceptionGroup():
                return self._trouble(case, exc.exceptions[0])
            case SilentError():
                if not exc.seen:
                    self._silent[exc.part] += 1
                return str(exc)
            case UnexpectedError():
                return str(exc)
            case TimeoutError():
                return f"not done within {case.limit_s:g} s"
            case OSError():
                return f"{exc.strerror or exc}"
            case _:
                return f"an answer of another shape ({type(exc).__name__}: {exc})"


def _verdict(case: Case, got: str) -> tuple[Verdict, str]:
    if got == case.expected:
        return Verdict.PASS, ""
    if got in case.accepted:
        return Verdict.KNOWN, case.accepted[got]
    return Verdict.FAIL, ""
