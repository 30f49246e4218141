"""What one message did at all of its receivers: did it reach everybody, and how far apart were the first and the last?

Kept by message and never by delivery: arrivals are noted a chunk at a time,
and who had to get what is known as ranges.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

__all__ = ["Arrivals", "Group", "Reached", "Sequenced", "Steps", "merge_groups"]

_MAX_AHEAD = 1_000_000  # a number so far beyond the last is broken, and no reason to take memory for it


class Sequenced(Protocol):
    """A message as the streams number it."""

    @property
    def stream(self) -> int:
        """Which stream."""

    @property
    def sequence(self) -> int:
        """Its place in it."""


class Arrivals:
    """When the first and the last of its receivers read each message, of some streams.

    A chunk's last reader is known to 1/256 of its latency (see sim.clients.memo), so that far is a spread wrong.

    Args:
        streams: Those with more than one receiver.

    Attributes:
        first, last: By stream, ns of the monotonic clock by sequence; 0 for one that nobody read.
    """

    def __init__(self, streams: Iterable[int]) -> None:
        self.first: dict[int, array[int]] = {stream: array("q") for stream in streams}
        self.last: dict[int, array[int]] = {stream: array("q") for stream in self.first}

    def note(self, messages: Iterable[Sequenced], first_ns: int, last_ns: int) -> None:
        """Note that messages were read by clients between two times."""
        for message in messages:
            first = self.first.get(message.stream)
            if first is None:
                continue
            last, sequence = self.last[message.stream], message.sequence
            missing = sequence + 1 - len(first)
            if missing > 0:
                if missing > _MAX_AHEAD:
                    continue
                more = array("q", bytes(8 * missing))
                first += more
                last += more
            if not first[sequence] or first_ns < first[sequence]:
                first[sequence] = first_ns
            if last_ns > last[sequence]:
                last[sequence] = last_ns

    def merge(self, other: Arrivals) -> None:
        """Add what the clients of another process read; its clock must be this one's."""
        for stream, theirs in other.first.items():
            for sequence, first_ns in enumerate(theirs):
                if first_ns:
                    self.note([_Place(stream, sequence)], first_ns, other.last[stream][sequence])

    def spread_ns(self, stream: int, sequence: int) -> int | None:
        """Return the time from the first reader of a message to the last; None when nobody read it."""
        first = self.first.get(stream)
        if first is None or sequence >= len(first) or not first[sequence]:
            return None
        return self.last[stream][sequence] - first[sequence]


@dataclass(frozen=True, slots=True)
class _Place:
    stream: int
    sequence: int


Group = tuple[int, int, bool]
"""(stream, place of the comet in the target or -1, whether the connection had ended): receivers with a common fate."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Of a group of receivers, by sequence: how many had to get a message, and how many of them missed it."""

    expected: array[int]
    lost: array[int]


class Steps:
    """Counts by sequence that are made of ranges, each range at the cost of its two ends."""

    __slots__ = ("_steps",)

    def __init__(self, length: int) -> None:
        self._steps = array("q", bytes(8 * (length + 1)))

    def add(self, low: int, high: int) -> None:
        """Count one more for each sequence from `low` up to, not including, `high`."""
        self._steps[low] += 1
        self._steps[high] -= 1

    def counts(self) -> array[int]:
        """Return the count of each sequence."""
        return array("q", accumulate(self._steps[:-1]))


def merge_groups(parts: Iterable[Mapping[Group, Reached]]) -> dict[Group, Reached]:
    """Return the groups of all processes together."""
    merged: dict[Group, Reached] = {}
    for part in parts:
        for group, reached in part.items():
            known = merged.get(group)
            if known is None:
                merged[group] = Reached(array("q", reached.expected), array("q", reached.lost))
                continue
            for counts, more in ((known.expected, reached.expected), (known.lost, reached.lost)):
                for sequence, count in enumerate(more):
                    if count:
                        counts[sequence] += count
    return merged
