"""What it costs a connect and a push that there could be hooks, when none are loaded.

It is a few tests and notes, too little to tell from the noise between two runs
of a cluster. So these operations themselves are timed in a tight loop, on the
comet's own objects, and put in proportion to the CPU time of a whole connect
and a whole push in the same run.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

from benchmarks.connect import storm
from benchmarks.measure import Line, cpu_s
from benchmarks.processes import cluster, pid_of, sink
from benchmarks.push import pushes
from imctl.comet.channel import Channel
from imctl.comet.config import CometConfig
from imctl.comet.sessions import Sessions
from imctl.link.pool import PeerPool
from protocol.pb.logic import ConnectReply

__all__ = ["run"]

_ROUNDS = 9
_TIMES = 20_000
_INFLIGHT = 200
_CONNECTS = 3000
_MIDS = 1000
_PUSHES = 6000
_GOAL_PERCENT = 2.0


async def run() -> list[Line]:
    """Time the operations before and after the cluster's work, for cores that change their speed."""
    of_connect, of_push = (
        partial(_of_connects, Sessions(CometConfig(hostname="bench"), cast(PeerPool, None))),
        _of_pushes,
    )
    before = [_ns(of_connect), _ns(of_push)]
    wholes_us = await _wholes_us()
    after = [_ns(of_connect), _ns(of_push)]
    parts_ns = map(statistics.mean, zip(before, after, strict=True))
    return [_line(*found) for found in zip(("connect", "push"), parts_ns, wholes_us, strict=True)]


def _line(name: str, part_ns: float, whole_us: float) -> Line:
    percent = part_ns / 10 / whole_us
    return Line(
        f"possible hooks, of a {name}",
        "% of its CPU",
        percent,
        goal=f"at most {_GOAL_PERCENT:g} % while none are loaded",
        met=percent <= _GOAL_PERCENT,
        detail={"ns": round(part_ns), "us in all": round(whole_us, 1)},
    )


async def _wholes_us() -> tuple[float, float]:
    """Return CPU microseconds of a connect and of a push, of all nodes together."""
    async with cluster() as info:
        host, _, port = info.comet_tcp[0].rpartition(":")
        pids = [pid_of(info, "comet"), pid_of(info, "core")]
        await storm(host, int(port), pids, count=300)  # the first connects import and allocate
        connect_us = await storm(host, int(port), pids, count=_CONNECTS)
        async with sink(info.comet_tcp[0], _MIDS, "tcp"):
            await pushes(info.logic_http, 1000)
            before = sum(map(cpu_s, pids))
            await pushes(info.logic_http, _PUSHES)
            return connect_us, (sum(map(cpu_s, pids)) - before) / _PUSHES * 1e6


def _ns(loop: Callable[[int], None]) -> float:
    """Return CPU nanoseconds of one turn of a loop, the loop itself included."""

    def once() -> float:
        before = time.process_time_ns()
        loop(_TIMES)
        return (time.process_time_ns() - before) / _TIMES

    return statistics.median(once() for _ in range(_ROUNDS))


def _of_connects(sessions: Sessions, times: int) -> None:
    """Do for each connect what comet does for hooks alone: see `guard` in imctl.comet.sessions and channel.

    Logic does nothing: without hooks its handlers are others.
    """
    guards = sessions.guards
    channel = Channel(sessions, is_ws=False)
    reply = ConnectReply.FromString(
        ConnectReply(mid=1, key="storm-1", roomID="live://1", accepts=[1000], heartbeat=1).SerializeToString()
    )
    asked = deque(guards.asking() for _ in range(_INFLIGHT))
    for _ in range(times):
        channel.guard = None
        asked.append(guards.asking())
        answered = partial(guards.answered, asked.popleft())
        if reply.HasField("session"):
            raise AssertionError("without hooks there is no session")
        if channel.session and guards.was_kicked(channel.session):
            raise AssertionError("without hooks nobody is kicked")
        if channel.guard is not None:
            guards.begin(channel.guard)
        answered()
    for number in asked:
        guards.answered(number)


class _Pusher:
    """Where logic's pusher keeps its hooks."""

    def __init__(self) -> None:
        self.hooks: object | None = None


def _of_pushes(times: int) -> None:
    """Do for each push what logic does for hooks alone: see `_hooks` in imctl.logic.push. Job and comet do nothing."""
    pusher = _Pusher()
    for _ in range(times):
        if pusher.hooks is not None:
            raise AssertionError("there are no hooks")
