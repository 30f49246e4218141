"""What every node is: something with a name that starts, stops and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Counters", "Node", "NodeStats"]

NodeStats = dict[str, object]
"""JSON-ready: {"kind", "counters": {name: int}, "drops": {reason: int}, "gauges": {name: number}}.

`drops` are messages or connections lost, by place and reason (`comet.slow_client`);
every key of it is also what a load report names in `lost_at`.
"""


class Counters:
    """Plain integer counters by name: `counters["pushed"] += 1` costs a dict store, no lock, no label."""

    __slots__ = ("values",)

    def __init__(self, *names: str) -> None:
        self.values: dict[str, int] = dict.fromkeys(names, 0)

    def add(self, name: str, count: int = 1) -> None:
        """Add `count` to a counter, which starts at 0 when it is new."""
        values = self.values
        values[name] = values.get(name, 0) + count

    def nonzero(self) -> dict[str, int]:
        """Return the counters that have counted something."""
        return {name: value for name, value in self.values.items() if value}


class Node(Protocol):
    """One comet, logic, job or registry; several can live in one event loop."""

    kind: str
    name: str

    async def start(self) -> None:
        """Listen, register and begin work.

        Raises:
            StartError: a port is in use, a peer that must be there is not.
        """

    async def stop(self, grace_s: float = 5.0) -> None:
        """Leave the registry, close listeners, drain for at most `grace_s`, end all tasks. Safe to call twice."""

    @property
    def addresses(self) -> Mapping[str, str | None]:
        """Where it listens, such as {"tcp": "127.0.0.1:3101", "wss": None}; complete after start()."""

    def stats(self) -> NodeStats:
        """Return the node's counters as they are now; cheap, no waiting."""
