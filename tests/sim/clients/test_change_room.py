from time import monotonic_ns

import pytest

from protocol.frame import pack_frame
from protocol.operation import Operation
from protocol.websocket import serialize_message
from tests.sim.clients.books import books, counts, slow_calls
from tests.sim.kit import ALL, ROOM, join, joined_swarm, message, scenario_of, wire

TWO_ROOMS = {"count": 2, "rooms": ("live://1", "live://2")}
ROOM_1, ROOM_2 = 0, 1
MOVED = pack_frame(Operation.CHANGE_ROOM_REPLY, b"live://2")


@pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])
def test_an_answer_to_a_change_of_room_may_come_between_messages_of_both_rooms_in_one_chunk(ws):
    swarm = joined_swarm(scenario_of(**TWO_ROOMS, ws=ws))
    client = swarm.clients[0]
    reply = serialize_message(MOVED) if ws else MOVED
    client.data_received(wire([message(ROOM_1, 0)], ws=ws))

    client.change_room("live://2")
    client.data_received(wire([message(ROOM_1, 1), message(ROOM_2, 0)], ws=ws))
    client.data_received(wire([message(ROOM_1, 2)], ws=ws) + reply + wire([message(ROOM_2, 1)], ws=ws))
    client.data_received(wire([message(ROOM_1, 3)], ws=ws))  # it was meant to be sent before the answer came

    assert counts(swarm)["unexpected"] == 0
    assert books(client) == {ROOM_1: {0, 1, 2, 3}, ROOM_2: {0, 1}}


def test_the_old_room_is_unexpected_after_the_move_also_where_the_chunk_is_known():
    swarm = joined_swarm(scenario_of(count=4, rooms=("live://1", "live://2")))
    moves, stays = swarm.clients[0], swarm.clients[2]  # both of live://1
    first = wire([message(ROOM_1, 0)], ws=False)
    for client in (stays, moves):
        client.data_received(first)
    moves.change_room("live://2")
    moves.data_received(MOVED)
    after = wire([message(ROOM_1, 1, monotonic_ns())], ws=False)

    for client in (stays, moves):
        client.data_received(after)

    assert counts(swarm)["unexpected"] == 1
    assert books(moves) == {ROOM_1: {0}}
    assert books(stays) == {ROOM_1: {0, 1}}


def test_a_chunk_with_a_message_of_the_room_it_left_behind_does_not_move_another_cursor():
    swarm = joined_swarm(scenario_of(**TWO_ROOMS))
    client = swarm.clients[0]
    for sequence in range(9):
        client.data_received(wire([message(ROOM_1, sequence)], ws=False))
    client.change_room("live://2")
    client.data_received(MOVED)

    client.data_received(wire([message(ROOM_2, 0), message(ROOM_1, 9, monotonic_ns())], ws=False))
    client.data_received(wire([message(ROOM_2, 1)], ws=False))

    assert books(client) == {ROOM_1: set(range(9)), ROOM_2: {0, 1}}
    assert counts(swarm)["unexpected"] == 1


def test_back_in_a_room_the_fast_path_is_taken_again(monkeypatch):
    swarm = joined_swarm(scenario_of(count=4, rooms=("live://1", "live://2")))
    moves, stays = swarm.clients[0], swarm.clients[2]
    for room in ("live://2", "live://1"):
        moves.change_room(room)
        moves.data_received(MOVED)
    chunks = [wire([message(ROOM_1, number)], ws=False) for number in range(20)]
    for chunk in chunks:
        stays.data_received(chunk)
    calls = slow_calls(monkeypatch)

    for chunk in chunks:
        moves.data_received(chunk)

    assert calls[moves] == 1
    assert books(moves) == {ROOM_1: set(range(20))}


def stays_of(client):
    return [(stay.stream, stay.until_ns is None, stay.by_will) for stay in client.memberships()]


def test_a_connection_that_ends_during_a_move_left_the_room_by_will_and_the_rest_not():
    swarm = joined_swarm(scenario_of(**TWO_ROOMS))
    client = swarm.clients[0]
    client.change_room("live://2")

    client.connection_lost(None)

    assert stays_of(client) == [(ROOM_1, False, True), (2, False, False)]
    assert stays_of(client) == [(ROOM_1, False, True), (2, False, False)]  # however often it is asked


def test_out_of_every_room_and_into_one_that_nobody_publishes_to_there_is_nothing_to_expect():
    for room in ("", "live://99"):
        swarm = joined_swarm(scenario_of(**TWO_ROOMS))
        client = swarm.clients[0]
        client.change_room(room)
        client.data_received(MOVED)

        assert client.streams == (2,)
        assert stays_of(client) == [(ROOM_1, False, True), (2, True, False)]


def test_an_answer_to_no_request_moves_nobody():
    swarm = joined_swarm(scenario_of(**TWO_ROOMS))

    swarm.clients[0].data_received(MOVED)

    assert (swarm.foreign, swarm.clients[0].members) == (1, None)


def test_who_comes_back_is_in_its_first_room_and_knows_what_it_has_seen():
    swarm = joined_swarm(scenario_of(**TWO_ROOMS))
    old = swarm.clients[0]
    old.data_received(wire([message(ROOM_1, 0)], ws=False))
    old.change_room("live://2")
    old.data_received(MOVED)
    old.connection_lost(None)

    new = swarm.renew(old)
    join(new)
    new.data_received(wire([message(ROOM_1, 0), message(ROOM_1, 5)], ws=False))

    assert new.streams == new.plan.streams
    assert books(new) == {ROOM_1: {0, 5}}
    assert counts(swarm)["duplicated"] == 1
    ended = [(ROOM_1, False, True), (2, False, False), (ROOM_2, False, False)]
    assert stays_of(new) == [*ended, (ROOM_1, True, False), (2, True, False)]


def test_what_failed_to_come_back_keeps_what_was_before():
    swarm = joined_swarm(scenario_of(count=1))
    swarm.clients[0].leave()
    before = stays_of(swarm.clients[0])

    for _ in range(3):
        swarm.renew(swarm.clients[0])

    assert stays_of(swarm.clients[0]) == before == [(ROOM, False, True), (ALL, False, True)]
    assert swarm.alive == 0
