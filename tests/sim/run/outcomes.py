"""Runs that were never made, and the reports on them."""

from array import array
from collections import Counter

from sim.clients.swarm import SwarmResult
from sim.measure.fanout import Reached
from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery, StreamLog
from sim.run.messages import Health, Published, Result
from sim.run.nodes import NodeSample
from sim.run.outcome import Outcome, judge_run
from sim.run.process import WorkerDiedError
from sim.scenario.expect import parse_expectation
from sim.scenario.scenario import Phase
from tests.sim.kit import NOWHERE, scenario_of

__all__ = ["DIED", "MS", "PHASES", "S", "health", "histogram", "judged", "lost", "published", "result", "sample"]

MS = 1_000_000
S = 1_000_000_000
DIED = WorkerDiedError("worker 1", -9, "")
PHASES = (Phase("warmup", 1.0, measure=False), Phase("steady", 4.0), Phase("spike", 1.0, publish_factor=4.0))


def histogram(*milliseconds):
    made = Histogram()
    for value in milliseconds:
        made.record(int(value * MS))
    return made


def health(*, cpu=10.0, lag_ms=1.0):
    return Health(cpu, histogram(lag_ms))


def result(*, deliveries=None, latency=None, cpu=10.0, lag_ms=1.0, failures=None, connected=3, failed=0, **more):
    """Return what a worker found of one population and one publisher, by phase."""
    latency = latency or [histogram(*[900.0] * 10), histogram(*[2.0] * 40), histogram(*[8.0] * 20)]
    return Result(
        SwarmResult(
            {(0, 0): deliveries or [Delivery(expected=10), Delivery(expected=40), Delivery(expected=20)]},
            {(0, 0, phase): one for phase, one in enumerate(latency)},
            connected=connected,
            failed=failed,
            failures=Counter(failures or {}),
            **more,
        ),
        health(cpu=cpu, lag_ms=lag_ms),
        {},
    )


def published(*, lag_ms=0.1, failures=None, lag_health_ms=1.0, logs=None, errors=None):
    return Published(
        logs or {0: StreamLog()},
        {(0, phase): histogram(*[lag_ms] * n) for phase, n in enumerate((5, 20, 10))},
        errors or {},
        failures or {},
        {0: 5, 1: 20, 5: 10},
        70,
        health(lag_ms=lag_health_ms),
        {(0, phase): n for phase, n in enumerate((5, 20, 10))},
    )


def judged(*, expect=(), before=(), after=(), **changes):
    expect = [parse_expectation(one, PHASES) if isinstance(one, str) else one for one in expect]
    scenario = scenario_of(phases=PHASES, expect=expect)
    parts = {
        "scenario": scenario,
        "target": NOWHERE,
        "started_at": "2026-01-01T00:00:00Z",
        "connect_s": 0.5,
        "published": published(),
        "results": [result()],
        "seconds": {0: histogram(1, 2), 1: histogram(3)},
        "alive": {0: 3, 1: 2},
        "dead": [],
        "workers": 1,
        "machine": {"cores": 2},
        "nodes": [(-S // 2, before), (7 * S, after)],
    }
    return judge_run(Outcome(**{**parts, **changes})).report


def sample(name="comet-1", *, pid=1, cpu_s=1.0, **drops):
    return NodeSample(name, pid, cpu_s, 1000, {key.replace("__", "."): count for key, count in drops.items()})


def lost(*, whole=0, some=0, cut_off=0):
    """Return what was published, and a worker whose three clients of a room missed some of it at second 2.

    Args:
        whole: Messages that all three missed.
        some: Messages that one of them missed.
        cut_off: Deliveries to clients whose connection ended.
    """
    messages = whole + some
    log = StreamLog([1] * messages, [2 * S] * messages, [2 * S + MS] * messages, [1] * messages)
    missed = array("q", [3] * whole + [1] * some)
    found = result(
        deliveries=[Delivery(), Delivery(expected=40, lost=3 * whole + some + cut_off), Delivery()],
        reached={(0, 0, False): Reached(array("q", [3] * messages), missed)},
        lost_ends=Counter({(1, 0, 21): cut_off}),
    )
    return {"published": published(logs={0: log}), "results": [found]}
