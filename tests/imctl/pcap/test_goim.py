from __future__ import annotations

import contextlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.decode import Kind, Problem, Row
from imctl.decode.traffic import Began, Ended, Event, Seen, Side
from imctl.pcap import Capture, CaptureError, NoSegment
from protocol.frame import Frame
from protocol.raw import pack_batch, wrap_batch
from protocol.websocket import ClientUpgrade, UpgradeRequest, serialize_message, serialize_upgrade_response
from tests.imctl.pcap.build import COMET, LINKS, dialogue, pcap, pcapng

AUTH, REPLY = Frame(1, 7, 1, b'{"mid":1,"key":"k","room_id":"","platform":"","accepts":[]}'), Frame(1, 8, 1)
HI = Frame(1, 1000, 0, b"hi")
SAID = [(">", AUTH.pack()), ("<", REPLY.pack()), ("<", HI.pack())]
UPGRADE = ClientUpgrade("h", b"the sample nonce").request
RESPONSE = serialize_upgrade_response(UpgradeRequest("dGhlIHNhbXBsZSBub25jZQ==", ""))
MASK = b"\x37\xfa\x21\x3d"
WS_SAID = [
    (">", UPGRADE),
    ("<", RESPONSE),
    (">", serialize_message(AUTH.pack(), mask=MASK)),
    ("<", serialize_message(wrap_batch(pack_batch([HI, HI])))),
]
TLS = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(9)
ODD = ("10.0.0.2", 45678)


def events_of(data: bytes, **options: list[int]) -> tuple[list[Event], Capture]:
    capture = Capture(io.BytesIO(data), **options)
    return [*capture.events(), *capture.finish()], capture


def rows_of(events: list[Event]) -> list[tuple[int, str, int]]:
    """Return connection, side and operation of each frame."""
    return [
        (event.peers.number, event.side.value, event.item.op)
        for event in events
        if isinstance(event, Seen) and isinstance(event.item, Row) and event.item.kind is Kind.FRAME
    ]


def problems_of(events: list[Event]) -> list[Problem]:
    return [event.item for event in events if isinstance(event, Seen) and isinstance(event.item, Problem)]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("make", [pcap, pcapng])
def test_a_connection_is_shown_both_ways(link, make):
    link_type, wrap = LINKS[link]

    events, capture = events_of(make([wrap(packet) for packet in dialogue(*SAID)], link_type))

    began, *_, ended = events
    assert isinstance(began, Began)
    assert isinstance(ended, Ended)
    assert (began.peers.client, began.peers.comet) == ("10.0.0.1:40000", "10.0.0.2:3101")
    assert rows_of(events) == [(1, "client", 7), (1, "comet", 8), (1, "comet", 1000)]
    assert (ended.why, ended.from_client, ended.from_comet) == ("closed by the client", 75, 34)
    assert (capture.connections, capture.others, capture.unread) == (1, {}, {})


def test_websocket_is_found_out_and_containers_are_opened():
    events, _ = events_of(pcap(dialogue(*WS_SAID, comet=("10.0.0.2", 3102))))

    assert rows_of(events) == [(1, "client", 7), *[(1, "comet", op) for op in (9, 1000, 1000)]]
    assert problems_of(events) == []


@pytest.mark.parametrize("said", [SAID, WS_SAID], ids=["TCP", "WebSocket"])
def test_goim_is_found_on_any_port_by_its_first_bytes(said):
    events, capture = events_of(pcap(dialogue(*said, comet=ODD)))

    assert (capture.connections, rows_of(events)[0]) == (1, (1, "client", 7))


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(9), b"x"]
)
def test_other_connections_are_counted_by_their_servers_port(first):
    events, capture = events_of(pcap(dialogue((">", first), comet=ODD)))

    assert (events, capture.connections, capture.others) == ([], 0, {45678: 1})


def test_only_the_ports_asked_for_are_shown():
    both = dialogue(*SAID) + dialogue(*SAID, comet=ODD)

    events, _ = events_of(pcap(both), ports=[45678])

    assert {event.peers.comet for event in events} == {"10.0.0.2:45678"}


def test_bytes_that_are_not_goims_on_its_own_port_are_explained():
    events, _ = events_of(pcap(dialogue((">", TLS))))

    [problem] = problems_of(events)
    assert "this is TLS" in problem.hint


