"""A scenario as checked values: who connects, what is published when, and what must hold.

`sim.load` makes these from a YAML file; nothing here reads or checks anything.
Times are seconds, sizes bytes and rates per second, whatever the file wrote.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "DEFAULT_OP",
    "MAX_SIZE_BYTES",
    "MIN_SIZE_BYTES",
    "Arrival",
    "Backoff",
    "Churn",
    "Event",
    "EventKind",
    "Expectation",
    "LognormalSize",
    "Phase",
    "Population",
    "PublishTo",
    "Publisher",
    "Scenario",
    "Size",
    "UniformSize",
]

DEFAULT_OP = 1000
"""goim's first operation for applications, which its own examples push and accept."""

MIN_SIZE_BYTES = 24
"""Smallest body that has room for what `sim.stamp` writes."""

MAX_SIZE_BYTES = 512 * 1024
"""Largest body a scenario can ask for: under the 1 MB at which Kafka, goim's bus, refuses a record."""


class PublishTo(enum.StrEnum):
    """Which of goim's four pushes a publisher uses."""

    ROOM = "room"
    MID = "mid"
    KEY = "key"
    ALL = "all"


class Arrival(enum.StrEnum):
    """How a publisher's messages are spread over time; their number is the same for both."""

    UNIFORM = "uniform"
    """The same time from one to the next, as long as the rate stays."""

    POISSON = "poisson"
    """Exponential gaps, as when many people write who do not know of each other."""


class EventKind(enum.StrEnum):
    """What an event does: the first four to clients, the others to a node."""

    DISCONNECT = "disconnect"
    """Close the connection at once."""

    STOP_READING = "stop_reading"
    """Leave what arrives in the socket."""

    SILENCE = "silence"
    """Send no heartbeats."""

    CHANGE_ROOM = "change_room"
    """Ask comet for another room (op 12)."""

    KILL = "kill"
    """End the node's process as `kill -9` does."""

    PAUSE = "pause"
    """Stop the node's process as `kill -STOP` does."""

    RESTART = "restart"
    """Stop the node's process in good order and start it again."""

    @property
    def for_nodes(self) -> bool:
        """Whether it is done to a node of the cluster, not to clients."""
        return self in _NODE_EVENTS

    @property
    def lasts(self) -> bool:
        """Whether it goes on for a time and then ends."""
        return self in _LASTING_EVENTS


