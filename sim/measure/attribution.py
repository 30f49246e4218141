"""Where deliveries were lost: each is put down to one place, so that places add up to the losses.

What is known, from the surest to the least:

- A connection that ended took along what was on its way to it. When that was
  in the time of a fault of its comet, the comet is named with the fault
  (`comet-1.killed`), else it is `client.connection_lost`.
- Nodes count what they drop, some in receivers (`comet.slow_client`), some in
  messages: one push to a room that the job could not hand to a comet is a
  loss for every member there. So a message that everybody on a comet missed
  is looked for among the drops counted in messages first, one that some
  missed among those counted in receivers. Drops and losses are matched in the
  order of time; a drop that was counted before a push began is not its cause.
- What no node has counted, and was pushed in the time of a fault, was on its
  way through the node that had it (`core.killed`).
- The rest is `unknown`.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sim.measure.ledger import LostEnd

__all__ = ["CONNECTION_LOST", "DROP_UNITS", "UNKNOWN", "Drop", "Loss", "Outage", "Unit", "attribute_losses"]

CONNECTION_LOST = "client.connection_lost"
UNKNOWN = "unknown"

_TENTH_NS = 100_000_000
_NO_COMET = "job.no_comet"


class Unit(enum.Enum):
    """What a counter of drops counts."""

    RECEIVERS = "receivers"
    """One for each client that misses a message."""

    MESSAGES = "messages"
    """One for each message and comet, however many clients it has."""

    OTHER = "other"
    """Nothing that a publisher was told is on its way: refused pushes, connections, requests."""


DROP_UNITS: Mapping[str, Unit] = {
    "comet.slow_client": Unit.RECEIVERS,
    "comet.client_gone": Unit.RECEIVERS,
    "comet.unknown_key": Unit.RECEIVERS,
    "comet.stopped": Unit.RECEIVERS,
    "comet.broadcast_queue_full": Unit.MESSAGES,
    "logic.offline": Unit.RECEIVERS,
    "job.unknown_server": Unit.RECEIVERS,
    _NO_COMET: Unit.MESSAGES,
    "job.comet_queue_full": Unit.MESSAGES,
    "job.comet_unavailable": Unit.MESSAGES,
    "job.comet_timeout": Unit.MESSAGES,
    "job.comet_error": Unit.MESSAGES,
    "job.bad_record": Unit.OTHER,
    "logic.bus": Unit.OTHER,
    "logic.too_large": Unit.OTHER,
}
"""Of the drops that nodes count; what is not here is OTHER, or of a version that knows more places."""

_LATER = {"comet": Unit.RECEIVERS, "job": Unit.MESSAGES}


def _unit(place: str) -> Unit:
    return DROP_UNITS.get(place, _LATER.get(place.partition(".")[0], Unit.OTHER))


@dataclass(frozen=True, slots=True)
class Loss:
    """A message that clients with a living connection to one comet missed.

    Args:
        at_ns: When its push began, from the start of the first phase.
        segment: Where it is counted.
        message: Which message, anything that tells it from others.
        comet: Place of the comet in the target; -1 when nobody knows.
        receivers: How many missed it.
        whole: Whether nobody there got it who had to.
        by_key: Whether it was pushed to keys or mids, which nodes count one by one.
    """

    at_ns: int
    segment: int
    message: tuple[int, int]
    comet: int
    receivers: int
    whole: bool
    by_key: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Drops that a node had counted when it was asked at a time, and not when it was asked before."""

    at_ns: int
    place: str
    count: int


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a node, or what was on its way through it, was in trouble.

    Args:
        node: Its name.
        what: `killed`, `paused` and so on.
        from_ns, to_ns: When, from the start of the first phase.
    """

    node: str
    what: str
    from_ns: int
    to_ns: int

    @property
    def place(self) -> str:
        """What a report calls losses of it."""
        return f"{self.node}.{self.what}"


class _Drops:
    """Drops of one unit, in order of time."""

    def __init__(self, drops: Iterable[Drop]) -> None:
        self._left = deque(sorted(drops, key=lambda drop: drop.at_ns))

    def forget_before(self, at_ns: int) -> None:
        """Pass over what was counted before a push began."""
        while self._left and self._left[0].at_ns < at_ns:
            self._left.popleft()

    @property
    def next_ns(self) -> int | None:
        """When the first one that is left was counted."""
        return self._left[0].at_ns if self._left else None

    def take(self, wanted: int) -> tuple[str, int]:
        """Return (place, how many of the wanted ones were dropped there); 0 when nothing is left."""
        if not self._left:
            return "", 0
        first = self._left.popleft()
        taken = min(first.count, wanted)
        if taken < first.count:
            self._left.appendleft(replace(first, count=first.count - taken))
        return first.place, taken


def attribute_losses(
    losses: Iterable[Loss],
    ends: Mapping[LostEnd, int],
    drops: Sequence[Drop],
    outages: Sequence[Outage],
    comets: Sequence[str],
    t0_ns: int,
) -> dict[int, Counter[str]]:
    """Return how many deliveries of each segment were lost where.

    Args:
        losses: To clients whose connection lived, or that left by their own will.
        ends: To clients that were cut off: deliveries by segment, comet and end of the connection.
        drops: Of all nodes.
        outages: Of all nodes.
        comets: Names of the target's comets; () when nobody knows.
        t0_ns: Start of the first phase, by the monotonic clock.
    """
    found: dict[int, Counter[str]] = {}
    for (segment, comet, tenths), count in ends.items():
        name = _name(comets, comet)
        outage = _during([one for one in outages if one.node == name], tenths * _TENTH_NS - t0_ns)
        found.setdefault(segment, Counter())[outage.place if outage else CONNECTION_LOST] += count
    receivers = _Drops(drop for drop in drops if _unit(drop.place) is Unit.RECEIVERS)
    messages = _Drops(drop for drop in drops if _unit(drop.place) is Unit.MESSAGES)
    covered: tuple[int, int] | None = None  # a message that was dropped for all comets at once
    for loss in sorted(losses, key=lambda loss: (loss.at_ns, loss.message)):
        places = found.setdefault(loss.segment, Counter())
        receivers.forget_before(loss.at_ns)
        messages.forget_before(loss.at_ns)
        if loss.whole and covered == loss.message:
            places[_NO_COMET] += loss.receivers
            continue
        left = loss.receivers
        for queue in _in_order(loss, receivers, messages):
            if queue is messages and not loss.by_key:
                place, taken = queue.take(1)
                if taken:
                    places[place] += left
                    covered = loss.message if place == _NO_COMET and loss.whole else covered
                    left = 0
                continue
            while left:
                place, taken = queue.take(left)
                if not taken:
                    break
                places[place] += taken
                left -= taken
        if left:
            # What happens to another comet is none of its clients' business.
            others = frozenset(comets) - {_name(comets, loss.comet)}
            outage = _during(outages, loss.at_ns, others)
            places[outage.place if outage else UNKNOWN] += left
    return found


def _name(comets: Sequence[str], comet: int) -> str:
    return comets[comet] if 0 <= comet < len(comets) else ""


def _in_order(loss: Loss, receivers: _Drops, messages: _Drops) -> tuple[_Drops, _Drops]:
    """Return the drops as they are likely to be the cause."""
    if loss.by_key or loss.receivers == 1:
        first, second = receivers.next_ns, messages.next_ns
        is_later = first is None or (second is not None and second < first)
        return (messages, receivers) if is_later else (receivers, messages)
    return (messages, receivers) if loss.whole else (receivers, messages)


def _during(outages: Sequence[Outage], at_ns: int, others: Collection[str] = ()) -> Outage | None:
    """Return the outage at a time, those of some nodes left out; of several the one that began last."""
    fitting = [one for one in outages if one.from_ns <= at_ns <= one.to_ns and one.node not in others]
    return max(fitting, key=lambda one: one.from_ns, default=None)
