from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.pcap import Reassembler, Segment
from imctl.pcap import tcp as tcp_module
from imctl.pcap.packet import ACK, FIN, RST, SYN
from imctl.pcap.tcp import Closed, Data, Missing, Opened, TcpEvent

CLIENT, COMET = ("10.0.0.1", 40000), ("10.0.0.2", 3101)
C0, S0 = 4_294_967_290, 5000  # the client's numbers wrap early


def up(at: int, payload: bytes = b"", flags: int = ACK, *, size: int | None = None, ack: int = 0) -> Segment:
    """A segment of the client, `at` bytes after its first one."""
    seq = (C0 + 1 + at) & 0xFFFFFFFF
    return Segment(CLIENT, COMET, seq, S0 + 1 + ack, flags, payload, len(payload) if size is None else size)


def down(at: int, payload: bytes = b"", flags: int = ACK, *, ack: int = 0) -> Segment:
    """A segment of the comet, which acknowledges `ack` bytes."""
    return Segment(COMET, CLIENT, S0 + 1 + at, (C0 + 1 + ack) & 0xFFFFFFFF, flags, payload, len(payload))


OPEN = [up(-1, flags=SYN), down(-1, flags=SYN | ACK), up(0)]


def follow(segments: list[Segment], *, finish: bool = True, **options: object) -> list[TcpEvent]:
    reassembler = Reassembler(**options)  # type: ignore[arg-type]
    found = [event for time_ns, segment in enumerate(segments) for event in reassembler.add(segment, time_ns)]
    return [*found, *reassembler.finish(len(segments))] if finish else found


def told(events: list[TcpEvent]) -> list[object]:
    """Return bytes, sizes of what is missing, and why it ended, in order."""
    return [
        event.data if isinstance(event, Data) else event.size if isinstance(event, Missing) else event.why
        for event in events
        if not isinstance(event, Opened)
    ]


def test_both_ways_of_a_connection_are_told_apart():
    events = follow([*OPEN, up(0, b"hi"), down(0, b"you", ack=2), up(2, flags=FIN | ACK), down(3, flags=FIN | ACK)])

    opened, first, second, closed = events
    assert isinstance(opened, Opened)
    assert (opened.flow.client, opened.flow.server, opened.flow.begun) == (CLIENT, COMET, True)
    assert (first, second) == (Data(3, opened.flow, True, b"hi"), Data(4, opened.flow, False, b"you"))
    assert closed == Closed(6, opened.flow, "closed by the client")


def test_segments_out_of_order_are_put_in_order():
    assert told(follow([*OPEN, up(4, b"ef"), up(2, b"cd"), up(0, b"ab")]))[:3] == [b"ab", b"cd", b"ef"]


@pytest.mark.parametrize(
    "again", [up(0, b"abcd"), up(1, b"bc"), up(0, b"a"), up(3, b"d")], ids=["whole", "middle", "begin", "end"]
)
def test_what_came_again_is_told_once(again):
    reassembler = Reassembler()
    segments = [*OPEN, up(0, b"abcd"), again, up(4, b"e")]

    found = [event for segment in segments for event in reassembler.add(segment, 0)]

    assert told(found) == [b"abcd", b"e"]
    assert reassembler.repeated == 1


def test_of_an_overlap_the_new_bytes_are_told():
    events = follow([*OPEN, up(0, b"abcd"), up(2, b"XXef"), up(8, b"ij"), up(5, b"YghXZ")], finish=False)

    # Of two versions of a byte the first that could be told counts.
    assert told(events) == [b"abcd", b"ef", b"ghXZ"]


def test_missing_bytes_are_told_once_the_receiver_has_them():
    late = [down(0, ack=6)] * 4

    events = told(follow([*OPEN, up(0, b"ab"), up(4, b"ef"), *late], finish=False))

    assert events == [b"ab", 2, b"ef"]


def test_bytes_that_are_only_late_are_not_missing():
    events = follow([*OPEN, up(0, b"ab"), up(4, b"ef"), down(0, ack=6), up(2, b"cd")], finish=False)

    assert told(events) == [b"ab", b"cd", b"ef"]


def test_what_is_missing_at_the_end_is_told_there():
    fins = [up(9, flags=FIN | ACK), down(0, flags=RST)]

    assert told(follow([*OPEN, up(0, b"ab"), up(4, b"ef"), *fins])) == [b"ab", 2, b"ef", 3, "reset by the comet"]


def test_a_fin_that_was_not_captured_is_no_missing_byte():
    assert told(follow([*OPEN, up(0, b"ab"), down(0, ack=3)])) == [b"ab", "still open when the capture ended"]


