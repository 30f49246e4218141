from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.clients.spread import apportion, connect_starts, rooms_of, transport_of
from sim.scenario.scenario import ConnectArrival, Population, Transport


def people(count=100, **keys):
    keys.setdefault("rooms", tuple(f"live://{number}" for number in range(10)))
    return Population("viewers", count, **keys)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50).filter(any), st.integers(1, 10_000))
def test_shares_are_whole_add_up_and_are_off_by_less_than_one(weights, total):
    shares = apportion(weights, total)

    assert sum(shares) == total
    for weight, share in zip(weights, shares, strict=True):
        assert abs(share - weight * total / sum(weights)) < 1 + 1e-6


def test_what_is_left_over_goes_where_most_was_cut_off_and_then_to_the_first():
    assert apportion([1, 1, 1], 5) == [2, 2, 1]
    assert apportion([5, 3, 1], 10) == [6, 3, 1]
    assert apportion([0, 1], 3) == [0, 3]


def test_rooms_are_filled_in_turn_without_weights():
    assert list(rooms_of(people(5, rooms=("a://1", "a://2")), 1)) == [0, 1, 0, 1, 0]


def test_sizes_of_rooms_follow_from_the_weights_and_who_is_in_which_from_the_seed():
    weighted = people(60, rooms=("a://1", "a://2", "a://3"), room_weights=(3.0, 2.0, 1.0))

    first, again, other = (list(rooms_of(weighted, seed)) for seed in (1, 1, 2))

    assert first == again != other
    assert Counter(first) == Counter(other) == {0: 30, 1: 20, 2: 10}
    assert first != sorted(first)


def test_populations_are_drawn_apart():
    one = people(room_weights=(1.0,) * 10)
    other = Population("others", one.count, rooms=one.rooms, room_weights=one.room_weights)

    assert list(rooms_of(one, 1)) != list(rooms_of(other, 1))


SHARES = st.lists(st.integers(0, 100), min_size=4, max_size=4).filter(any)


@given(SHARES, st.integers(1, 400), st.integers(0, 300), st.integers(1, 20))
def test_any_stretch_of_clients_has_nearly_the_shares_of_all(parts, length, start, rooms):
    shares = {one: part / sum(parts) for one, part in zip(Transport, parts, strict=True) if part}
    population = people(
        1000,
        transports=tuple(shares.items()),
        rooms=tuple(f"a://{i}" for i in range(rooms)),
        room_weights=(1.0,) * rooms,
    )

    found = Counter(transport_of(population, client) for client in range(start, start + length))

    assert set(found) <= set(shares)
    for transport, share in shares.items():
        assert abs(found[transport] - length * share) < 4


def test_connects_begin_at_the_rate_however_they_are_spread():
    starts = {
        arrival: connect_starts(people(10_000, connect_rate_per_s=500.0, connect_arrival=arrival), 1)
        for arrival in ConnectArrival
    }

    assert list(starts[ConnectArrival.UNIFORM][:3]) == [0.0, 0.002, 0.004]
    assert starts[ConnectArrival.POISSON][-1] == pytest.approx(20.0, rel=0.05)
    assert set(starts[ConnectArrival.AT_ONCE]) == {0.0}
    assert all(list(times) == sorted(times) and len(times) == 10_000 for times in starts.values())


def test_chance_arrivals_are_those_of_the_seed():
    poisson = people(connect_arrival=ConnectArrival.POISSON)

    first, again, other = (list(connect_starts(poisson, seed)) for seed in (1, 1, 2))

    assert first == again != other
