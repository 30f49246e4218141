"""A right cluster for cases to run against."""

from __future__ import annotations

from collections.abc import Sequence

from imctl.cluster.inprocess import LocalCluster
from imctl.conform import Report, Target, Verdict, run_cases, select_cases

__all__ = ["failed", "run_only", "target_of"]


def target_of(cluster: LocalCluster) -> Target:
    core, comet = (assembly.addresses for assembly in cluster.assemblies)
    return Target(
        tcp=comet["tcp"],
        ws=comet["ws"],
        comet_grpc=comet["grpc"],
        http=core["logic.http"],
        grpc=core["logic.grpc"],
        discovery=core["registry.http"],
    )


async def run_only(target: Target, patterns: Sequence[str], *, wait_s: float = 5.0, slow: bool = False) -> Report:
    return await run_cases(target, select_cases(patterns), wait_s=wait_s, slow=slow, risky=True)


def failed(report: Report) -> dict[str, str]:
    """Return what was got instead by case."""
    return {result.case.id: result.got for result in report.results if result.verdict is Verdict.FAIL}
