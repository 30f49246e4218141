from collections import Counter
from time import monotonic_ns

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.frame import pack_frame
from protocol.operation import Operation
from protocol.websocket import ClientUpgrade, parse_upgrade, serialize_message, serialize_upgrade_response
from sim.clients.client import SimClient
from sim.clients.memo import CODE_BITS
from tests.sim.kit import (
    ALL,
    AUTH_REPLY,
    ROOM,
    FakeTransport,
    join,
    joined_swarm,
    latencies,
    message,
    scenario_of,
    swarm_of,
    totals,
    wire,
)

FOREIGN = 9
"""A stream that no client is a member of."""

HEARTBEAT_REPLY = pack_frame(Operation.HEARTBEAT_REPLY, b"\0\0\0\1")


def books(client):
    """Return what a client has seen, by stream, in a form that does not depend on how it came about."""
    seen = {}
    for stream, cursor in client.close_books().items():
        unseen = {number for low, high in cursor.unseen(0, cursor.next) for number in range(low, high)}
        seen[stream] = set(range(cursor.next)) - unseen
    return seen


def counts(swarm):
    swarm.settle()
    total = totals(swarm)[0]
    return {
        "delivered": swarm.delivered,
        "recorded": sum(histogram.count for histogram in latencies(swarm)),
        "duplicated": total.duplicated,
        "unexpected": total.unexpected,
        "late": swarm.tallies[0].late,
    }


def told_slowly(arrivals):
    """What counts() and books() have to be for one client that received these (stream, sequence) in this order."""
    seen = {}
    duplicated = unexpected = 0
    late = Counter()
    for stream, sequence in arrivals:
        if stream == FOREIGN:
            unexpected += 1
            continue
        known = seen.setdefault(stream, set())
        if sequence in known:
            duplicated += 1
            continue
        if known and sequence < max(known):
            late[stream, sequence, max(known)] += 1
        known.add(sequence)
    delivered = sum(map(len, seen.values()))
    return seen, {
        "delivered": delivered,
        "recorded": delivered,
        "duplicated": duplicated,
        "unexpected": unexpected,
        "late": late,
    }


def added(one, other):
    return {key: one[key] + other[key] for key in one}


@st.composite
def arrivals(draw):
    """(stream, sequence) as a bad cluster sends them, grouped into pushes."""
    sent = [(ROOM, number) for number in range(draw(st.integers(0, 12)))]
    for number in range(draw(st.integers(0, 3))):
        sent.insert(draw(st.integers(0, len(sent))), (ALL, number))
    for _ in range(draw(st.integers(0, 4))):
        if not sent:
            break
        at, to = draw(st.integers(0, len(sent) - 1)), draw(st.integers(0, len(sent) - 1))
        match draw(st.sampled_from(["lose", "repeat", "move", "foreign"])):
            case "lose":
                del sent[at]
            case "repeat":
                sent.insert(to, sent[at])
            case "move":
                sent.insert(to, sent.pop(at))
            case "foreign":
                sent.insert(to, (FOREIGN, 0))
    groups = []
    while sent:
        size = draw(st.integers(1, 4))
        groups.append(sent[:size])
        sent = sent[size:]
    return groups


def units_of(groups, *, ws):
    return [wire([message(stream, sequence) for stream, sequence in group], ws=ws) for group in groups]


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    pieces = [data[low:high] for low, high in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


@pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])
@settings(max_examples=300)
@given(groups=arrivals(), places=st.lists(st.integers(0, 4000), max_size=12), later=arrivals())
def test_counts_do_not_depend_on_where_bytes_are_cut(ws, groups, places, later):
    swarm = joined_swarm(scenario_of(count=3, ws=ws))
    whole, cut_up, mixed = swarm.clients
    units = units_of(groups, ws=ws)

    for unit in units:
        whole.data_received(unit)
    for piece in cut(b"".join(units), places):
        cut_up.data_received(piece)
    # Chunks that the memo knows by now, behind others, in whatever state the client is.
    for unit in [*units_of(later, ws=ws), *units]:
        mixed.data_received(unit)

    seen, expected = told_slowly([one for group in groups for one in group])
    seen_mixed, expected_mixed = told_slowly([one for group in [*later, *groups] for one in group])
    assert books(whole) == books(cut_up) == seen
    assert books(mixed) == seen_mixed
    assert counts(swarm) == added(added(expected, expected), expected_mixed)


@pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])
@given(places=st.lists(st.integers(0, 400), max_size=6))
def test_the_auth_reply_and_answers_may_be_cut_and_come_with_messages(ws, places):
    swarm = swarm_of(scenario_of(count=1, ws=ws))
    [client] = swarm.clients
    client.connection_made(FakeTransport())
    frames = [AUTH_REPLY, HEARTBEAT_REPLY]
    head = b""
    if ws:
        request = parse_upgrade(bytes(client.transport.written).partition(b"\r\n\r\n")[0])
        head = serialize_upgrade_response(request)
        frames = [serialize_message(frame) for frame in frames]
    data = head + frames[0] + wire([message(ROOM, 0)], ws=ws) + frames[1] + wire([message(ROOM, 1)], ws=ws)

    for piece in cut(data, places):
        client.data_received(piece)

    assert client.joined_ns
    assert (swarm.heartbeat_replies, swarm.foreign) == (1, 0)
    assert books(client) == {ROOM: {0, 1}}
    assert counts(swarm)["recorded"] == 2


