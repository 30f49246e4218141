"""What the parent, the workers and the publisher of one run tell each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sim.clients.swarm import SwarmResult
from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery, StreamLog
from sim.publish.sampling import TracedPush
from sim.run.target import Target
from sim.scenario.scenario import Scenario

__all__ = [
    "Begin",
    "Connect",
    "Connected",
    "Finish",
    "Health",
    "Job",
    "Judging",
    "Progress",
    "PublishProgress",
    "Published",
    "Result",
    "Seen",
    "Stop",
]


@dataclass(frozen=True, slots=True)
class Job:
    """First message to a child: what to do, and which share of it."""

    scenario: Scenario
    target: Target
    run: int
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Connect:
    """To a worker: connect your clients."""


@dataclass(frozen=True, slots=True)
class Begin:
    """To all: the first phase begins at this time of the monotonic clock."""

    t0_ns: int


@dataclass(frozen=True, slots=True)
class Finish:
    """To a worker: nothing more will be published; this was. {stream: log}, None when nobody knows."""

    logs: Mapping[int, StreamLog] | None


@dataclass(frozen=True, slots=True)
class Health:
    """How a process of the generator did from Begin on: CPU share of one core, lag of its event loop."""

    cpu_percent: float
    lag: Histogram


@dataclass(frozen=True, slots=True)
class Progress:
    """From a worker, four times a second.

    Args:
        seconds: Those of the run that are over.
        lost_connections, reconnects: As in SwarmResult.
        live: Latencies that are new, by population, publisher and segment; {} unless the run can be ended by them.
        deliveries: What is known of deliveries so far, by population and publisher; {} as there.
    """

    connected: int
    failed: int
    alive: int
    delivered: int
    seconds: Mapping[int, Histogram] = field(default_factory=dict)
    lost_connections: int = 0
    reconnects: int = 0
    live: Mapping[tuple[int, int, int], Histogram] = field(default_factory=dict)
    deliveries: Mapping[tuple[int, int], list[Delivery]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """From a worker, and on to the publisher: messages that a client was the first of the worker's to read.

    Only those of streams whose publishers wait for that. Each is (stream, sequence).
    """

    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """To the publisher: send nothing more, wait for the answers, and tell what there is."""


@dataclass(frozen=True, slots=True)
class Connected:
    """From a worker: every client is in or has failed."""


@dataclass(frozen=True, slots=True)
class Judging:
    """From a worker, four times a second after Finish: it is at work on its Result."""


@dataclass(frozen=True, slots=True)
class Result:
    """From a worker: the end."""

    swarm: SwarmResult
    health: Health
    seconds: Mapping[int, Histogram]


@dataclass(frozen=True, slots=True)
class PublishProgress:
    """From the publisher, once when it is ready to begin, then four times a second.

    Args:
        sent: Messages so far, by publisher and segment.
        failed: Of those, errors.
    """

    messages: int
    errors: int
    expected: int
    sent: Mapping[tuple[int, int], int] = field(default_factory=dict)
    failed: Mapping[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """From the publisher: the schedule is over and every answer is in.

    Args:
        logs: By stream.
        lag: Send lag by publisher and segment: how late requests began; of open loops.
        errors: By publisher and segment.
        failures: {reason: messages}.
        seconds: Messages begun by second of the run.
        sent: Messages by publisher and segment, of open and closed loops.
        traced: Of those, the ones that are followed.
    """

    logs: Mapping[int, StreamLog]
    lag: Mapping[tuple[int, int], Histogram]
    errors: Mapping[tuple[int, int], int]
    failures: Mapping[str, int]
    seconds: Mapping[int, int]
    expected: int
    health: Health
    sent: Mapping[tuple[int, int], int] = field(default_factory=dict)
    traced: Sequence[TracedPush] = ()
