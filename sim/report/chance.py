"""What chance makes of a percentile: between which latencies the true one lies, by how many messages it is of.

A percentile of n messages lies, 95 times in 100, between the shares
p +- 2 sqrt(p (1 - p) / n), and above all n has no known end when p^n is over
5 %: a p99 needs 299 messages, a p999 2,995. Messages count and not deliveries:
what delays a message delays it for a whole room.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from sim.report.model import LatencyStats, PhaseReport, RunReport

__all__ = ["PERCENTILES", "Curve", "curve_of", "interval", "messages_needed"]

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}

_SIGMAS = 2.0
_CHANCE = 0.05

Curve = Sequence[tuple[float, float]]
"""(share of the deliveries, the latency in ms that this share does not exceed), both rising."""


def messages_needed(share: float) -> int:
    """Return of how many messages a percentile has to be, to have a known upper end."""
    return math.ceil(math.log(_CHANCE) / math.log(share))


def interval(curve: Curve, share: float, messages: int) -> tuple[float, float]:
    """Return between which latencies in ms a percentile lies, by how many messages it is of."""
    spread = _SIGMAS * math.sqrt(share * (1 - share) / max(messages, 1))
    low = -math.inf if (1 - share) ** messages > _CHANCE else _at(curve, share - spread)
    high = math.inf if messages < messages_needed(share) else _at(curve, share + spread)
    return low, high


def curve_of(report: RunReport | PhaseReport) -> Curve:
    """Return the percentile curve: from the histogram where the document has it, else from the percentiles."""
    if isinstance(report, RunReport) and report.latency_buckets_ms:
        total = sum(count for _, _, count in report.latency_buckets_ms)
        seen = 0
        curve = [(0.0, report.latency_buckets_ms[0][0])]
        for _, high, count in report.latency_buckets_ms:
            seen += count
            curve.append((seen / total, high))
        return curve
    stats: LatencyStats = report.latency_ms
    points: list[tuple[float, float | None]] = [(0.0, stats.min)]
    points += [(share, getattr(stats, key)) for key, share in PERCENTILES.items()]
    return [(share, value) for share, value in (*points, (1.0, stats.max)) if value is not None]


def _at(curve: Curve, share: float) -> float:
    """Return a percentile, between two known ones by a straight line."""
    right = bisect_left(curve, share, key=lambda point: point[0])
    if right <= 0:
        return curve[0][1]
    if right >= len(curve):
        return curve[-1][1]
    (low, start), (high, end) = curve[right - 1], curve[right]
    return start + (end - start) * (share - low) / (high - low)