def slow_calls(monkeypatch):
    """Count the chunks that do not take the fast path, by client."""
    calls = Counter()
    original = SimClient._receive

    def counting(self, data, chunk, now):
        calls[self] += 1
        original(self, data, chunk, now)

    monkeypatch.setattr(SimClient, "_receive", counting)
    return calls


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


def test_a_push_to_a_room_of_others_is_unexpected_for_each_who_gets_it():
    swarm = joined_swarm(scenario_of(count=2, rooms=("live://1", "live://2")))
    theirs = wire([message(1, 0)], ws=False)  # stream 1 is live://2, of client 1

    swarm.clients[1].data_received(theirs)
    swarm.clients[0].data_received(theirs)
    swarm.clients[0].data_received(theirs)

    assert counts(swarm)["unexpected"] == 2
    assert books(swarm.clients[1]) == {1: {0}}


def test_messages_of_another_run_and_of_nobody_are_no_deliveries():
    swarm = joined_swarm(scenario_of(count=1))

    swarm.clients[0].data_received(wire([message(ROOM, 0, run=8)], ws=False) + pack_frame(1000, b"hello"))

    assert (swarm.foreign, counts(swarm)["delivered"]) == (2, 0)


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


def test_bytes_of_no_protocol_end_the_connection_and_are_told():
    swarm = joined_swarm(scenario_of(count=1))
    [client] = swarm.clients

    client.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert client.transport.aborted
    [(reason, count)] = swarm.failures.items()
    assert (reason.startswith("bad bytes from comet: "), count) == (True, 1)


@pytest.mark.parametrize("ws", [False, True], ids=["tcp", "ws"])
@given(data=st.lists(st.binary(max_size=60), max_size=5))
def test_no_bytes_whatever_raise(ws, data):
    swarm = joined_swarm(scenario_of(count=1, ws=ws))

    for piece in data:
        swarm.clients[0].data_received(piece)


@given(places=st.lists(st.integers(0, 400), max_size=6))
def test_websocket_fragments_and_pings_are_taken_however_they_are_cut(places):
    swarm = joined_swarm(scenario_of(count=1, ws=True))
    [client] = swarm.clients
    whole = wire([message(ROOM, 0), message(ROOM, 1)], ws=True)
    payload = whole[4:]
    fragments = bytes((0x02, 50)) + payload[:50] + bytes((0x80, 126)) + (len(payload) - 50).to_bytes(2, "big")
    data = fragments + payload[50:] + serialize_message(b"hi", opcode=9) + wire([message(ROOM, 2)], ws=True)

    for piece in cut(data, places):
        client.data_received(piece)

    assert not client.transport.aborted
    assert books(client) == {ROOM: {0, 1, 2}}
    assert serialize_message(b"hi", opcode=10, mask=b"\0\0\0\0") in client.transport.written


def test_a_websocket_close_frame_ends_the_connection():
    swarm = joined_swarm(scenario_of(count=1, ws=True))

    swarm.clients[0].data_received(serialize_message(b"", opcode=8))

    assert swarm.clients[0].transport.aborted


def test_a_websocket_client_sends_its_token_after_the_upgrade():
    swarm = swarm_of(scenario_of(count=1, ws=True, mids=5))
    [client] = swarm.clients
    client.connection_made(FakeTransport())
    assert isinstance(client.upgrade, ClientUpgrade)
    request = parse_upgrade(bytes(client.transport.written).partition(b"\r\n\r\n")[0])
    client.transport.written.clear()

    client.data_received(serialize_upgrade_response(request))

    assert b'"mid":5' in client.transport.written


def test_a_place_in_a_stream_survives_a_switch_to_another_and_back():
    swarm = joined_swarm(scenario_of(count=1))
    [client] = swarm.clients

    for stream, sequence in [(ROOM, 0), (ROOM, 1), (ALL, 0), (ROOM, 2), (ALL, 1), (ROOM, 3)]:
        client.data_received(wire([message(stream, sequence)], ws=False))

    assert client.next >> CODE_BITS == ROOM
    assert books(client) == {ROOM: {0, 1, 2, 3}, ALL: {0, 1}}
    assert counts(swarm)["late"] == {}


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


def test_a_connection_that_has_ended_is_not_kept():
    swarm = joined_swarm(scenario_of(count=1))
    client = swarm.clients[0]

    client.connection_lost(None)
    new = swarm.renew(client)

    assert client.transport is None
    assert swarm.clients == [new]


def test_heartbeats_and_reading_of_who_is_gone_do_no_harm():
    swarm = joined_swarm(scenario_of(count=1))
    client = swarm.clients[0]
    client.stop_reading()
    client.leave()
    client.connection_lost(None)

    client.read_on()
    client.send(Operation.HEARTBEAT)

    assert not client.is_in


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
