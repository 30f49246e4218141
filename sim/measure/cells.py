"""Where the figures of a message go: one cell for each publisher and segment of the run."""

from __future__ import annotations

from sim.clients.plan import Plan
from sim.measure.segments import segments_of

__all__ = ["Cells"]


class Cells:
    """The cells of a run, by number.

    A stream that several publishers share counts for the first of them: its messages do not tell. So what is counted
    for one of these is no figure of it alone (Plan.sharing()).

    Attributes:
        segments: The run, cut.
        publishers: Publisher of each stream, by number.
    """

    def __init__(self, plan: Plan) -> None:
        self.segments = segments_of(plan.scenario)
        self.publishers = [0] * len(plan.streams)
        for publisher in reversed(range(len(plan.publishers))):
            for stream in plan.publishers[publisher]:
                self.publishers[stream] = publisher

    def cell(self, stream: int, at_ns: int) -> int:
        """Return the cell of a message of a stream, planned for a time from the start of the first phase."""
        publisher = self.publishers[stream] if stream < len(self.publishers) else 0
        return publisher * len(self.segments) + self.segments.at(at_ns)

    def split(self, cell: int) -> tuple[int, int]:
        """Return (publisher, segment) of a cell."""
        return divmod(cell, len(self.segments))
