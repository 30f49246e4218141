"""What a node remembers of messages that are followed, see protocol.trace."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic_ns
from typing import Any

from protocol.aio.clock_id import clock_id
from protocol.trace import Place, TracePoint

__all__ = ["TraceLog", "clock_id"]

_KEPT = 4096


class TraceLog:
    """The last points of one node; the oldest goes when there are too many.

    Args:
        node: Its hostname.
        kept: How many points it remembers.
    """

    def __init__(self, node: str, *, kept: int = _KEPT) -> None:
        self.node = node
        self._points: deque[TracePoint] = deque(maxlen=kept)

    def add(self, traces: Iterable[int], place: Place, *, at_ns: int = 0, **facts: Any) -> None:
        """Remember that messages were seen.

        Args:
            traces: Which.
            place: Where.
            at_ns: When, by time.monotonic_ns(); now when it is 0.
            facts: Further fields of TracePoint; Any, as they are of several types.
        """
        now_ns = at_ns or monotonic_ns()
        for trace in traces:
            self._points.append(TracePoint(trace, place, self.node, now_ns, **facts))

    def read(self, trace: int = 0, after_ns: int = 0) -> list[dict[str, Any]]:
        """Return points ready for JSON, in the order in which they were added.

        Args:
            trace: Only of this message; 0 for all.
            after_ns: Only those of later than that.
        """
        return [
            point.dump() for point in self._points if point.at_ns > after_ns and (not trace or point.trace == trace)
        ]
