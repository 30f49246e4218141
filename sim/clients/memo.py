"""One chunk of bytes, decoded once for all clients that receive it.

In a room everybody gets the same bytes. The first client to receive a chunk
decodes it; for every other one that is where it left off, a delivery is one
dictionary look-up by those bytes, one comparison and one count. Latencies are
counted the same way: deliveries of a chunk that fall into one short span of
time (under 1 % of the chunk's smallest latency) are recorded together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["CODE_BITS", "Chunk", "ChunkMemo", "Entry", "Groups", "code_of", "group"]

CODE_BITS = 32
_CAPACITY = 4096
# Not -1, which is where a client is before its first message and while half a frame waits.
_NOT_ONE_RUN = -2
_MIN_SPAN_NS = 2048


def code_of(stream: int, sequence: int) -> int:
    """Return one number for a place in a stream, so that one comparison checks both."""
    return stream << CODE_BITS | sequence


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in a chunk.

    Args:
        stream: Which stream.
        sequence: Its place in it.
        intended_ns: When it was meant to be sent.
        cell: Where its figures go: the publisher's number times the number of segments, plus the segment's.
    """

    stream: int
    sequence: int
    intended_ns: int
    cell: int


Groups = tuple[tuple[int, int, int], ...]
"""(intended ns, cell, messages) of messages that have both in common: one latency to record for all of them."""


def group(entries: Sequence[Entry]) -> Groups:
    """Return the groups of some messages; neighbours only, as messages of one instant are."""
    groups: list[tuple[int, int, int]] = []
    for entry in entries:
        if groups and groups[-1][:2] == (entry.intended_ns, entry.cell):
            groups[-1] = (*groups[-1][:2], groups[-1][2] + 1)
        else:
            groups.append((entry.intended_ns, entry.cell, 1))
    return tuple(groups)


class Chunk:
    """A decoded chunk and the deliveries of it that are not recorded yet.

    Attributes:
        first: Code a client must be at to take the fast path; a number no client is
            ever at when the chunk is not one run of one stream.
        next: Code the client is at afterwards.
        until_ns: End of the span whose deliveries are counted in `waiting`.
        first_ns, last_ns: When the first client read it, and the last one of those that have been recorded.
    """

    __slots__ = (
        "at_ns",
        "entries",
        "first",
        "first_ns",
        "groups",
        "last_ns",
        "newest_ns",
        "next",
        "until_ns",
        "waiting",
    )

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self.groups = group(entries)
        first = code_of(entries[0].stream, entries[0].sequence)
        one_run = all(code_of(e.stream, e.sequence) == first + i for i, e in enumerate(entries))
        self.first = first if one_run else _NOT_ONE_RUN
        self.next = first + len(entries)
        self.newest_ns = max(entry.intended_ns for entry in entries)
        self.at_ns = 0
        self.until_ns = 0
        self.waiting = 0
        self.first_ns = 0
        self.last_ns = 0


class ChunkMemo:
    """The chunks seen lately, by their bytes.

    Args:
        record: Called with (groups, time of arrival, deliveries) for each span.
        retire: Called with each chunk that is forgotten.
    """

    __slots__ = ("_record", "_retire", "chunks")

    def __init__(
        self, record: Callable[[Groups, int, int], None], retire: Callable[[Chunk], None] = lambda chunk: None
    ) -> None:
        self._record = record
        self._retire = retire
        self.chunks: dict[bytes, Chunk] = {}

    def add(self, data: bytes, entries: tuple[Entry, ...]) -> Chunk:
        """Remember a chunk; the oldest one is recorded and forgotten when there are too many."""
        chunks = self.chunks
        if len(chunks) >= _CAPACITY:
            oldest = chunks.pop(next(iter(chunks)))
            self.settle(oldest)
            self._retire(oldest)
        chunk = chunks[data] = Chunk(entries)
        return chunk

    def roll(self, chunk: Chunk, now_ns: int) -> None:
        """Record a chunk's span and begin a new one with one delivery now."""
        self.settle(chunk)
        # The span is 1/128 of the smallest latency, and its middle is recorded: 0.4 % at most.
        span = max((now_ns - chunk.newest_ns) >> 7, _MIN_SPAN_NS)
        chunk.at_ns = now_ns + (span >> 1)
        chunk.until_ns = now_ns + span
        chunk.waiting = 1
        if not chunk.first_ns:
            chunk.first_ns = now_ns

    def settle(self, chunk: Chunk) -> None:
        """Record what waits in a chunk."""
        if chunk.waiting:
            self._record(chunk.groups, chunk.at_ns, chunk.waiting)
            chunk.last_ns = chunk.at_ns
            chunk.waiting = 0
            chunk.until_ns = 0

    def settle_all(self) -> None:
        """Record what waits in every chunk, so that counts are complete."""
        for chunk in self.chunks.values():
            if chunk.waiting:
                self.settle(chunk)