@pytest.mark.parametrize(
    ("said", "port"), [([("<", HI.pack() * 3)] * 2, 3101), ([("<", serialize_message(HI.pack()))] * 2, 30000)]
)
def test_a_capture_that_begins_within_a_connection_is_read(said, port):
    packets = dialogue(*said, comet=("10.0.0.2", port))[3:]

    events, capture = events_of(pcap(packets))

    began = events[0]
    assert isinstance(began, Began)
    assert began.note == "its beginning was not captured"
    assert {row[1:] for row in rows_of(events)} == {("comet", 1000)}
    assert (problems_of(events), capture.connections) == ([], 1)


@pytest.mark.parametrize("ws", [False, True])
def test_frames_are_found_again_behind_packets_that_are_missing(ws):
    wire = [serialize_message(HI.pack()) if ws else HI.pack()] * 6
    said = [*(WS_SAID[:2] if ws else []), *[("<", frame) for frame in wire]]
    packets = dialogue(*said, comet=("10.0.0.2", 45678))
    first = 3 + len(said) - len(wire)
    del packets[first + 2 : first + 4]

    events, _ = events_of(pcap(packets), ports=[45678])

    [problem] = problems_of(events)
    size = 2 * len(wire[0])
    assert problem.what == f"{size} bytes are not in the capture"
    assert problem.offset == sum(len(data) for way, data in said[: first - 3] if way == "<") + size
    assert [row[2] for row in rows_of(events)] == [1000] * 4


def test_a_frame_whose_end_was_cut_from_its_packet_shows_what_is_there():
    long = Frame(1, 1000, 5, bytes(100))
    packets = dialogue(("<", long.pack()), ("<", HI.pack()))
    data = bytearray(pcap(packets))
    at = data.index(packets[3])
    data[at - 8 : at - 4] = (80).to_bytes(4, "little")
    del data[at + 80 : at + len(packets[3])]

    events, _ = events_of(bytes(data))

    [problem] = problems_of(events)
    assert problem.what == "76 bytes were cut from a packet when it was captured"
    cut, whole = [event.item for event in events if isinstance(event, Seen) and isinstance(event.item, Row)]
    assert (cut.op, cut.seq, cut.note) == (1000, 5, "24 of 100 bytes of the body are here")
    assert (whole.offset, whole.body) == (116, b"hi")


def test_connections_at_the_same_time_are_kept_apart():
    one = dialogue(*SAID)
    two = dialogue(*SAID, client=("10.0.0.7", 50000), comet=COMET)

    events, _ = events_of(pcap([packet for pair in zip(one, two, strict=True) for packet in pair]))

    assert rows_of(events) == [
        (number, side, op) for side, op in [("client", 7), ("comet", 8), ("comet", 1000)] for number in (1, 2)
    ]
    assert [event.peers.number for event in events if isinstance(event, Ended)] == [1, 2]


def test_packets_that_are_not_read_are_counted_by_why():
    packets = dialogue(*SAID)
    fragment = packets[3][:6] + b"\x20\0" + packets[3][8:]

    _, capture = events_of(pcap([*packets, fragment, packets[0][:30], b"\x20" + bytes(40)]))

    assert capture.unread == {NoSegment.FRAGMENT: 1, NoSegment.CUT: 1, NoSegment.OTHER: 1}
    assert capture.packets == len(packets) + 3


def test_what_was_before_the_damage_is_shown_and_the_rest_is_ended():
    capture = Capture(io.BytesIO(pcap(dialogue(*SAID)[:6])[:-1]))
    events: list[Event] = []

    with pytest.raises(CaptureError):
        events.extend(capture.events())
    rest = list(capture.finish())

    assert rows_of(events) == [(1, "client", 7), (1, "comet", 8)]
    assert [event.why for event in rest if isinstance(event, Ended)] == ["still open when the capture ended"]


@given(
    st.sampled_from([pcap(dialogue(*SAID)), pcapng(dialogue(*WS_SAID))]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    st.integers(0, 2000),
)
def test_damaged_and_cut_captures_give_events_or_an_error_and_nothing_else(whole, changes, cut):
    damaged = bytearray(whole)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    capture = Capture(io.BytesIO(bytes(damaged[: len(damaged) - cut % len(damaged)])))
    events: list[Event] = []

    with contextlib.suppress(CaptureError):
        events.extend(capture.events())
    events += capture.finish()

    assert sum(isinstance(event, Began) for event in events) == sum(isinstance(event, Ended) for event in events)
    assert all(json.dumps(event.to_json()) for event in events)


def test_offsets_count_from_the_first_byte_of_each_side():
    events, _ = events_of(pcap(dialogue(*SAID)))

    offsets = [(event.side, event.item.offset) for event in events if isinstance(event, Seen)]
    assert offsets == [(Side.CLIENT, 0), (Side.COMET, 0), (Side.COMET, 16)]
