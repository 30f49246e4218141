"""Latencies in fixed memory, at most 0.8 % wrong, merged by adding.

The layout is HdrHistogram's: values under 256 units have a bucket each, and
every doubling above that is cut into 128 buckets. A unit is 1,024 ns, so
values of up to 0.25 ms are kept to a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Histogram"]

_UNIT_BITS = 10
_SUB = 128
_MAX_BITS = 36  # of a value in units: 19 hours
_SIZE = (_MAX_BITS - 8) * _SUB + 2 * _SUB


class Histogram:
    """Counts of durations in nanoseconds; negative ones count as 0, longer ones as the longest."""

    __slots__ = ("_counts", "count", "max_ns", "min_ns")

    def __init__(self) -> None:
        self._counts = [0] * _SIZE
        self.count = 0
        self.min_ns = 0
        self.max_ns = 0

    def record(self, duration_ns: int, count: int = 1) -> None:
        """Count a duration `count` times."""
        if duration_ns < 0:
            duration_ns = 0
        units = duration_ns >> _UNIT_BITS
        if units < 2 * _SUB:
            index = units
        else:
            shift = units.bit_length() - 8
            index = shift * _SUB + (units >> shift)
            if index >= _SIZE:
                index = _SIZE - 1
        self._counts[index] += count
        if not self.count or duration_ns < self.min_ns:
            self.min_ns = duration_ns
        if duration_ns > self.max_ns:
            self.max_ns = duration_ns
        self.count += count

    def percentile_ns(self, percent: float) -> int:
        """Return the duration that `percent` of the recorded ones do not exceed; 0 when there are none."""
        if not self.count:
            return 0
        wanted = self.count * percent / 100
        seen = 0
        for index, count in enumerate(self._counts):
            if count:
                seen += count
                if seen >= wanted:
                    low, high = _bounds_ns(index)
                    return min(max((low + high) // 2, self.min_ns), self.max_ns)
        return self.max_ns

    def merge(self, other: Histogram) -> None:
        """Add what another one has counted."""
        if not other.count:
            return
        counts = self._counts
        for index, count in enumerate(other._counts):
            if count:
                counts[index] += count
        self.min_ns = min(self.min_ns, other.min_ns) if self.count else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.count += other.count

    def buckets(self) -> Iterable[tuple[int, int, int]]:
        """Yield (low ns, high ns, count) of the buckets that have counted something, in order."""
        for index, count in enumerate(self._counts):
            if count:
                low, high = _bounds_ns(index)
                yield low, high, count

    def dump(self) -> dict[str, object]:
        """Return a small JSON-ready form; see load."""
        counts = {str(index): count for index, count in enumerate(self._counts) if count}
        return {"counts": counts, "min_ns": self.min_ns, "max_ns": self.max_ns}

    @classmethod
    def load(cls, dumped: Mapping[str, object]) -> Histogram:
        """Return the histogram that dump() was called on."""
        histogram = cls()
        counts = dumped["counts"]
        assert isinstance(counts, Mapping)
        for index, count in counts.items():
            histogram._counts[int(index)] = int(count)
            histogram.count += int(count)
        histogram.min_ns = int(str(dumped["min_ns"]))
        histogram.max_ns = int(str(dumped["max_ns"]))
        return histogram


def _bounds_ns(index: int) -> tuple[int, int]:
    """Return the lowest and the highest duration of a bucket."""
    if index < 2 * _SUB:
        return index << _UNIT_BITS, ((index + 1) << _UNIT_BITS) - 1
    shift = index // _SUB - 1
    low = (index - shift * _SUB) << shift
    return low << _UNIT_BITS, ((low + (1 << shift)) << _UNIT_BITS) - 1
