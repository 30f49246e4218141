"""What decoding a stream needs on either transport: bytes kept until whole, gaps, and where frames begin again.

Bytes come with feed(), in pieces cut anywhere; items() gives what can be told
so far, and what it gives does not depend on the cuts but for one thing: a
problem is told as soon as it is met, so the bytes behind it may be told by a
second one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from imctl.decode.items import Problem, Row

__all__ = ["CUT_HINT", "Items", "StreamWalker", "plural"]

CUT_HINT = "the input may have been cut here"
_LOST_KEPT = 65536
"""Bytes without a frame that are searched for the next one; of more than that the last half is."""

Items = list[Row | Problem]


def plural(count: int, noun: str = "byte") -> str:
    """Return such as `1 byte` and `2 bytes`."""
    return f"{count} {noun}{'s' * (count != 1)}"


class StreamWalker(ABC):
    """One direction of a connection.

    Args:
        base: Offset of its first byte.
        max_kept: Longest frame whose body is kept, in bytes, None for no limit; of a longer one the header is told.
        lost: It may begin in the middle of a frame.
    """

    def __init__(self, base: int = 0, *, max_kept: int | None = None, lost: bool = False) -> None:
        self._base = base  # offset of _data
        self._data = b""
        self._at = 0  # what is before is done with
        self._more: list[bytes] = []  # fed and not yet in _data: joined when there is enough, so each byte once
        self._more_bytes = 0
        self._need = 1  # bytes from _at on without which nothing can be told
        self._frame = 0  # size of the frame that is waited for, 0 when not known
        self._skip = 0  # bytes to come of a frame that was told already
        self._max_kept = max_kept
        self._lost = lost
        self._told_to = base  # while lost: bytes before this offset are in a problem already
        self._ended = False

    @property
    def offset(self) -> int:
        """Bytes so far, those of gaps included."""
        return self._base + len(self._data) + self._more_bytes

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        if self._skip:
            cut = min(self._skip, len(data))
            self._skip -= cut
            self._join()
            self._base += cut
            data = data[cut:]
        if data:
            self._more.append(data)
            self._more_bytes += len(data)

    def items(self) -> Iterator[Row | Problem]:
        """Yield what can be told by now; has to be gone through to its end."""
        if self._left() < self._need and not self._ended:
            return
        self._join()
        while self._at < len(self._data):
            found = self._resume() if self._lost else self._take()
            if found is None:
                return
            yield from found
        if self._ended:
            yield from self._finish()

    def end(self) -> Iterator[Row | Problem]:
        """Yield what is left: no more bytes will come."""
        self._ended = True
        return self.items()

    def gap(self, size: int, what: str, hint: str = "") -> Items:
        """Tell that bytes are missing here, and look for a frame behind them.

        Args:
            size: How many.
            what: Why.
            hint: What to do about it.
        """
        here, left = self.offset, self._left()
        missing = Problem(here, size, what, plural(size), hint, incomplete=True)
        inside = self._skip >= size if self._skip else self._frame >= left + size
        if inside:  # of a frame with a known end, so that the next one is not lost
            after = self._skip - size if self._skip else self._frame - left - size
        cut = self._unfound(here) if self._lost else self._cut() if left else []
        self._restart(here + size)
        if inside:
            self._skip = after
        else:
            self._lost, self._told_to = True, here + size
        return [*cut, missing]

    @abstractmethod
    def _take(self) -> Items | None:
        """Take what begins at _at, or return None after _wait(); once _ended there is always something to take."""

    @abstractmethod
    def _find(self, data: bytes, at: int) -> int:
        """Return where the first whole frame at or after a place begins, -1 when there is none."""

    def _restart(self, offset: int) -> None:
        """Go on at an offset, with nothing kept."""
        self._base, self._data, self._at, self._more, self._more_bytes = offset, b"", 0, [], 0
        self._need, self._frame, self._skip = 1, 0, 0

    def _left(self) -> int:
        return len(self._data) - self._at + self._more_bytes

    def _join(self) -> None:
        self._base += self._at
        self._data = b"".join((self._data[self._at :], *self._more))
        self._at, self._more, self._more_bytes = 0, [], 0

    def _pass(self, size: int) -> None:
        """Go on behind so many bytes, which may not all be here yet."""
        here = min(size, len(self._data) - self._at)
        self._at += here
        self._skip = size - here
        self._need, self._frame = 1, 0

    def _wait(self, need: int, *, frame: bool = False) -> Items | None:
        """Ask for so many bytes from _at on, with `frame` those of one whole frame; for _take() to return."""
        self._need, self._frame = need, need if frame else 0
        return None

    def _lose(self) -> None:
        """Bytes up to the end of what is here are in a problem: look for the next frame in them and behind."""
        self._lost, self._told_to = True, self._base + len(self._data)

    def _resume(self) -> Items | None:
        start = self._find(self._data, self._at)
        left = len(self._data) - self._at
        if start < 0 and not self._ended:
            if left > _LOST_KEPT:
                self._at += left - _LOST_KEPT // 2
            self._need = len(self._data) - self._at + 1
            return None
        self._lost, self._need = False, 1
        self._at = start if start >= 0 else len(self._data)
        hint = f"frames begin again at offset {self._base + start}" if start >= 0 else ""
        return self._unfound(self._base + self._at, hint)

    def _unfound(self, end: int, hint: str = "") -> Items:
        """Return what there is to say of the bytes before an offset that were searched in vain."""
        size = end - self._told_to
        if size <= 0:
            return []
        what = f"{plural(size)} without the beginning of a frame"
        return [Problem(self._told_to, size, what, "a frame", hint, incomplete=True)]

    def _cut(self) -> Items:
        """Return what there is to say of the bytes that are kept when the next ones are missing."""
        self._join()
        what = f"{plural(len(self._data))} of a frame whose rest is missing"
        expected = plural(self._frame) if self._frame else "a whole frame"
        return [Problem(self._base, len(self._data), what, expected, incomplete=True)]

    def _finish(self) -> Items:
        """Return what there is to say at the end, when all bytes are taken."""
        if not self._skip:
            return []
        skip, self._skip = self._skip, 0
        what = f"the frame before ends {plural(skip)} later"
        return [Problem(self.offset, 0, what, f"{plural(skip)} more", CUT_HINT, incomplete=True)]
