"""Which processes of a run say nothing any more.

Workers and the publisher report four times a second. One of which nothing
comes for many times as long hangs: somebody has stopped it, or its machine
has no memory or CPU for it. Only time in which this process itself ran
counts: while it, or the whole machine, stood still, nobody could be heard.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

__all__ = ["EVERY_S", "LIMIT_S", "Heartbeats"]

EVERY_S = 0.25
"""How often a process says something."""

LIMIT_S = 10.0
"""One that has said nothing for so long hangs."""

_NOTABLE_S = 3.0
_STEP_NS = 500_000_000  # what passes between two looks at most; more, and it was us who stood still
_NS_PER_S = 1_000_000_000


class Heartbeats:
    """Listens to the processes of one run.

    Args:
        limit_s: LIMIT_S unless given.
        now_ns: The time.
    """

    def __init__(self, limit_s: float | None = None, now_ns: Callable[[], int] = monotonic_ns) -> None:
        self._limit_ns = round((LIMIT_S if limit_s is None else limit_s) * _NS_PER_S)
        self._now_ns = now_ns
        self._looked_ns = now_ns()
        self._silent_ns: dict[str, int] = {}
        self._limits_ns: dict[str, int] = {}

    def expect(self, name: str, limit_s: float | None = None) -> None:
        """Listen to a process from now on; it may take another time for its first word."""
        self._silent_ns[name] = 0
        self._limits_ns[name] = self._limit_ns if limit_s is None else round(limit_s * _NS_PER_S)

    def heard(self, name: str) -> None:
        """Note that something came; nothing happens when it is not listened to."""
        if name in self._silent_ns:
            self.expect(name)

    def forget(self, name: str) -> None:
        """Listen to a process no more: it has nothing to say."""
        self._silent_ns.pop(name, None)

    def look(self) -> dict[str, float]:
        """Return those that have become silent for longer than they may, with for how many seconds; each once."""
        now_ns = self._now_ns()
        passed_ns, self._looked_ns = min(now_ns - self._looked_ns, _STEP_NS), now_ns
        hung = {}
        for name in list(self._silent_ns):
            self._silent_ns[name] += passed_ns
            if self._silent_ns[name] >= self._limits_ns[name]:
                hung[name] = self._silent_ns.pop(name) / _NS_PER_S
        return hung

    def notable(self) -> str:
        """Return who has been silent for seconds, for people to read; empty when nobody has.

        Who may take longer than others for its first word is passed over.
        """
        return ", ".join(
            f"nothing from {name} for {silent_ns // _NS_PER_S} s"
            for name, silent_ns in self._silent_ns.items()
            if silent_ns >= _NOTABLE_S * _NS_PER_S and self._limits_ns[name] == self._limit_ns
        )
