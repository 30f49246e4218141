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
- A client that leaves by its own will (it closes, or asks for less) need not
  get what was pushed in the last second before: that may have been under way.
  So it is where the scenario has given comet a reason to end the connection:
  the client is silent, or its key is taken over.
- A message that arrives without having had to (its push began before the
  auth reply was read) is no error either: joining and pushing overlapped.
- Every change of membership is asked for and answered. What a client leaves
  it has left when it asks, and what it enters it is a member of when it reads
  the answer. In between it may get messages of both; of what it left also
  later, those that were meant to be sent before the answer was read. That
  holds for another room, for operations accepted or no longer accepted, and
  for a key that is taken over: the old connection leaves the streams of its
  key and mid when the new one begins to connect, the new one is a member when
  it has read its auth reply, and that is the answer for both. A change that
  is refused, or not answered, leaves what was there as it was where the
  client can know it (a login), and ends it where it cannot.
- A connection beside the client's own (a second device, or the one whose key
  was taken over) is a receiver of its own.
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

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from sim.measure.fanout import Reached, Steps

__all__ = ["Cursor", "Delivery", "LateArrivals", "LostEnd", "Stay", "StreamLog", "StreamSummary", "Trouble"]

_LEAVE_GRACE_NS = 1_000_000_000
_END_NS = 100_000_000
_MAX_GAP = 1_000_000_000  # a jump beyond this is no gap but a broken number

LateArrivals = Counter[tuple[int, int, int]]
"""(stream, sequence, highest sequence seen before it) -> how many clients saw it so."""

LostEnd = tuple[int, int, int]
"""(segment, comet, when the connection ended in tenths of a second) of losses to clients that were cut off."""


@dataclass(slots=True)
class StreamLog:
    """What was published to one stream, by sequence.

    Args:
        phase: Index of the segment (a phase, or part of one) of the intended time; never falls.
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
    """Counts of one segment, summed over receivers."""

    expected: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unexpected: int = 0

    def add(self, other: Delivery) -> None:
        """Add the counts of another."""
        self.expected += other.expected
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.reordered += other.reordered
        self.unexpected += other.unexpected


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the network did to a connection.

    Args:
        place: The fault as `delivery.lost_at` calls it; empty for none that loses anything.
        from_ns: What was sent to the client since may be lost to it.
        late_ns: How long before the fault, or before the client left, that was: what was on its way then.
    """

    place: str
    from_ns: int
    late_ns: int


@dataclass(slots=True)
class Stay:
    """A client's time as a member of a stream.

    Args:
        stream: Which.
        from_ns: When it read the reply that made it one.
        until_ns: When its connection ended or it asked to leave; None: it stayed.
        by_will: Whether it ended by the client's own will.
        comet: Place of its comet in the target; -1 when nobody knows.
        trouble: What the network did to the connection; None for nothing.
    """

    stream: int
    from_ns: int
    until_ns: int | None = None
    by_will: bool = False
    comet: int = -1
    trouble: Trouble | None = None

    @property
    def ended(self) -> bool:
        """Whether the connection ended without the client wanting it."""
        return self.until_ns is not None and not self.by_will


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


def _grace_ns(stay: Stay) -> int:
    """Return how long before it left of its own will a message need not have arrived any more."""
    return _LEAVE_GRACE_NS + (stay.trouble.late_ns if stay.trouble is not None else 0)


