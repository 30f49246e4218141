"""Whether the load generator itself keeps up."""

from __future__ import annotations

import asyncio
import time

from sim.histogram import Histogram
from sim.messages import Health

__all__ = ["HealthMeter"]

_EVERY_NS = 20_000_000


class HealthMeter:
    """Measures this process from start() on: its CPU share, and how late its event loop wakes up."""

    def __init__(self) -> None:
        self._lag = Histogram()
        self._task: asyncio.Task[None] | None = None
        self._wall_ns = time.monotonic_ns()
        self._cpu_s = time.process_time()

    def start(self) -> None:
        """Begin now; what was before does not count."""
        self._wall_ns = time.monotonic_ns()
        self._cpu_s = time.process_time()
        self._lag = Histogram()
        self._task = asyncio.get_running_loop().create_task(self._measure(), name="loop lag")

    def read(self) -> Health:
        """Return the figures up to now."""
        wall_s = max((time.monotonic_ns() - self._wall_ns) / 1e9, 1e-3)
        return Health((time.process_time() - self._cpu_s) / wall_s * 100, self._lag)

    async def stop(self) -> None:
        """End the measuring."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _measure(self) -> None:
        while True:
            due_ns = time.monotonic_ns() + _EVERY_NS
            await asyncio.sleep(_EVERY_NS / 1e9)
            lag_ns = time.monotonic_ns() - due_ns
            self._lag.record(lag_ns)
            # A long stall counts for every wake-up it swallowed, or one of a second would be one sample
            # among thousands and no percentile would show it.
            while (lag_ns := lag_ns - _EVERY_NS) > 0:
                self._lag.record(lag_ns)
