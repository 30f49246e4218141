from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.frame import pack_frame
from protocol.operation import Operation
from protocol.websocket import ClientUpgrade, parse_upgrade, serialize_message, serialize_upgrade_response
from sim.clients.memo import CODE_BITS
from tests.sim.clients.books import FOREIGN, books, counts, cut
from tests.sim.kit import ALL, AUTH_REPLY, ROOM, FakeTransport, joined_swarm, message, scenario_of, swarm_of, wire

HEARTBEAT_REPLY = pack_frame(Operation.HEARTBEAT_REPLY, b"\0\0\0\1")


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
