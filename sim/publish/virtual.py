"""The virtual publishers of closed loops: send, wait, think, and again.

Each is a task with a generator of its own. Of N of them, number v sends the
messages v, v + N, v + 2N and so on of its publisher, so what each one sends
follows from the seed, however fast the others are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from time import monotonic_ns

from sim.clients.plan import Plan
from sim.publish.closed_loop import most_active, next_active_ns
from sim.publish.composer import Composer, Draft
from sim.publish.mix import choose, loops_of
from sim.scenario.publishing import ClosedLoop, WaitFor
from sim.scenario.shapes import NS_PER_S
from sim.scenario.times import draw_time_s

__all__ = ["Push", "VirtualPublishers", "count_virtual"]

_DELIVERY_TIMEOUT_S = 10.0
_AFTER_FAILURE_S = 0.1  # a logic that is gone refuses at once; without a think time that would be a busy loop

Push = Callable[[Draft], tuple[int, asyncio.Task[bool]]]
"""Begins a push; returns its number in its stream, and a task for whether logic acknowledged it."""


def count_virtual(plan: Plan) -> int:
    """Return how many virtual publishers there are at the busiest time."""
    scenario = plan.scenario
    return sum(most_active(closed, scenario.phases) for _, closed in loops_of(scenario.publish))


class VirtualPublishers:
    """All virtual publishers of a run.

    Args:
        plan: The scenario's plan.
        composers: Of each publisher.
        push: Begins a push.
        failures: Called with the reason each time that a delivery was not waited for any longer.
    """

    def __init__(self, plan: Plan, composers: list[Composer], push: Push, failures: Callable[[str], None]) -> None:
        self._plan = plan
        self._composers = composers
        self._push = push
        self._note = failures
        self._awaited: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._t0_ns = 0
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, t0_ns: int) -> None:
        """Start them; each ends with the last phase, or when its rows are used up."""
        self._t0_ns = t0_ns
        scenario = self._plan.scenario
        for mix, closed in loops_of(scenario.publish):
            many = most_active(closed, scenario.phases)
            for number in range(many):
                rng = Random(f"{scenario.seed}/closed/{mix[0]}/{number}")
                name = f"{scenario.publish[mix[0]].name} {number}"
                self.tasks.append(asyncio.create_task(self._live(mix, closed, number, many, rng), name=name))

    def seen(self, places: Iterable[tuple[int, int]]) -> None:
        """Note messages, each as (stream, sequence), that a client has read."""
        for place in places:
            future = self._awaited.pop(place, None)
            if future is not None and not future.done():
                future.set_result(None)

    async def _live(self, mix: tuple[int, ...], closed: ClosedLoop, number: int, many: int, rng: Random) -> None:
        scenario = self._plan.scenario
        left = list(mix)
        next_number = dict.fromkeys(mix, number)
        rests = True
        while left:
            at_ns = monotonic_ns() - self._t0_ns
            active_ns = next_active_ns(closed, scenario.phases, number, max(at_ns, 0))
            if active_ns is None:
                return
            if rests or active_ns > at_ns:
                # Those that begin together do not send together.
                thinks_s = draw_time_s(closed.think, rng) * rng.random()
                await asyncio.sleep((active_ns - at_ns) / NS_PER_S + thinks_s)
                rests = False
                continue
            index = left[choose([scenario.publish[one].weight for one in left], rng)]
            draft = self._composers[index].compose(next_number[index], rng)
            next_number[index] += many
            if draft is None:
                left.remove(index)
                continue
            await self._send(draft, closed)
            await asyncio.sleep(draw_time_s(closed.think, rng))

    async def _send(self, draft: Draft, closed: ClosedLoop) -> None:
        sequence, pushing = self._push(draft)
        delivered: asyncio.Future[None] | None = None
        place = draft.stream, sequence
        if closed.wait is WaitFor.DELIVERY and self._plan.streams[draft.stream].members:
            delivered = self._awaited[place] = asyncio.get_running_loop().create_future()
        try:
            # Shielded: the end of the run ends the waiting, not the push.
            if not await asyncio.shield(pushing):
                await asyncio.sleep(_AFTER_FAILURE_S)
            elif delivered is not None:
                async with asyncio.timeout(_DELIVERY_TIMEOUT_S):
                    await delivered
        except TimeoutError:
            self._note(f"read by nobody within {_DELIVERY_TIMEOUT_S:.0f} s, so its virtual publisher went on")
        finally:
            self._awaited.pop(place, None)
