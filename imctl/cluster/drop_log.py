"""What a node without a supervisor says of itself: a line when it has dropped something, and everything on a signal."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

from imctl.node import NodeStats

__all__ = ["log_drops", "log_stats"]

log = logging.getLogger("imctl.drops")

Stats = Callable[[], Mapping[str, NodeStats]]
"""Returns {part: stats} of a process."""


async def log_drops(stats: Stats, *, every_s: float = 30.0) -> None:
    """Warn, at most once in `every_s`, with the number of each drop since the time before; until cancelled."""
    before: dict[str, int] = {}
    while True:
        await asyncio.sleep(every_s)
        now = _drops(stats())
        new = {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}
        if new:
            said = ", ".join(f"{name} {count}" for name, count in new.items())
            log.warning("dropped in the last %g s: %s", every_s, said)
        before = now


def log_stats(stats: Stats) -> None:
    """Log everything that is counted, as one line of JSON."""
    log.info("stats %s", json.dumps(stats()))


def _drops(stats: Mapping[str, NodeStats]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in stats.values():
        drops = part["drops"]
        assert isinstance(drops, Mapping), "as NodeStats has it"
        for name, count in drops.items():
            found[name] = found.get(name, 0) + count
    return found