class StreamSummary:
    """One stream's log with what is needed to judge many clients quickly."""

    __slots__ = ("_groups", "before", "log", "lost_ends", "lost_network", "starts")

    def __init__(self, log: StreamLog, phases: int) -> None:
        self.log = log
        self.before = log.accepted_before()
        self.starts = [bisect_left(log.phase, phase) for phase in range(phases)] + [len(log)]
        self.lost_ends: Counter[LostEnd] = Counter()
        self.lost_network: Counter[tuple[int, str]] = Counter()  # by segment and fault
        # By comet and whether the connection ended: who had to get which message, and who missed it.
        self._groups: dict[tuple[int, bool], tuple[Steps, Steps | None]] = {}

    def judge(self, cursor: Cursor | None, stay: Stay, deliveries: Sequence[Delivery]) -> None:
        """Add to each phase's counts what a member had to get and missed."""
        log = self.log
        low = bisect_left(log.sent_ns, stay.from_ns)
        high = len(log)
        if stay.until_ns is not None:
            high = bisect_left(log.sent_ns, stay.until_ns - (_grace_ns(stay) if stay.by_will else 0))
        if low >= high:
            return
        cut = min(max(self._trouble_begins(stay), low), high)
        missed = False
        for phase, delivery in enumerate(deliveries):
            begin, end = max(low, self.starts[phase]), min(high, self.starts[phase + 1])
            if begin >= end:
                continue
            delivery.expected += self.before[end] - self.before[begin]
            lost = self._lost(cursor, begin, end)
            if lost:
                delivery.lost += lost
                missed = True
                self._explain(stay, phase, lost, self._lost(cursor, max(begin, cut), end))
        self._note(cursor, (stay.comet, stay.ended), low, cut, missed=missed)
        # What the network took, no node can have counted: it goes with the connections that ended.
        self._note(cursor, (stay.comet, True), cut, high, missed=missed)

    def _lost(self, cursor: Cursor | None, begin: int, end: int) -> int:
        if begin >= end:
            return 0
        return self.before[end] - self.before[begin] if cursor is None else cursor.lost(begin, end, self.before)

    def _explain(self, stay: Stay, phase: int, lost: int, to_network: int) -> None:
        """Keep what is known of losses by the connection they were to."""
        if to_network and stay.trouble is not None:
            self.lost_network[phase, stay.trouble.place] += to_network
        if lost > to_network and stay.ended:
            self.lost_ends[phase, stay.comet, (stay.until_ns or 0) // _END_NS] += lost - to_network

    def _trouble_begins(self, stay: Stay) -> int:
        """Return the first message that the network may have lost."""
        trouble = stay.trouble
        if trouble is None or not trouble.place:
            return len(self.log)
        return bisect_left(self.log.sent_ns, trouble.from_ns - _LEAVE_GRACE_NS)

    def losses(self) -> Iterator[tuple[int, int]]:
        """Yield (sequence, how many receivers lost it) of each message that one lost, in order."""
        total = [0] * len(self.log)
        for _, lost in self._groups.values():
            for sequence, missed in enumerate(lost.counts() if lost is not None else ()):
                total[sequence] += missed
        for sequence, missed in enumerate(total):
            if missed and self.log.accepted[sequence]:
                yield sequence, missed

    def reached(self) -> Iterator[tuple[int, bool, Reached]]:
        """Yield (comet, whether the connection ended, counts by sequence) of each group of receivers."""
        accepted = self.log.accepted
        for (comet, ended), (expected, lost) in self._groups.items():
            missed = lost.counts() if lost is not None else array("q", bytes(8 * len(accepted)))
            had_to = expected.counts()
            for sequence, taken in enumerate(accepted):
                if not taken:
                    had_to[sequence] = missed[sequence] = 0
            yield comet, ended, Reached(had_to, missed)

    def _note(self, cursor: Cursor | None, group: tuple[int, bool], low: int, high: int, *, missed: bool) -> None:
        """Keep which sequences a receiver had to see and did not; a long gap costs no more than a short one."""
        if low >= high:
            return
        expected, lost = self._groups.get(group) or (Steps(len(self.log)), None)
        expected.add(low, high)
        if missed:
            lost = lost or Steps(len(self.log))
            for begin, end in ((low, high),) if cursor is None else cursor.unseen(low, high):
                lost.add(begin, end)
        self._groups[group] = expected, lost

    def reordered(self, sequence: int, highest: int) -> int | None:
        """Return the phase of a late arrival that broke an order.

        None when the pushes overlapped, or when nobody knows: it was not
        acknowledged, or the higher one was never published.
        """
        log = self.log
        if highest < len(log) and log.accepted[sequence] and log.sent_ns[highest] >= log.done_ns[sequence]:
            return log.phase[sequence]
        return None
