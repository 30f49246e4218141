"""Faults on the nodes of the cluster under test, by whoever can reach its processes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from time import monotonic_ns
from typing import Protocol

from sim.errors import SimError
from sim.report.model import EventReport
from sim.scenario import Event, EventKind, Scenario

__all__ = ["Faults", "check_node_events", "play_node_events"]

_NS_PER_S = 1_000_000_000


class Faults(Protocol):
    """Can kill, pause and restart nodes."""

    @property
    def nodes(self) -> Collection[str]:
        """Names of the nodes it can reach."""

    async def kill(self, node: str) -> None: ...

    async def pause(self, node: str) -> None: ...

    async def resume(self, node: str) -> None: ...

    async def restart(self, node: str) -> None: ...


def check_node_events(scenario: Scenario, faults: Faults | None) -> None:
    """See that every node event can be carried out.

    Raises:
        SimError: nobody can reach the nodes, or one is not there.
    """
    for event in scenario.events:
        if not event.kind.for_nodes:
            continue
        where = f"{scenario.path}:{event.line}:{event.column}: {event.kind.value} {event.node}"
        if faults is None:
            raise SimError(
                f"{where}: the nodes of this target cannot be reached", hint="run it against a cluster of imctl up"
            )
        if event.node not in faults.nodes:
            raise SimError(f"{where}: there is no node {event.node!r}", hint=f"there are {', '.join(faults.nodes)}")


async def play_node_events(events: Sequence[Event], faults: Faults, t0_ns: int, done: list[EventReport]) -> None:
    """Carry out the node events at their times; what was done goes into `done`."""
    async with asyncio.TaskGroup() as together:
        for event in events:
            if event.kind.for_nodes:
                together.create_task(_play(event, faults, t0_ns, done), name=f"{event.kind.value} {event.node}")


async def _play(event: Event, faults: Faults, t0_ns: int, done: list[EventReport]) -> None:
    await asyncio.sleep(max(t0_ns + round(event.at_s * _NS_PER_S) - monotonic_ns(), 0) / _NS_PER_S)
    at_s = round((monotonic_ns() - t0_ns) / _NS_PER_S, 3)
    match event.kind:
        case EventKind.KILL:
            await faults.kill(event.node)
        case EventKind.RESTART:
            await faults.restart(event.node)
        case EventKind.PAUSE:
            await faults.pause(event.node)
            try:
                await asyncio.sleep(event.for_s or 0.0)
            finally:
                # Also when the run is stopped: a node must not stay paused.
                await faults.resume(event.node)
    done.append(EventReport(at_s, event.kind.value, event.node, 1, event.for_s))
