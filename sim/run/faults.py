"""Faults on the nodes of the cluster under test, by whoever can reach its processes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from time import monotonic_ns
from typing import Protocol

from sim.errors import SimError
from sim.report.model import EventReport
from sim.scenario.scenario import Event, EventKind, Scenario

__all__ = ["Faults", "check_node_events", "play_node_events"]

_NS_PER_S = 1_000_000_000


class Faults(Protocol):
    """Can kill, pause and restart nodes; what cannot be done is a SimError."""

    @property
    def nodes(self) -> Collection[str]:
        """Names of the nodes it can reach."""

    async def kill(self, node: str) -> None:
        """End its process at once."""

    async def pause(self, node: str) -> None:
        """Stop its process."""

    async def resume(self, node: str) -> None:
        """Let its process go on; no error when it was not stopped."""

    async def restart(self, node: str) -> None:
        """Stop it in good order and start it again."""


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


async def play_node_events(
    events: Sequence[Event], faults: Faults, t0_ns: int, done: list[EventReport], failed: list[str]
) -> None:
    """Carry out the node events at their times; what was begun goes into `done`, why one could not be into `failed`."""
    async with asyncio.TaskGroup() as together:
        for event in events:
            if event.kind.for_nodes:
                work = _play(event, faults, t0_ns, done, failed)
                together.create_task(work, name=f"{event.kind.value} {event.node}")


async def _play(event: Event, faults: Faults, t0_ns: int, done: list[EventReport], failed: list[str]) -> None:
    await asyncio.sleep(max(t0_ns + round(event.at_s * _NS_PER_S) - monotonic_ns(), 0) / _NS_PER_S)
    at_s = round((monotonic_ns() - t0_ns) / _NS_PER_S, 3)
    report = EventReport(at_s, event.kind.value, event.node, 1, event.for_s)
    try:
        match event.kind:
            case EventKind.KILL:
                await faults.kill(event.node)
                done.append(report)
            case EventKind.RESTART:
                done.append(report)  # it takes a while, and the run may be over before
                await faults.restart(event.node)
            case EventKind.PAUSE:
                await _pause(event, faults, report, done)
    except SimError as exc:
        failed.append(f"{event.kind.value} {event.node} at {at_s} s: {exc.message}")


async def _pause(event: Event, faults: Faults, report: EventReport, done: list[EventReport]) -> None:
    try:
        await faults.pause(event.node)
        done.append(report)
        await asyncio.sleep(event.for_s or 0.0)
    finally:
        # Also when the run is stopped, or nobody knows whether the pause came through: a node must not stay stopped.
        await faults.resume(event.node)
