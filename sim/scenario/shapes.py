"""Load over time: when each message is meant to leave, worked out before anything is sent.

The schedule is open loop. A publisher's rate is a function of time alone (its
own rate times the factor of the phase, which may rise or fall on a straight
line), and message k leaves when the area under that function reaches k plus
the publisher's offset. So counts are exact: a publisher of 40/s sends 400
messages in 10 s, whatever its offset, and a change of rate at a phase's start
shifts no message before it.

The offset, under one message, keeps publishers of one rate from sending in the
same instant; it comes from the seed, so a seed always gives the same schedule.

Bursts are messages that leave at one of those instants together, with as many
fewer instants. With arrivals by chance a phase has exactly the messages it has
without, at other places of its area. Poisson: at random, since a Poisson process
whose number is known looks just so, and its gaps are exponential with the mean
of the rate. Gamma: gaps in the proportions of gamma variates, of which Poisson
is the one of shape 1. Jitter: each a bit behind its even place.

The publishers of a mix have one schedule, and each of its messages is drawn to
be of one of them.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sim.publish.mix import choose, mixes_of
from sim.scenario.publishing import (
    MIN_SIZE_BYTES,
    Arrival,
    ArrivalTimes,
    ChoiceSize,
    GammaArrival,
    JitterArrival,
    LognormalSize,
    Publisher,
    Size,
    UniformSize,
)
from sim.scenario.scenario import Phase

__all__ = [
    "PhaseSpan",
    "Send",
    "draw_size",
    "offset_of",
    "phase_factors",
    "phase_spans",
    "planned_messages",
    "rate_at",
    "send_times",
    "stream_times",
]

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Send:
    """One message of the schedule.

    Args:
        at_ns: When it is meant to leave, from the start of the first phase.
        publisher: Index of its publisher.
        phase: Index of the phase it belongs to.
        number: Its number among its publisher's messages, from 0.
    """

    at_ns: int
    publisher: int
    phase: int
    number: int


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """When a phase is: from `start_ns` up to, not including, `end_ns`, from the start of the first phase."""

    start_ns: int
    end_ns: int


def phase_spans(phases: Sequence[Phase]) -> tuple[PhaseSpan, ...]:
    """Return when each phase is."""
    spans: list[PhaseSpan] = []
    end_s = 0.0
    for phase in phases:
        start_ns = round(end_s * NS_PER_S)
        end_s += phase.duration_s
        spans.append(PhaseSpan(start_ns, round(end_s * NS_PER_S)))
    return tuple(spans)


def rate_at(rate_per_s: float, phases: Sequence[Phase], at_ns: int) -> float:
    """Return a publisher's messages a second at a time; 0 before the first phase and after the last."""
    for phase, span in zip(phases, phase_spans(phases), strict=True):
        if span.start_ns <= at_ns < span.end_ns:
            start, end = phase_factors(phase)
            gone = (at_ns - span.start_ns) / (span.end_ns - span.start_ns)
            return rate_per_s * (start + (end - start) * gone)
    return 0.0


def planned_messages(publisher: Publisher, phase: Phase) -> float:
    """Return how many messages a publisher sends in a phase.

    A run has the whole number above or below it; of a publisher with bursts, the whole number of bursts.
    """
    return publisher.rate_per_s * sum(phase_factors(phase)) / 2 * phase.duration_s


def offset_of(seed: int, publisher: int) -> float:
    """Return a publisher's offset in messages: 0 to under 1, the same for the same seed on every machine."""
    return random.Random(f"{seed}/offset/{publisher}").random()


def stream_times(
    rate_per_s: float,
    phases: Sequence[Phase],
    offset: float = 0.0,
    *,
    arrival: ArrivalTimes = Arrival.UNIFORM,
    places: random.Random | None = None,
) -> Iterator[tuple[int, int]]:
    """Yield (intended time in ns, index of the phase) of each message of one publisher, in order.

    Args:
        rate_per_s: Messages a second where the factor is 1.
        phases: One after the other, from time 0.
        offset: In messages, 0 to under 1; the first message leaves that much into the first interval.
        arrival: How they are spread.
        places: Draws their places; uniform ones need none.
    """
    rng = places or random.Random(0)
    # Each time is worked out from the start of its phase, so no error adds up over a long one.
    due = offset  # area still to go to the next message
    for index, (phase, span) in enumerate(zip(phases, phase_spans(phases), strict=True)):
        start, end = (rate_per_s * factor for factor in phase_factors(phase))
        area = (start + end) / 2 * phase.duration_s
        count = max(0, math.ceil(area - due - 1e-9))  # 1e-9: 1000/m for 3 s is 50 messages, and 50.000000000000004
        for done in _places(arrival, due, count, area, rng):
            at_ns = span.start_ns + round(_time_of_area(done, start, end, phase.duration_s) * NS_PER_S)
            yield max(span.start_ns, min(at_ns, span.end_ns - 1)), index
        due += count - area


