"""What is published, as checked values: a part of the scenario."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sim.publish.feeder import Column
from sim.publish.payload import Template
from sim.scenario.times import Time

__all__ = [
    "DEFAULT_OP",
    "MAX_SIZE_BYTES",
    "MIN_SIZE_BYTES",
    "Arrival",
    "ArrivalTimes",
    "Body",
    "ChoiceSize",
    "ClosedLoop",
    "FileBodies",
    "FileOrder",
    "GammaArrival",
    "JitterArrival",
    "LognormalSize",
    "PublishTo",
    "Publisher",
    "Size",
    "UniformSize",
    "WaitFor",
]

DEFAULT_OP = 1000
"""goim's first operation for applications, which its own examples push and accept."""

MIN_SIZE_BYTES = 24
"""Smallest body that has room for what `sim.publish.stamp` writes."""

MAX_SIZE_BYTES = 512 * 1024
"""Largest body a scenario can ask for: under the 1 MB at which Kafka, goim's bus, refuses a record."""


class PublishTo(enum.StrEnum):
    """Which of goim's four pushes a publisher uses."""

    ROOM = "room"
    MID = "mid"
    KEY = "key"
    ALL = "all"


class Arrival(enum.StrEnum):
    """How a publisher's messages are spread over time; their number is the same for all ways."""

    UNIFORM = "uniform"
    """The same time from one to the next, as long as the rate stays."""

    POISSON = "poisson"
    """Exponential gaps, as when many people write who do not know of each other."""


@dataclass(frozen=True, slots=True)
class JitterArrival:
    """Evenly spaced, and each message later by chance: by up to `share` (over 0.0, at most 1.0) of the gap."""

    share: float


@dataclass(frozen=True, slots=True)
class GammaArrival:
    """Gaps of a gamma distribution: with `shape` 1 as of POISSON, below it in clusters, above it more even."""

    shape: float


ArrivalTimes = Arrival | JitterArrival | GammaArrival


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


@dataclass(frozen=True, slots=True)
class ChoiceSize:
    """One of a few sizes, each with its weight against the others."""

    sizes_bytes: tuple[int, ...]
    weights: tuple[float, ...]


Size = int | UniformSize | LognormalSize | ChoiceSize


class FileOrder(enum.StrEnum):
    """Which of several files is the body of the next message."""

    SEQUENTIAL = "sequential"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class FileBodies:
    """Contents of files as bodies, in turn or at random; at least one."""

    contents: tuple[bytes, ...]
    order: FileOrder = FileOrder.SEQUENTIAL


Body = Template | FileBodies


class WaitFor(enum.StrEnum):
    """What a publisher of a closed loop waits for before it thinks."""

    ANSWER = "answer"
    """The answer of the push API."""

    DELIVERY = "delivery"
    """That too, and the first client that has read the message."""


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Virtual publishers, each of which sends its next message when it is done with the last.

    Args:
        publishers: How many, where the factor of the phase is 1.
        think: How long each waits in between.
        wait: What it waits for before that.
    """

    publishers: int
    think: Time = 0.0
    wait: WaitFor = WaitFor.ANSWER


@dataclass(frozen=True, slots=True)
class Publisher:
    """One stream of pushes of a kind.

    Args:
        to: Which push.
        population: Whose rooms, mids or keys are pushed to; empty when `to` is `all`, and when `targets` says whose.
        rate_per_s: Messages a second over all its targets together, before a phase's factor; 0 for a closed loop.
        size_bytes: Length of a message's body, or how lengths are spread; where there is no `body`.
        op: Operation of the messages.
        speed: goim's `speed` of a push to all: clients a second that get the message; 0 for as fast as it can.
        name: What reports call it; no other publisher has it.
        burst: Messages sent at the same intended instant; the rate still counts messages.
        arrival: How those instants are spread over time.
        body: What a message's body is. None: filler.
        targets: The column of a feed that has the rooms, mids or keys.
        closed: The loop of a closed one. None: it is open, and times come from the schedule.
        mix: Name that all publishers of one mix share: they have one schedule or loop together, and each of
            its messages is of one of them, drawn by their weights. Their rates add up to that of the schedule.
            Empty: a schedule or a loop of its own.
        weight: How often in its mix, against the others.
    """

    to: PublishTo
    population: str
    rate_per_s: float
    size_bytes: Size = 64
    op: int = DEFAULT_OP
    speed: int = 0
    name: str = ""
    burst: int = 1
    arrival: ArrivalTimes = Arrival.UNIFORM
    body: Body | None = None
    targets: Column | None = None
    closed: ClosedLoop | None = None
    mix: str = ""
    weight: float = 1.0
