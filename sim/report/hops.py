"""What a run measured of the ways inside the cluster, as values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HOPS", "HopStats", "HopsReport", "JobHopStats"]


@dataclass(frozen=True, slots=True)
class HopStats:
    """How long followed messages took for one hop, in ms; all null when `count` is 0: nobody told of it."""

    count: int = 0
    p50: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class JobHopStats(HopStats):
    """The same of job.

    Args:
        batching_percent: Share of this time that messages waited for other messages of their room.
    """

    batching_percent: float | None = None


@dataclass(frozen=True, slots=True)
class HopsReport:
    """Where the latency of a message comes from, measured on some of the messages of the measured phases.

    Each message counts once in each hop, by the mean over its receivers, so its hops add up to its mean latency.

    Args:
        traced: Messages that were followed.
        reason: Why hops are missing; empty when none is.
        publish: From the planned time to logic's having read the request.
        logic: To its handing the record to the bus.
        bus: To job's having the record.
        job: To its call of the comet.
        comet: To its having written to the client's socket.
        wire: To the client's having read it.
        total: All of them: from the planned time to the client's having read it.
    """

    traced: int = 0
    reason: str = ""
    publish: HopStats = HopStats()
    logic: HopStats = HopStats()
    bus: HopStats = HopStats()
    job: JobHopStats = JobHopStats()
    comet: HopStats = HopStats()
    wire: HopStats = HopStats()
    total: HopStats = HopStats()


HOPS = ("publish", "logic", "bus", "job", "comet", "wire", "total")
"""In the order of the way."""
