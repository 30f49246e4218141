"""How many connections a comet holds, in all and from one source."""

from __future__ import annotations

__all__ = ["Places"]


class Places:
    """Counts connections up to two limits.

    Args:
        most: In all.
        most_a_source: From one address; 0 for no limit.

    Attributes:
        taken: Connections now.
    """

    __slots__ = ("_most", "_most_a_source", "_sources", "taken")

    def __init__(self, most: int, most_a_source: int = 0) -> None:
        self._most = most
        self._most_a_source = most_a_source
        self._sources: dict[str, int] = {}
        self.taken = 0

    def enter(self, source: str) -> str:
        """Take a place for a connection from an address; return "", or the name under which its refusal is counted."""
        if self.taken >= self._most:
            return "refused.max_connections"
        if self._most_a_source:
            held = self._sources.get(source, 0)
            if held >= self._most_a_source:
                return "refused.max_connections_per_source"
            self._sources[source] = held + 1
        self.taken += 1
        return ""

    def leave(self, source: str) -> None:
        """Give back the place of one connection that entered."""
        self.taken -= 1
        if self._most_a_source:
            left = self._sources[source] - 1
            if left:
                self._sources[source] = left
            else:
                del self._sources[source]
