"""CPU and memory of processes, sampled when somebody asks."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

__all__ = ["Meter"]

_LEAST_S = 0.25
"""Two questions closer together than this get the same percentage: the clock of CPU time ticks at 100 Hz."""


@dataclass(slots=True)
class _Sample:
    at_s: float
    cpu_s: float
    percent: float


class Meter:
    """Reads CPU time, CPU percent since the question before (of one core), and resident memory."""

    def __init__(self) -> None:
        self._samples: dict[int, _Sample] = {}

    def read(self, pid: int | None) -> dict[str, float | int]:
        """Return {"cpu_s", "cpu_percent", "rss_bytes"}; zeros when there is no such process."""
        try:
            if pid is None:
                raise psutil.NoSuchProcess(0)
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                rss_bytes = process.memory_info().rss
                created_s = process.create_time()
        except psutil.Error:
            return {"cpu_s": 0.0, "cpu_percent": 0.0, "rss_bytes": 0}
        cpu_s, now_s = times.user + times.system, time.time()
        before = self._samples.get(pid)
        if before is None or before.cpu_s > cpu_s:  # the first time: its whole life
            before = _Sample(created_s, 0.0, 0.0)
            self._samples[pid] = before
        if now_s - before.at_s >= _LEAST_S:
            before.percent = max(0.0, (cpu_s - before.cpu_s) / (now_s - before.at_s) * 100)
            before.at_s, before.cpu_s = now_s, cpu_s
        return {"cpu_s": round(cpu_s, 2), "cpu_percent": round(before.percent, 1), "rss_bytes": rss_bytes}
