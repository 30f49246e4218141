"""Expected against seen, for each receiver.

Every target that is published to (a room, a mid, a key, all) is one stream of
messages numbered from 0. The publisher keeps a log of each stream; each
client keeps a cursor into it. Which messages a client had to get is decided
at the end, when the log is complete:

- A message counts only when logic acknowledged it. One that was refused, or
  whose answer never came, may or may not arrive; neither is an error here.
- A client is a member from the moment it has read its auth reply to the
  moment its connection ended. It had to get every acknowledged message whose
  push began within that time, judged by the time the HTTP request began.
- A client that leaves by its own will (it closes, or changes its room) need not
  get what was pushed in the last second before: that may have been under way.
- A message that arrives without having had to (its push began before the
  auth reply was read) is no error either: joining and pushing overlapped.
- A client that changes its room has left the old one when it asks, and is a
  member of the new one when it reads the answer. In between it may get
  messages of both; of the old one also later, those that were meant to be
  sent before it read the answer.
- A client that comes back is the same receiver: it need not get what was
  pushed while it was away, but a message that it got before, and gets again
  on its new connection, is a copy.

A message is lost when it had to arrive and did not; duplicated for every copy
after the first; reordered when it came after one whose push began only after
its own push had been acknowledged (messages whose pushes overlap have no
order to keep); unexpected when the client was no member of its stream, or
when the log does not know it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

__all__ = ["Cursor", "Delivery", "LateArrivals", "Stay", "StreamLog", "StreamSummary"]

_LEAVE_GRACE_NS = 1_000_000_000
_MAX_GAP = 1_000_000_000  # a jump beyond this is no gap but a broken number

LateArrivals = Counter[tuple[int, int, int]]
"""(stream, sequence, highest sequence seen before it) -> how many clients saw it so."""


@dataclass(slots=True)
class StreamLog:
    """What was published to one stream, by sequence.

    Args:
        phase: Index of the phase of the intended time; never falls.
        sent_ns: When the HTTP request began; never falls.
        done_ns: When the answer came, or the wait for it ended.
        accepted: 1 when logic acknowledged it, else 0.
    """

    phase: list[int] = field(default_factory=list)
    sent_ns: list[int] = field(default_factory=list)
    done_ns: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sent_ns)

    def accepted_before(self) -> list[int]:
        """Return, for each sequence and one past the last, how many before it were acknowledged."""
        return [0, *accumulate(self.accepted)]


@dataclass(slots=True)
class Delivery:
    """Counts of one phase, summed over receivers."""

    expected: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unexpected: int = 0
    lost_dead: int = 0  # of `lost`: to clients whose connection had ended

    def add(self, other: Delivery) -> None:
        """Add the counts of another."""
        self.expected += other.expected
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.reordered += other.reordered
        self.unexpected += other.unexpected
        self.lost_dead += other.lost_dead


@dataclass(slots=True)
class Stay:
    """A client's time as a member of a stream.

    Args:
        stream: Which.
        from_ns: When it read the reply that made it one.
        until_ns: When its connection ended or it asked to leave; None: it stayed.
        by_will: Whether it ended by the client's own will.
    """

    stream: int
    from_ns: int
    until_ns: int | None = None
    by_will: bool = False


class Cursor:
    """What one client has seen of one stream.

    Attributes:
        next: One past the highest sequence seen; 0 before the first.
        missing: Sequences below `next` that have not been seen, as bounds of ranges
            [low, high, low, high, ...] in order; None for none. A client that was
            away has missed many in a row, and they cost no more than one.
    """

    __slots__ = ("missing", "next")

    def __init__(self) -> None:
        self.next = 0
        self.missing: list[int] | None = None

    def take(self, sequence: int) -> bool:
        """Note an arrival; return False when it is a duplicate.

        Raises:
            ValueError: the number is beyond all reason.
        """
        expected = self.next
        if sequence == expected:
            self.next = sequence + 1
            return True
        if sequence > expected:
            if sequence - expected > _MAX_GAP:
                raise ValueError(f"sequence {sequence} after {expected - 1}")
            if self.missing is None:
                self.missing = []
            self.missing += (expected, sequence)
            self.next = sequence + 1
            return True
        return self.missing is not None and _fill(self.missing, sequence)

    def unseen(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of [low, high) that were not seen, in order."""
        missing = self.missing
        if missing:
            # The first range that ends after `low`: an odd place is inside one.
            for at in range(bisect_right(missing, low) // 2 * 2, len(missing), 2):
                if missing[at] >= high:
                    break
                yield max(missing[at], low), min(missing[at + 1], high)
        if self.next < high:
            yield max(self.next, low), high

    def lost(self, low: int, high: int, before: Sequence[int]) -> int:
        """Return how many acknowledged messages of [low, high) were not seen.

        Args:
            low: First sequence that counts.
            high: One past the last.
            before: StreamLog.accepted_before().
        """
        if low >= high:
            return 0
        return sum(before[end] - before[begin] for begin, end in self.unseen(low, high))

    def beyond(self, end: int) -> int:
        """Return how many sequences from `end` on were seen."""
        if self.next <= end:
            return 0
        return self.next - end - sum(high - low for low, high in self.unseen(end, self.next))


def _fill(ranges: list[int], sequence: int) -> bool:
    """Take a sequence out of the ranges; return whether it was in one."""
    at = bisect_right(ranges, sequence)
    if at % 2 == 0:
        return False
    low, high = ranges[at - 1], ranges[at]
    ranges[at - 1 : at + 1] = [
        *((low, sequence) if low < sequence else ()),
        *((sequence + 1, high) if sequence + 1 < high else ()),
    ]
    return True


class StreamSummary:
    """One stream's log with what is needed to judge many clients quickly."""

    __slots__ = ("_loss_steps", "before", "log", "starts")

    def __init__(self, log: StreamLog, phases: int) -> None:
        self.log = log
        self.before = log.accepted_before()
        self.starts = [bisect_left(log.phase, phase) for phase in range(phases)] + [len(log)]
        self._loss_steps: list[int] | None = None  # by sequence: by how many receivers fewer or more missed it

    def judge(self, cursor: Cursor | None, stay: Stay, deliveries: Sequence[Delivery]) -> None:
        """Add to each phase's counts what a member had to get and missed."""
        log = self.log
        low = bisect_left(log.sent_ns, stay.from_ns)
        high = len(log)
        if stay.until_ns is not None:
            high = bisect_left(log.sent_ns, stay.until_ns - (_LEAVE_GRACE_NS if stay.by_will else 0))
        for phase, delivery in enumerate(deliveries):
            begin, end = max(low, self.starts[phase]), min(high, self.starts[phase + 1])
            if begin >= end:
                continue
            expected = self.before[end] - self.before[begin]
            lost = expected if cursor is None else cursor.lost(begin, end, self.before)
            delivery.expected += expected
            delivery.lost += lost
            if stay.until_ns is not None and not stay.by_will:
                delivery.lost_dead += lost
            if lost:
                self._note_losses(cursor, begin, end)

    def losses(self) -> Iterator[tuple[int, int]]:
        """Yield (sequence, how many receivers lost it) of each message that one lost, in order."""
        for sequence, missed in enumerate(accumulate((self._loss_steps or [])[: len(self.log)])):
            if missed and self.log.accepted[sequence]:
                yield sequence, missed

    def _note_losses(self, cursor: Cursor | None, low: int, high: int) -> None:
        """Keep which sequences a receiver did not see; as steps, so a long gap costs no more than a short one."""
        if self._loss_steps is None:
            self._loss_steps = [0] * (len(self.log) + 1)
        steps = self._loss_steps
        for begin, end in ((low, high),) if cursor is None else cursor.unseen(low, high):
            steps[begin] += 1
            steps[end] -= 1

    def reordered(self, sequence: int, highest: int) -> int | None:
        """Return the phase of a late arrival that broke an order.

        None when the pushes overlapped, or when nobody knows: it was not
        acknowledged, or the higher one was never published.
        """
        log = self.log
        if highest < len(log) and log.accepted[sequence] and log.sent_ns[highest] >= log.done_ns[sequence]:
            return log.phase[sequence]
        return None
