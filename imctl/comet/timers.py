"""Deadlines of many connections, without a timer each.

Each item sits in the bucket of the tick at which its deadline was when it was
put there. Moving a deadline later costs nothing: the item is looked at when
its old bucket is due, and put into its new one. Time is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["DeadlineWheel", "HasDeadline", "RunningClock"]


class HasDeadline(Protocol):
    """What the wheel needs of an item: when it ends, and a place for the wheel's own mark."""

    deadline: float
    tick: int


T = TypeVar("T", bound=HasDeadline)


class DeadlineWheel(Generic[T]):
    """A set of items, each with a deadline that may move later.

    Args:
        tick_s: Width of a bucket; an item ends at most this much after its deadline.
    """

    __slots__ = ("_buckets", "_done", "_per_s")

    def __init__(self, tick_s: float = 0.1) -> None:
        self._per_s = 1.0 / tick_s
        self._buckets: dict[int, set[T]] = {}
        self._done: int | None = None

    def add(self, item: T) -> None:
        """Put in an item by its `deadline`; to move a deadline earlier, add the item again."""
        if item.tick:
            self.discard(item)
        tick = int(item.deadline * self._per_s) + 1
        if self._done is not None and tick <= self._done:
            tick = self._done + 1
        item.tick = tick
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {item}
        else:
            bucket.add(item)

    def discard(self, item: T) -> None:
        """Take an item out; nothing happens when it is not in."""
        bucket = self._buckets.get(item.tick)
        if bucket is not None:
            bucket.discard(item)
            if not bucket:
                del self._buckets[item.tick]
        item.tick = 0

    def expired(self, now: float) -> list[T]:
        """Take out and return the items whose deadline has passed."""
        last = int(now * self._per_s)
        first = self._done + 1 if self._done is not None else min(self._buckets, default=last + 1)
        self._done = max(last, self._done or last)
        if last - first > len(self._buckets):
            due = sorted(tick for tick in self._buckets if tick <= last)
        else:
            due = [tick for tick in range(first, last + 1) if tick in self._buckets]
        ended: list[T] = []
        for tick in due:
            for item in self._buckets.pop(tick):
                item.tick = 0
                if item.deadline <= now:
                    ended.append(item)
                else:
                    self.add(item)
        return ended

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))


class RunningClock:
    """Seconds in which this process ran, without those in which it stood still.

    A machine takes processors away, an operator pauses a process: a deadline
    of a client that went on meanwhile would measure us and not the client, as
    what it has sent waits unread.

    Args:
        time: Source of seconds that never fall.
        tick_s: Time between two calls of tick(); one that comes more than this late tells of a standstill.
    """

    __slots__ = ("_stood_still_s", "_tick_s", "_ticked", "_time")

    def __init__(self, time: Callable[[], float], tick_s: float = 0.1) -> None:
        self._time = time
        self._tick_s = tick_s
        self._ticked = time()
        self._stood_still_s = 0.0

    def now(self) -> float:
        """Return the seconds; those of a standstill are in them until the tick that ends it."""
        return self._time() - self._stood_still_s

    def tick(self) -> float:
        """Note that the process runs, and return now()."""
        at = self._time()
        late_s = at - self._ticked - self._tick_s
        self._ticked = at
        if late_s > self._tick_s:
            self._stood_still_s += late_s
        return at - self._stood_still_s
