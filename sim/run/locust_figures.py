"""What Locust is shown of a run: figures in bulk, in the form of its statistics.

They are for its web page, tables and CSV files. Locust keeps response times
rounded to two digits; the report of a run is made of the histograms.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sim.measure.histogram import Histogram
from sim.run.messages import Progress, Result

__all__ = ["Figures", "RunFigures"]

_NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Figures:
    """One row of Locust's statistics, of what is new.

    Args:
        method, name: Of the row.
        count: How many there were.
        timeless: Of those, the ones that have no response time.
        failures: Of those, the ones that failed.
        times_ms: How many took so long, rounded as Locust does.
        total_ms: Sum of the times.
        per_second: How many in each second, by Unix time.
    """

    method: str
    name: str
    count: int = 0
    timeless: int = 0
    failures: int = 0
    times_ms: Counter[int] = field(default_factory=Counter)
    total_ms: float = 0.0
    min_ms: float = 0.0
    max_ms: float = 0.0
    per_second: Counter[int] = field(default_factory=Counter)


class RunFigures:
    """Turns what one worker tells the run into rows.

    Args:
        show: Gets each row.
        clock: Unix time in seconds.
    """

    def __init__(self, show: Callable[[Figures], None], clock: Callable[[], float] = time.time) -> None:
        self.alive = 0
        self._show = show
        self._clock = clock
        self._begin_s: int | None = None
        self._tried = 0
        self._failed = 0

    def add(self, message: object) -> None:
        """Take a message of the worker; only those with figures matter."""
        if isinstance(message, Progress):
            self.alive = message.alive
            self._connects(message)
            self._deliveries(message.seconds)
        elif isinstance(message, Result):
            self.alive = 0
            self._deliveries(message.seconds)

    def _connects(self, progress: Progress) -> None:
        tried = progress.connected + progress.failed
        if tried <= self._tried:
            return
        new, failures = tried - self._tried, max(progress.failed - self._failed, 0)
        self._tried, self._failed = tried, progress.failed
        row = Figures("CONNECT", "clients", new, timeless=new, failures=failures)
        row.per_second[int(self._clock())] = new
        self._show(row)

    def _deliveries(self, seconds: Mapping[int, Histogram]) -> None:
        if not seconds:
            return
        if self._begin_s is None:
            # A second is told when the one after it is over too.
            self._begin_s = int(self._clock()) - max(seconds) - 2
        row = Figures("DELIVER", "messages")
        for second, histogram in seconds.items():
            _add_times(row, histogram)
            row.per_second[self._begin_s + second] += histogram.count
        if row.count:
            self._show(row)


def _add_times(row: Figures, histogram: Histogram) -> None:
    if not histogram.count:
        return
    low_ms, high_ms = histogram.min_ns / _NS_PER_MS, histogram.max_ns / _NS_PER_MS
    row.min_ms = min(row.min_ms, low_ms) if row.count else low_ms
    row.max_ms = max(row.max_ms, high_ms)
    row.count += histogram.count
    for low, high, count in histogram.buckets():
        middle_ms = min(max((low + high) / 2 / _NS_PER_MS, low_ms), high_ms)
        row.times_ms[_two_digits(middle_ms)] += count
        row.total_ms += middle_ms * count


def _two_digits(time_ms: float) -> int:
    """Round as Locust does, whose memory is bounded by that: 147 to 150, 3432 to 3400."""
    if time_ms < 100:
        return round(time_ms)
    if time_ms < 1000:
        return int(round(time_ms, -1))
    return int(round(time_ms, -2 if time_ms < 10_000 else -3))
