"""What the simulator's network costs for each chunk it forwards, beside a uvloop loop that only counts bytes."""

from __future__ import annotations

import statistics

from benchmarks.measure import Line, ratio_of_medians
from benchmarks.simulator import rig
from sim.scenario.scenario import Event, EventKind, Network

__all__ = ["run"]

_ROUNDS = 4
_NETWORKS: tuple[tuple[str, Network | None, tuple[Event, ...]], ...] = (
    ("a fault to come", None, (Event(3000.0, EventKind.RESET, "viewers"),)),
    ("latency and jitter", Network(latency_s=0.05, jitter_s=0.02), ()),
    ("bandwidth", Network(bandwidth_bytes_per_s=10e6), ()),
)


async def run() -> list[Line]:
    """Measure each sort of network with one message a chunk, and what a chunk takes more CPU than in the raw loop."""
    lines: list[Line] = []
    for name, network, events in _NETWORKS:
        async with rig(network, events) as clients:
            values, raws = await clients.rounds(1, _ROUNDS)
        value, raw, ratio = statistics.median(values), statistics.median(raws), ratio_of_medians(values, raws)
        detail = {"us a chunk": round(1e6 / value, 2), "us raw": round(1e6 / raw, 2)}
        goal = "at least 0.6 of a loop that counts bytes"
        lines.append(Line(f"network, {name}", "chunks/CPU-s", value, raw, ratio, goal, ratio >= 0.6, detail))
    return lines