_NODE_EVENTS = frozenset((EventKind.KILL, EventKind.PAUSE, EventKind.RESTART))
_LASTING_EVENTS = frozenset((EventKind.STOP_READING, EventKind.SILENCE, EventKind.PAUSE))


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits: between attempts to connect from `min_s`, doubled with each failure, up to `max_s`."""

    min_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Churn:
    """Clients that leave and come back all the time.

    Args:
        rate_per_s: Clients of the population that leave a second.
        away: How long each stays away, drawn between the two; also the waits between attempts that fail.
    """

    rate_per_s: float
    away: Backoff


@dataclass(frozen=True, slots=True)
class UniformSize:
    """Every size from `min_bytes` to `max_bytes`, both included, is as likely."""

    min_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class LognormalSize:
    """Sizes as real chats have them: most near `median_bytes`, a few much larger, none over `max_bytes`.

    `sigma` is the standard deviation of the size's natural logarithm: with 1.0,
    one message in six is over 2.7 times the median.
    """

    median_bytes: int
    sigma: float
    max_bytes: int


Size = int | UniformSize | LognormalSize


@dataclass(frozen=True, slots=True)
class Population:
    """Clients that are alike.

    Args:
        name: What publishers and reports call it.
        count: Number of clients, at least 1.
        tcp_share: 0.0 to 1.0 of the clients use TCP, the rest WebSocket.
        rooms: Room keys; client i joins `rooms[i % len(rooms)]`. Empty: no client is in a room.
        mids: Mid of client 0; client i has `mids + i`. None: every client has mid 0.
        keys: Client i has key `keys + str(i)`. None: logic makes the keys.
        accepts: Operations the clients take from pushes by mid, by key and to all.
        connect_rate_per_s: Connects started a second.
        connect_inflight: Connects under way at any time, at most.
        heartbeat_s: Time between heartbeats of a client.
        reconnect: Waits of a client that lost its connection without wanting to. None: it stays away.
        churn: Clients that leave and come back while the phases run. None: all stay.
    """

    name: str
    count: int
    tcp_share: float = 1.0
    rooms: tuple[str, ...] = ()
    mids: int | None = None
    keys: str | None = None
    accepts: tuple[int, ...] = (DEFAULT_OP,)
    connect_rate_per_s: float = 1000.0
    connect_inflight: int = 200
    heartbeat_s: float = 30.0
    reconnect: Backoff | None = None
    churn: Churn | None = None


@dataclass(frozen=True, slots=True)
class Publisher:
    """One open-loop stream of pushes.

    Args:
        to: Which push.
        population: Whose rooms, mids or keys are pushed to; empty exactly when `to` is `all`.
        rate_per_s: Messages a second over all its targets together, before a phase's factor.
        size_bytes: Length of a message's body, or how lengths are spread.
        op: Operation of the messages.
        speed: goim's `speed` of a push to all: messages a second each comet sends it at; 0 for as fast as it can.
        name: What reports call it; no other publisher has it.
        burst: Messages sent at the same intended instant; the rate still counts messages.
        arrival: How those instants are spread over time.
    """

    to: PublishTo
    population: str
    rate_per_s: float
    size_bytes: Size = 64
    op: int = DEFAULT_OP
    speed: int = 0
    name: str = ""
    burst: int = 1
    arrival: Arrival = Arrival.UNIFORM


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time.

    Args:
        name: What expectations and reports call it.
        duration_s: How long it lasts.
        measure: Whether its messages count in the overall latency and delivery.
        publish_factor: Every publisher's rate is multiplied by it; 0 for silence.
        publish_factor_end: What that factor has become at the phase's end, on a straight line. None: it stays.
    """

    name: str
    duration_s: float
    measure: bool = True
    publish_factor: float = 1.0
    publish_factor_end: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to clients or to a node while the phases run.

    Args:
        at_s: When, from the start of the first phase.
        kind: What.
        who: The population; empty for an event of a node.
        fraction: Share of that population, over 0.0 and up to 1.0; which clients follows from the seed.
        node: The node's name, such as `comet-1` or `core`; empty for an event of clients.
        for_s: How long, for what lasts. None: to the end of the run; `pause` always has it.
        reconnect: Waits of the clients of a `disconnect`. None: they do not come back.
        room: Room key a `change_room` goes to; empty: out of every room.
        line: Where it stands in the scenario, from 1.
        column: As `line`.
    """

    at_s: float
    kind: EventKind
    who: str = ""
    fraction: float = 1.0
    node: str = ""
    for_s: float | None = None
    reconnect: Backoff | None = None
    room: str = ""
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Expectation:
    """`path op value`, such as `latency.p99 < 50ms`.

    Args:
        expr: As written.
        path: The metric, such as `phase.spike.latency.p99`.
        op: One of `<` `<=` `>` `>=` `==` `!=`.
        value: In the metric's unit in the result document.
        unit: That unit: `ms`, `s`, `bytes`, `/s`, `%`, or empty for a count.
        line: Where it stands in the scenario, from 1; 0 when it was given by an option.
        column: As `line`.
    """

    expr: str
    path: str
    op: str
    value: float
    unit: str = ""
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole run. `events` are in the order of time; `path` is the file it came from."""

    name: str
    seed: int
    clients: tuple[Population, ...]
    publish: tuple[Publisher, ...]
    phases: tuple[Phase, ...]
    expect: tuple[Expectation, ...] = ()
    path: str = ""
    events: tuple[Event, ...] = ()

    @property
    def client_count(self) -> int:
        """Number of clients of all populations together."""
        return sum(population.count for population in self.clients)

    @property
    def duration_s(self) -> float:
        """Length of all phases together; connecting comes before it."""
        return sum(phase.duration_s for phase in self.phases)

    @property
    def measured_s(self) -> float:
        """Length of the measured phases together."""
        return sum(phase.duration_s for phase in self.phases if phase.measure)

    def population(self, name: str) -> Population:
        """Return the population of that name.

        Raises:
            KeyError: there is none.
        """
        for population in self.clients:
            if population.name == name:
                return population
        raise KeyError(name)
