from __future__ import annotations

import pytest

from imctl.decode import Kind, Problem, Row
from imctl.decode.traffic import Began, Conversation, Ended, Peers, Seen, Side, time_of
from protocol.frame import Frame
from protocol.websocket import ClientUpgrade, serialize_message

HI = Frame(1, 1000, 0, b"hi")
UPGRADE = ClientUpgrade("h", b"the sample nonce").request
PEERS = Peers(3, "127.0.0.1:50000", "127.0.0.1:3101")


@pytest.mark.parametrize(("first", "transport"), [(HI.pack(), "tcp"), (UPGRADE, "ws"), (b"POST / HTTP/1.1\r\n", "ws")])
def test_the_first_bytes_tell_the_transport_however_they_are_cut(first, transport):
    whole, cut = Conversation(), Conversation()

    rows = list(whole.feed(Side.CLIENT, first))
    pieces = [item for byte in first for item in cut.feed(Side.CLIENT, bytes([byte]))]

    assert (whole.transport, cut.transport) == (transport, transport)
    assert pieces == rows


def test_the_comets_bytes_are_read_as_the_clients_were():
    talk = Conversation()

    list(talk.feed(Side.CLIENT, UPGRADE))
    [row] = talk.feed(Side.COMET, serialize_message(HI.pack()))

    assert isinstance(row, Row)
    assert (row.offset, row.ws, row.op) == (0, "binary", 1000)


def test_too_few_bytes_are_explained_at_the_end():
    talk = Conversation()

    assert list(talk.feed(Side.CLIENT, b"GE")) == []
    [problem] = talk.end(Side.CLIENT)

    assert isinstance(problem, Problem)
    assert problem.what == "2 bytes left, too few for a header"


def test_a_side_that_said_nothing_has_nothing_left():
    assert list(Conversation().end(Side.COMET)) == []


@pytest.mark.parametrize("wire", [HI.pack(), serialize_message(HI.pack())], ids=["tcp", "ws"])
def test_within_a_connection_the_bytes_themselves_tell(wire):
    talk = Conversation(begun=False)

    assert list(talk.feed(Side.COMET, b"the end of a frame")) == []
    problem, row = talk.feed(Side.COMET, wire)

    assert isinstance(problem, Problem)
    assert (problem.size, row.offset) == (18, 18)


def test_a_gap_at_the_very_begin_is_told():
    talk = Conversation()

    [gap] = talk.gap(Side.COMET, 100, "away")
    [row] = talk.feed(Side.COMET, HI.pack())

    assert (gap.offset, gap.size, row.offset) == (0, 100, 100)


def test_events_are_json_with_the_connection_in_each():
    row = Row(Kind.FRAME, 0, 18, op=1000, body=b"hi")
    events = [
        Began(10**18, PEERS, "a note"),
        Seen(10**18 + 1500, PEERS, Side.COMET, row),
        Ended(10**18, PEERS, "why", 2_000_000, 1, 2),
    ]

    began, seen, ended = [event.to_json() for event in events]

    assert {(found["connection"], found["client"]) for found in (began, seen, ended)} == {(3, "127.0.0.1:50000")}
    assert (began["kind"], began["comet"], began["note"]) == ("begin", "127.0.0.1:3101", "a note")
    assert (seen["kind"], seen["from"], seen["body_text"]) == ("frame", "comet", "hi")
    assert seen["time"].startswith("2001-09-09T")
    assert (ended["kind"], ended["duration_ms"], ended["bytes_from_comet"]) == ("end", 2.0, 2)


@pytest.mark.parametrize("time_ns", [-1, 0, 2**64 * 10**9])
def test_impossible_times_of_damaged_files_are_times(time_ns):
    assert time_of(time_ns).year >= 1969