def send_times(publishers: Sequence[Publisher], phases: Sequence[Phase], seed: int) -> Iterator[Send]:
    """Yield the whole schedule in the order of time; at one instant, in the order of publishers.

    Closed loops have none. Lazy: a schedule of hours takes no memory.
    """
    streams = [_sends(mix, publishers, phases, seed) for mix in mixes_of(publishers)]
    return heapq.merge(*streams, key=lambda send: (send.at_ns, send.publisher))


def draw_size(size: Size, rng: random.Random) -> int:
    """Return the bytes of one message's body."""
    if isinstance(size, UniformSize):
        return rng.randint(size.min_bytes, size.max_bytes)
    if isinstance(size, LognormalSize):
        drawn = round(rng.lognormvariate(math.log(size.median_bytes), size.sigma))
        return max(MIN_SIZE_BYTES, min(drawn, size.max_bytes))
    if isinstance(size, ChoiceSize):
        return size.sizes_bytes[choose(size.weights, rng)]
    return size


def _sends(mix: Sequence[int], publishers: Sequence[Publisher], phases: Sequence[Phase], seed: int) -> Iterator[Send]:
    """Yield the schedule of one mix."""
    index, first = mix[0], publishers[mix[0]]
    rate_per_s = sum(publishers[one].rate_per_s for one in mix)
    if first.closed is not None or not rate_per_s:
        return
    places = random.Random(f"{seed}/arrival/{index}")
    turns = random.Random(f"{seed}/mix/{index}")
    weights = [publishers[one].weight for one in mix]
    numbers = [0] * len(mix)
    offset = offset_of(seed, index)
    for at_ns, phase in stream_times(rate_per_s / first.burst, phases, offset, arrival=first.arrival, places=places):
        for _ in range(first.burst):
            turn = choose(weights, turns)
            yield Send(at_ns, mix[turn], phase, numbers[turn])
            numbers[turn] += 1


def phase_factors(phase: Phase) -> tuple[float, float]:
    """Return the factor of a phase at its start and at its end."""
    end = phase.publish_factor_end
    return phase.publish_factor, phase.publish_factor if end is None else end


def _places(arrival: ArrivalTimes, first: float, count: int, area: float, rng: random.Random) -> Iterator[float]:
    """Yield `count` places of 0 to `area`, in order and without holding them all.

    Evenly spaced, they are `first` and every whole step from there.
    """
    match arrival:
        case Arrival.UNIFORM:
            return (first + number for number in range(count))
        case JitterArrival(share):
            return (min(first + number + rng.uniform(0.0, share), area) for number in range(count))
        case Arrival.POISSON:
            return _by_gaps(area, count, lambda left: 1.0 - math.exp(-rng.expovariate(1.0) / left))
        case GammaArrival(shape):
            return _by_gaps(area, count, lambda left: rng.betavariate(shape, shape * left))


def _by_gaps(area: float, count: int, share: Callable[[int], float]) -> Iterator[float]:
    """Yield the ends of `count` of the `count` + 1 gaps that make up `area`.

    Args:
        area: All gaps together.
        count: Places.
        share: What share of the rest a gap takes with so many more behind it. One gamma variate as
            against the sum of so many others is a beta variate; with shape 1 that is 1 - u ** (1 / left).
    """
    rest = area
    for left in range(count, 0, -1):
        rest *= 1.0 - share(left)
        yield area - rest


def _time_of_area(area: float, start: float, end: float, duration_s: float) -> float:
    """Return the seconds after which a rate that goes from `start` to `end` on a straight line has sent `area`."""
    if start == end:
        return area / start
    # The root of start * t + (end - start) / (2 * duration) * t**2 = area, in the form that subtracts
    # nothing from its like; under 0 only by rounding, at the end of a ramp down to 0.
    root = math.sqrt(max(0.0, start * start + 2 * (end - start) / duration_s * area))
    return 2 * area / (start + root) if area else 0.0
