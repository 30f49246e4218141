"""Who of a population is in which room and uses which transport, the same for a seed on every machine."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from itertools import accumulate

from sim.scenario.scenario import ConnectArrival, Population, Scenario, Transport

__all__ = ["GOLDEN", "apportion", "chosen_clients", "connect_starts", "rooms_of", "transport_of"]

GOLDEN = 0.6180339887498949
"""Its multiples are spread evenly over 0 to 1, and so are those of every nth of them."""

_ROUNDING = 1e-9


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """Return whole numbers in proportion to weights that add up to `total`.

    Largest remainder: what rounding down leaves over goes where it took most, and among equals to the first.
    """
    whole = sum(weights)
    shares = [divmod(weight * total, whole) for weight in weights]
    counts = [int(count) for count, _ in shares]
    by_remainder = sorted(range(len(shares)), key=lambda number: -shares[number][1])
    for number in by_remainder[: total - sum(counts)]:
        counts[number] += 1
    return counts


def rooms_of(population: Population, seed: int) -> Sequence[int]:
    """Return for each client the place of its room in `population.rooms`; there must be one."""
    rooms = len(population.rooms)
    if not population.room_weights:
        return array("I", (client % rooms for client in range(population.count)))
    numbers = array("I")
    for room, size in enumerate(apportion(population.room_weights, population.count)):
        numbers.extend([room] * size)
    random.Random(f"{seed}/rooms/{population.name}").shuffle(numbers)
    return numbers


def transport_of(population: Population, client: int) -> Transport:
    """Return the transport of one client: any stretch of clients has nearly the shares of all."""
    if len(population.transports) == 1:
        return population.transports[0][0]
    # Where rooms are filled in turn, each has its own line, begun elsewhere: or all would begin with one transport.
    rooms = 1 if population.room_weights else max(len(population.rooms), 1)
    step, room = divmod(client, rooms)
    phase = room * GOLDEN % 1.0
    left = 1.0
    for transport, share in population.transports[:-1]:
        # Along Bresenham's line: it is of this transport where that one's count goes up by one, else among the others.
        share, left = share / left, left - share
        before = int(step * share + phase + _ROUNDING)
        if int((step + 1) * share + phase + _ROUNDING) > before:
            return transport
        step -= before
    return population.transports[-1][0]


def connect_starts(population: Population, seed: int) -> Sequence[float]:
    """Return for each client when it begins to connect, in seconds; never falls."""
    rate = population.connect_rate_per_s
    match population.connect_arrival:
        case ConnectArrival.UNIFORM:
            return array("d", (client / rate for client in range(population.count)))
        case ConnectArrival.POISSON:
            gaps = random.Random(f"{seed}/connect/{population.name}").expovariate
            return array("d", accumulate(gaps(rate) for _ in range(population.count)))
        case ConnectArrival.AT_ONCE:
            return array("d", bytes(8 * population.count))


def chosen_clients(scenario: Scenario, number: int) -> list[int]:
    """Return the clients an event is meant for by their index over all clients, at least one.

    Args:
        scenario: The seed decides, in every process alike.
        number: The event's place in it.
    """
    event = scenario.events[number]
    base = 0
    for population in scenario.clients:
        if population.name == event.who:
            break
        base += population.count
    count = scenario.population(event.who).count
    draws = random.Random(f"{scenario.seed}/event/{number}")
    return sorted(base + i for i in draws.sample(range(count), max(1, round(count * event.fraction))))