def test_acknowledged_bytes_that_never_came_are_missing():
    assert told(follow([*OPEN, up(0, b"ab"), down(0, ack=502)])) == [b"ab", 500, "still open when the capture ended"]


def test_the_cut_end_of_a_packet_is_missing_and_the_next_follows():
    events = follow([*OPEN, up(0, b"ab", size=6), up(6, b"gh")])

    assert told(events)[:3] == [b"ab", 4, b"gh"]
    assert [event.cut for event in events if isinstance(event, Missing)] == [True]


def test_too_much_that_waits_is_told_behind_a_gap(monkeypatch):
    monkeypatch.setattr(tcp_module, "MAX_HELD_ONE_WAY", 5)

    assert told(follow([*OPEN, up(3, b"def"), up(6, b"ghi")], finish=False)) == [3, b"def", b"ghi"]


def test_too_much_over_all_connections_is_told_behind_a_gap(monkeypatch):
    monkeypatch.setattr(tcp_module, "MAX_HELD_BYTES", 5)
    other = [Segment(("10.0.0.9", 1), *part) for part in [(COMET, 0, 0, SYN, b"", 0), (COMET, 5, 0, ACK, b"defg", 4)]]

    assert told(follow([*other, *OPEN, up(3, b"de")], finish=False)) == [3, b"de"]


def test_a_connection_that_was_open_before_the_capture_begins_where_it_is():
    events = follow([down(100, b"push"), up(50, b"beat")], server_ports=[3101])

    opened = events[0]
    assert isinstance(opened, Opened)
    assert (opened.flow.client, opened.flow.begun) == (CLIENT, False)
    assert told(events)[:2] == [b"push", b"beat"]


def test_the_lower_port_is_taken_for_the_servers():
    [opened, *_] = follow([down(100, b"push")])

    assert opened.flow.server == COMET


def test_a_port_that_is_used_again_is_a_new_connection():
    again = Segment(CLIENT, COMET, 77, 0, SYN, b"", 0)
    data = Segment(CLIENT, COMET, 78, 0, ACK, b"second", 6)

    events = told(follow([*OPEN, up(0, b"first"), again, data]))

    assert events[:3] == [b"first", "its end was not captured: the client's port was used again", b"second"]


def test_a_handshake_that_came_twice_is_one():
    assert sum(isinstance(event, Opened) for event in follow([OPEN[0], OPEN[0], *OPEN[1:], up(0, b"x")])) == 1


def test_the_last_acknowledgement_opens_nothing():
    assert follow([up(0), down(0)]) == []


def test_over_the_limit_of_connections_the_first_is_given_up(monkeypatch):
    monkeypatch.setattr(tcp_module, "MAX_FLOWS", 2)
    opens = [Segment(("10.0.0.1", port), COMET, 0, 0, SYN, b"", 0) for port in (1, 2, 3)]

    [*_, closed, opened] = follow(opens, finish=False)

    assert closed.why == "not followed any longer: over 2 connections at once"
    assert (closed.flow.client[1], opened.flow.client[1]) == (1, 3)


def test_other_ports_are_left_out():
    assert follow([*OPEN, up(0, b"x")], only_ports=[9]) == []


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_cuts_orders_and_repeats_give_the_same_bytes(sent, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)))) | {0, len(sent)})
    parts = [(begin, sent[begin:end]) for begin, end in pairwise(cuts)]
    extra = data.draw(st.lists(st.tuples(st.integers(0, len(sent)), st.integers(0, 9)), max_size=5))
    segments = [up(begin, payload) for begin, payload in [*parts, *((at, sent[at : at + n]) for at, n in extra)]]

    events = follow([*OPEN, *data.draw(st.permutations(segments))], finish=False)

    assert not any(isinstance(event, Missing) for event in events)
    assert b"".join(event.data for event in events if isinstance(event, Data)) == sent


@given(
    st.lists(
        st.builds(
            Segment,
            st.sampled_from([CLIENT, COMET]),
            st.sampled_from([CLIENT, COMET]),
            st.integers(0, 2**32 - 1) | st.integers(0, 40),
            st.integers(0, 2**32 - 1) | st.integers(0, 40),
            st.sampled_from([ACK, SYN, SYN | ACK, FIN | ACK, RST, 0]),
            st.binary(max_size=4),
            st.integers(4, 9),
        ),
        max_size=30,
    )
)
def test_any_segments_end_in_one_close_for_each_open(segments):
    events = follow(segments)

    assert sum(isinstance(event, Opened) for event in events) == sum(isinstance(event, Closed) for event in events)
    assert all(event.size > 0 for event in events if isinstance(event, Missing))
