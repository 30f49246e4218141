from time import monotonic_ns

import pytest

from tests.sim.clients.books import books, counts, slow_calls
from tests.sim.kit import ROOM, joined_swarm, latencies, message, scenario_of, wire


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])
def test_only_the_first_client_decodes_a_chunk(monkeypatch, ws, batch):
    swarm = joined_swarm(scenario_of(count=10, ws=ws))
    calls = slow_calls(monkeypatch)
    chunks = [wire([message(ROOM, first + i) for i in range(batch)], ws=ws) for first in range(0, 20 * batch, batch)]

    for chunk in chunks:
        for client in swarm.clients:
            client.data_received(chunk)

    # The other clients' first chunk is where their cursor begins.
    assert [calls[client] for client in swarm.clients] == [len(chunks)] + [1] * 9
    assert counts(swarm)["delivered"] == 10 * 20 * batch


def test_a_gap_a_copy_and_a_swap_leave_the_fast_path_and_are_seen():
    swarm = joined_swarm(scenario_of(count=4))
    good, loses, repeats, swaps = swarm.clients
    chunks = [wire([message(ROOM, number)], ws=False) for number in range(10)]

    for client, order in (
        (good, range(10)),
        (loses, [0, 1, 2, 3, 5, 6, 7, 8, 9]),
        (repeats, [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9]),
        (swaps, [0, 1, 2, 4, 3, 5, 6, 7, 8, 9]),
    ):
        for number in order:
            client.data_received(chunks[number])

    assert books(good) == books(repeats) == books(swaps) == {ROOM: set(range(10))}
    assert books(loses) == {ROOM: set(range(10)) - {4}}
    total = counts(swarm)
    assert (total["delivered"], total["duplicated"]) == (39, 1)
    assert total["late"] == {(ROOM, 3, 4): 1}


def test_after_a_gap_the_fast_path_is_taken_again(monkeypatch):
    swarm = joined_swarm(scenario_of(count=2))
    chunks = [wire([message(ROOM, number)], ws=False) for number in range(50)]
    for chunk in chunks:
        swarm.clients[0].data_received(chunk)
    calls = slow_calls(monkeypatch)

    for number, chunk in enumerate(chunks):
        if number != 20:
            swarm.clients[1].data_received(chunk)

    assert calls[swarm.clients[1]] == 2


def test_a_chunk_of_no_single_run_is_counted_where_half_a_frame_waits():
    # Neither the chunk nor the client has a place in a stream then, which is no match.
    swarm = joined_swarm(scenario_of(count=2))
    first, second = swarm.clients
    gap = wire([message(ROOM, 0), message(ROOM, 2)], ws=False)
    frame = wire([message(ROOM, 5)], ws=False)
    first.data_received(gap)

    second.data_received(gap)
    second.data_received(gap)
    second.data_received(frame[:20])
    second.data_received(frame[20:] + wire([message(ROOM, 6)], ws=False))

    assert books(second) == {ROOM: {0, 2, 5, 6}}
    assert counts(swarm)["duplicated"] == 2


@pytest.mark.parametrize("shared", [False, True], ids=["slow path", "fast path"])
def test_latency_is_recorded_within_one_percent(shared):
    swarm = joined_swarm(scenario_of(count=200))
    if shared:
        for client in swarm.clients:
            client.data_received(wire([message(ROOM, 0, monotonic_ns())], ws=False))
        swarm.settle()
        swarm.tallies[0].latency.clear()
    began_ns = monotonic_ns()
    chunk = wire([message(ROOM, 1, began_ns - 50_000_000)], ws=False)

    for client in swarm.clients:
        client.data_received(chunk)

    ended_ns = monotonic_ns()
    swarm.settle()
    [latency] = latencies(swarm)
    assert latency.count == 200
    assert latency.min_ns >= 50_000_000
    assert latency.max_ns <= (50_000_000 + ended_ns - began_ns) * 1.01


def test_a_chunk_that_the_memo_has_forgotten_is_counted_in_no_old_book(monkeypatch):
    monkeypatch.setattr("sim.clients.memo._CAPACITY", 1)
    swarm = joined_swarm(scenario_of(count=4))
    one, two, three, four = swarm.clients
    first, second = (wire([message(ROOM, number)], ws=False) for number in range(2))

    for client in (one, two, three):
        client.data_received(first)
    one.data_received(second)  # the memo has no place for both
    four.data_received(first)

    found = counts(swarm)
    assert (found["delivered"], found["recorded"]) == (5, 5)
