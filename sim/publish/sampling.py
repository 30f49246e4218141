"""Which pushes of a run are followed through the cluster, and how its processes know them.

The publisher chooses: a number of pushes a second, as many of each publisher
as of any other where it has so many, at times drawn by the seed. What it
chooses goes out with an id for the cluster (protocol.trace). The clients'
side has only the body to go by: there the planned time of a followed message
is odd, and that of every other message of the run even.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sim.scenario.scenario import Scenario

__all__ = ["MAX_TRACED", "Reads", "TraceSampler", "TracedPush", "is_traced"]

MAX_TRACED = 3000
"""Followed messages of a run: percentiles need no more, and a long run has fewer a second."""

_NS_PER_S = 1_000_000_000


def is_traced(intended_ns: int) -> bool:
    """Whether a message of a run that follows some is one of them."""
    return bool(intended_ns & 1)


@dataclass(frozen=True, slots=True)
class TracedPush:
    """A push that is followed; its planned time is no other's.

    Args:
        trace: Its id in the cluster; the run's mark in the upper half.
        intended_ns: Planned time.
        stream, sequence: Its place in the publisher's books.
    """

    trace: int
    intended_ns: int
    stream: int
    sequence: int


class TraceSampler:
    """Chooses pushes as they come.

    Args:
        scenario: How many a second; none when that is 0.
        run: Mark of the run.

    Attributes:
        traced: What was chosen and sent.
    """

    def __init__(self, scenario: Scenario, run: int) -> None:
        self.traced: list[TracedPush] = []
        self._random = random.Random(f"{scenario.seed}/trace")
        self._run = run
        self._taken: set[int] = set()
        rate_per_s = min(scenario.trace_per_s, MAX_TRACED / scenario.duration_s)
        self._gap_ns = len(scenario.publish) * _NS_PER_S / rate_per_s if rate_per_s else 0.0
        self._due_ns = [self._random.random() * self._gap_ns for _ in scenario.publish]

    def choose(self, publisher: int, at_ns: int, t0_ns: int) -> tuple[int, int]:
        """Return the planned time of a message as its body has to have it, and its id; 0 when it is not followed.

        Args:
            publisher: Its publisher, by number.
            at_ns: When it was planned for, from the start of the first phase.
            t0_ns: That start.
        """
        intended_ns = t0_ns + at_ns
        if not self._gap_ns:
            return intended_ns, 0
        odd_ns = intended_ns | 1
        if at_ns < self._due_ns[publisher] or odd_ns in self._taken or len(self._taken) >= MAX_TRACED:
            return intended_ns + (intended_ns & 1), 0
        self._taken.add(odd_ns)
        self._due_ns[publisher] = at_ns + self._gap_ns * (0.5 + self._random.random())
        return odd_ns, self._run << 32 | len(self._taken)

    def sent(self, trace: int, intended_ns: int, stream: int, sequence: int) -> None:
        """Note where a chosen message stands in the books."""
        self.traced.append(TracedPush(trace, intended_ns, stream, sequence))


class Reads:
    """When the clients of a worker read the followed messages: how many did, and their latencies together."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: dict[int, tuple[int, int]] = {}
        """{planned time: (clients, sum of their latencies in ns)}."""

    def add(self, intended_ns: int, count: int, latency_ns: int) -> None:
        """Count that clients have read a message, and add up their latencies."""
        clients, total_ns = self.found.get(intended_ns, (0, 0))
        self.found[intended_ns] = clients + count, total_ns + latency_ns

    def merge(self, other: Reads) -> None:
        """Add what the clients of another worker have read."""
        for intended_ns, (count, latency_ns) in other.found.items():
            self.add(intended_ns, count, latency_ns)
