"""How far a partition is done, when its records are done in any order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

__all__ = ["OffsetTracker"]


class OffsetTracker:
    """Offsets received of one partition, and the offset before which all are done.

    Args:
        start: Where the next delivery after a crash would begin now.
    """

    __slots__ = ("_last", "_open", "_order", "committed")

    def __init__(self, start: int) -> None:
        self.committed = start
        """What the broker was last told, kept by the caller."""
        self._last = start - 1
        self._order: deque[int] = deque()
        self._open: set[int] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[int]:
        return iter(self._open)

    def add(self, offset: int) -> bool:
        """Take a record up; False for one that was taken up before."""
        if offset <= self._last:
            return False
        self._last = offset
        self._order.append(offset)
        self._open.add(offset)
        return True

    def done(self, offset: int) -> bool:
        """Mark a record as done; False when it was or is not known."""
        if offset not in self._open:
            return False
        self._open.remove(offset)
        order = self._order
        while order and order[0] not in self._open:
            order.popleft()
        return True

    @property
    def position(self) -> int:
        """The lowest offset that is not done, or the one after the last."""
        return self._order[0] if self._order else self._last + 1
