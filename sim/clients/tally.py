"""What the clients of one population receive, counted; the hot part of a worker's books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sim.clients.memo import Chunk, ChunkMemo, Entry, Groups, group
from sim.measure.fanout import Arrivals
from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery, LateArrivals
from sim.publish.sampling import Reads, is_traced
from sim.run.clocks import monotonic_ns

__all__ = ["Tally"]

_NS_PER_S = 1_000_000_000


class Tally:
    """Counts of one population, by cell (see sim.measure.cells) and by second of the run.

    Args:
        segments: How many the run has.
        arrivals: Told when the first and the last client read a message.
        live: Keep what is new for take_live().
        reads: Told when clients read messages that are followed; None when none is.

    Attributes:
        chunks: The memo's, an attribute less on the hot path.
        last, last_chunk: What the last client got that got something the memo knew; b"" and None before.
        latency: By cell.
        seconds: By second of the run in which a client read.
        late: Messages that came after one with a higher number.
        delivered: Deliveries recorded, copies not counted.
    """

    def __init__(self, segments: int, arrivals: Arrivals, *, live: bool = False, reads: Reads | None = None) -> None:
        self.memo = ChunkMemo(self.record_groups, self._retire)
        self.chunks = self.memo.chunks
        self.last = b""
        self.last_chunk: Chunk | None = None
        self.latency: dict[int, Histogram] = {}
        self.seconds: dict[int, Histogram] = {}
        self.late: LateArrivals = Counter()
        self.delivered = 0
        self._deliveries: dict[int, list[Delivery]] = {}
        self._segments = segments
        self._arrivals = arrivals
        self._reads = reads
        self._t0_ns = 0
        self._second_at = -1
        # Of that second, by cell: each delivery is recorded once and added to the other views later.
        self._fresh: dict[int, Histogram] = {}
        self._live: dict[int, Histogram] | None = {} if live else None

    def begin(self, t0_ns: int) -> None:
        """Set when the first phase starts, before any message is published."""
        self._t0_ns = t0_ns

    def record(self, entries: Sequence[Entry], at_ns: int, count: int) -> None:
        """Record `count` deliveries of each of the entries, read at `at_ns`."""
        self.record_groups(group(entries), at_ns, count)
        self._arrivals.note(entries, at_ns, at_ns)

    def record_groups(self, groups: Groups, at_ns: int, count: int) -> None:
        """As record(), for messages that have been grouped; the memo notes itself who was first and last."""
        second = (at_ns - self._t0_ns) // _NS_PER_S
        if second != self._second_at:
            self._fold()
            self._second_at = second
        fresh, reads = self._fresh, self._reads
        for intended_ns, cell, messages in groups:
            histogram = fresh.get(cell)
            if histogram is None:
                histogram = fresh[cell] = Histogram()
            histogram.record(at_ns - intended_ns, messages * count)
            self.delivered += messages * count
            if reads is not None and is_traced(intended_ns):
                reads.add(intended_ns, count, (at_ns - intended_ns) * count)

    def row(self, publisher: int) -> list[Delivery]:
        """Return the counts of a publisher's messages, by segment."""
        row = self._deliveries.get(publisher)
        if row is None:
            row = self._deliveries[publisher] = [Delivery() for _ in range(self._segments)]
        return row

    def delivery(self, cell: int) -> Delivery:
        """Return the counts of a cell."""
        publisher, segment = divmod(cell, self._segments)
        return self.row(publisher)[segment]

    @property
    def deliveries(self) -> dict[int, list[Delivery]]:
        """Counts by publisher and segment; publishers without any are left out."""
        return self._deliveries

    def settle(self) -> None:
        """Bring every view up to date."""
        self.memo.settle_all()
        self._fold()

    def take_seconds(self, *, all_of_them: bool) -> dict[int, Histogram]:
        """Return and forget the seconds that are over."""
        now = (monotonic_ns() - self._t0_ns) // _NS_PER_S
        # One second of grace: deliveries of its last moments may still be recorded.
        over = [second for second in self.seconds if all_of_them or second < now - 1]
        return {second: self.seconds.pop(second) for second in over}

    def take_live(self) -> dict[int, Histogram]:
        """Return and forget the latencies by cell since the last call; {} where nobody asked for them."""
        taken = self._live or {}
        if taken:
            self._live = {}
        return taken

    def close(self) -> None:
        """Tell the arrivals of the chunks that are still remembered; call it after settle(), at the end."""
        for chunk in self.chunks.values():
            self._retire(chunk)

    def _retire(self, chunk: Chunk) -> None:
        if chunk is self.last_chunk:
            # It is in no book any more: what another client gets must not be counted in it.
            self.last, self.last_chunk = b"", None
        if chunk.first_ns:
            self._arrivals.note(chunk.entries, chunk.first_ns, chunk.last_ns)

    def _fold(self) -> None:
        """Add what the present second has so far to its cells and to the seconds."""
        for cell, histogram in self._fresh.items():
            self.seconds.setdefault(self._second_at, Histogram()).merge(histogram)
            self.latency.setdefault(cell, Histogram()).merge(histogram)
            if self._live is not None:
                self._live.setdefault(cell, Histogram()).merge(histogram)
        self._fresh = {}
