"""How every benchmark here measures: CPU time of one process per unit of work.

Wall-clock times say little on a shared machine. Each benchmark runs its raw
loop and the real thing in turn, several rounds, and reports the median of the
ratios, each round against its neighbours in time.
"""

from __future__ import annotations

import os
import resource
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Line", "cpu_s", "open_files", "ratio_of_medians", "rss_bytes"]


@dataclass(slots=True)
class Line:
    """One line of the result.

    Args:
        name: What was measured.
        unit: Of `value` and `raw`.
        value: The real thing.
        raw: The raw loop in the same run; None where there is nothing raw to compare with.
        ratio: value to raw, above 1 is better than raw; None as `raw`.
        goal: What the project wants, in words; empty for none.
        met: Whether it is reached; None where there is no goal.
        detail: More numbers.
    """

    name: str
    unit: str
    value: float
    raw: float | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    detail: dict[str, float] = field(default_factory=dict)


def cpu_s(pid: int | None = None) -> float:
    """Return user and system CPU seconds of a process so far, this one by default."""
    if pid is None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def rss_bytes(pid: int | None = None) -> int:
    """Return the resident memory of a process, this one by default."""
    import psutil

    return int(psutil.Process(pid or os.getpid()).memory_info().rss)


def open_files() -> int:
    """Raise the limit of open files as far as allowed and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def ratio_of_medians(values: Sequence[float], raws: Sequence[float]) -> float:
    """Return the median of the pairwise ratios of two series taken in turn."""
    return statistics.median(value / raw for value, raw in zip(values, raws, strict=True))
