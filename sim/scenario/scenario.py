"""A scenario as checked values: who connects, what is published when, and what must hold.

`sim.language.load` makes these from a YAML file; nothing here reads or checks anything.
Times are seconds, sizes bytes and rates per second, whatever the file wrote.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sim.publish.feeder import Feed
from sim.scenario.population import Backoff, Churn, ConnectArrival, Network, Population, Session, Transport
from sim.scenario.publishing import (
    DEFAULT_OP,
    MAX_SIZE_BYTES,
    MIN_SIZE_BYTES,
    Arrival,
    LognormalSize,
    Publisher,
    PublishTo,
    Size,
    UniformSize,
)
from sim.scenario.times import ExponentialTime

__all__ = [
    "DEFAULT_OP",
    "MAX_SIZE_BYTES",
    "MIN_SIZE_BYTES",
    "Arrival",
    "Backoff",
    "Churn",
    "ConnectArrival",
    "Event",
    "EventKind",
    "ExponentialTime",
    "Expectation",
    "LognormalSize",
    "Network",
    "Phase",
    "Population",
    "PublishTo",
    "Publisher",
    "Scenario",
    "Session",
    "Side",
    "Size",
    "Transport",
    "UniformSize",
]


class EventKind(enum.StrEnum):
    """What an event does: to clients, or to a node."""

    DISCONNECT = "disconnect"
    """Close the connection at once."""

    STOP_READING = "stop_reading"
    """Leave what arrives in the socket."""

    SILENCE = "silence"
    """Send no heartbeats."""

    CHANGE_ROOM = "change_room"
    """Ask comet for another room (op 12)."""

    SUBSCRIBE = "subscribe"
    """Accept more operations (op 14)."""

    UNSUBSCRIBE = "unsubscribe"
    """Accept fewer operations (op 16)."""

    TAKE_OVER = "take_over"
    """Log in once more with the same key."""

    ADD_DEVICE = "add_device"
    """Log in once more with the same mid and a key of its own."""

    NETWORK = "network"
    """Make what is between client and comet slower."""

    STALL = "stall"
    """Hold back all bytes in both directions."""

    BLACK_HOLE = "black_hole"
    """Lose all bytes in both directions; nobody notices."""

    RESET = "reset"
    """End the connection on both sides by a RST."""

    CUT = "cut"
    """End the connection on both sides by a FIN."""

    HALF_OPEN = "half_open"
    """End one side of the connection; the other does not hear of it."""

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
    def for_network(self) -> bool:
        """Whether it is done to what is between clients and comet."""
        return self in _NETWORK_EVENTS

    @property
    def lasts(self) -> bool:
        """Whether it can go on for a time and then end."""
        return self in _LASTING_EVENTS

    @property
    def changes_members(self) -> bool:
        """Whether other clients have to get a message after it than before, though nobody comes or goes."""
        return self in _MEMBERSHIP_EVENTS


_NODE_EVENTS = frozenset((EventKind.KILL, EventKind.PAUSE, EventKind.RESTART))
_NETWORK_EVENTS = frozenset(
    (
        EventKind.NETWORK,
        EventKind.STALL,
        EventKind.BLACK_HOLE,
        EventKind.RESET,
        EventKind.CUT,
        EventKind.HALF_OPEN,
    )
)
_LASTING_EVENTS = _NETWORK_EVENTS | {
    EventKind.STOP_READING,
    EventKind.SILENCE,
    EventKind.ADD_DEVICE,
    EventKind.PAUSE,
}
_MEMBERSHIP_EVENTS = frozenset(
    (
        EventKind.CHANGE_ROOM,
        EventKind.SUBSCRIBE,
        EventKind.UNSUBSCRIBE,
        EventKind.TAKE_OVER,
        EventKind.ADD_DEVICE,
    )
)


class Side(enum.StrEnum):
    """An end of a connection."""

    CLIENT = "client"
    COMET = "comet"


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
        for_s: How long, for what lasts. None: to the end of the run; `pause` always has it. Of a `reset` or `cut`
            how long new connections are refused; None: they are not.
        reconnect: Waits of the clients of a `disconnect`. None: they do not come back.
        room: Room key a `change_room` goes to; empty: out of every room.
        ops: Operations of a `subscribe` or `unsubscribe`.
        other_comet: Whether a `take_over` or `add_device` goes to another comet than the client's.
        network: What a `network` adds to the one there is.
        side: Which end a `half_open` ends.
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
    ops: tuple[int, ...] = ()
    other_comet: bool = False
    network: Network | None = None
    side: Side = Side.CLIENT
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
        abort: Whether the run ends early when it does not hold while it goes on.
        after_s: How long it must not have held for that.
        from_s: Only what was planned from then on, from the start of the first phase. None: from the start.
        to_s: Only what was planned before then. None: to the end.
    """

    expr: str
    path: str
    op: str
    value: float
    unit: str = ""
    line: int = 0
    column: int = 0
    abort: bool = False
    after_s: float = 0.0
    from_s: float | None = None
    to_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole run.

    `events` are in the order of time; `path` is the file it came from; `trace_per_s` messages a second are
    followed through the cluster, see sim.publish.sampling.
    """

    name: str
    seed: int
    clients: tuple[Population, ...]
    publish: tuple[Publisher, ...]
    phases: tuple[Phase, ...]
    expect: tuple[Expectation, ...] = ()
    path: str = ""
    events: tuple[Event, ...] = ()
    feeds: tuple[Feed, ...] = ()
    trace_per_s: float = 0.0

    @property
    def client_count(self) -> int:
        """Number of clients of all populations together."""
        return sum(population.count for population in self.clients)

    @property
    def comets(self) -> int:
        """Comets that the events need: to log in on another one there must be two."""
        return 2 if any(event.other_comet for event in self.events) else 1

    @property
    def transports(self) -> tuple[Transport, ...]:
        """Transports that some client uses."""
        used = {one for population in self.clients for one, share in population.transports if share > 0}
        return tuple(one for one in Transport if one in used)

    @property
    def duration_s(self) -> float:
        """Length of all phases together; connecting comes before it."""
        return sum(phase.duration_s for phase in self.phases)

    @property
    def measured_s(self) -> float:
        """Length of the measured phases together."""
        return sum(phase.duration_s for phase in self.phases if phase.measure)

    def feed(self, name: str) -> Feed:
        """Return the feed of that name.

        Raises:
            KeyError: there is none.
        """
        for feed in self.feeds:
            if feed.name == name:
                return feed
        raise KeyError(name)

    def population(self, name: str) -> Population:
        """Return the population of that name.

        Raises:
            KeyError: there is none.
        """
        for population in self.clients:
            if population.name == name:
                return population
        raise KeyError(name)
