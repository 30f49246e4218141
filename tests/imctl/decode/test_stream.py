"""What comes in pieces: the same rows whatever the cuts, bounded memory, gaps."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.decode import Kind, Problem, Row, decode
from imctl.decode.stream import StreamWalker
from imctl.decode.tcp import TcpWalker
from imctl.decode.ws import WebSocketWalker
from protocol.frame import Frame
from protocol.raw import pack_batch, wrap_batch
from protocol.websocket import ClientUpgrade, serialize_message
from tests.protocol.recordings import streams
from tests.protocol.strategies import frames

MASK = b"\x37\xfa\x21\x3d"
HI = Frame(1, 1000, 0, b"hi")
BAD = bytes.fromhex("00000010001100010000000200000000")
UPGRADE = ClientUpgrade("h", b"the sample nonce").request


def walk_pieces(walker: StreamWalker, pieces: Iterable[bytes]) -> list[Row | Problem]:
    found: list[Row | Problem] = []
    for piece in pieces:
        walker.feed(piece)
        found += walker.items()
    return [*found, *walker.end()]


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_a_recorded_stream_gives_the_same_rows_however_it_is_cut(transport, size):
    for stream in streams(f"{transport}-pushes", "recv"):
        walker = WebSocketWalker() if transport == "ws" else TcpWalker()

        found = walk_pieces(walker, in_pieces(stream.data, size))

        assert found == list(decode(stream.data, ws=transport == "ws").items), stream.name


@given(st.lists(frames, min_size=1), st.data(), st.booleans())
def test_frames_are_the_same_however_they_are_cut(sent, data, ws):
    wire = UPGRADE + b"".join(serialize_message(frame.pack(), mask=MASK) for frame in sent) if ws else pack_batch(sent)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=8)) | {0, len(wire)})
    pieces = [wire[begin:end] for begin, end in pairwise(cuts)]

    found = walk_pieces(WebSocketWalker() if ws else TcpWalker(), pieces)

    assert found == list(decode(wire, ws=ws).items)


@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans(), st.booleans())
def test_any_pieces_are_told_to_the_last_byte(pieces, ws, lost):
    size = sum(map(len, pieces))
    walker = WebSocketWalker(lost=lost, max_kept=30) if ws else TcpWalker(lost=lost, max_kept=30)

    found = walk_pieces(walker, pieces)

    told = {at for item in found for at in range(item.offset, min(item.offset + item.size, size))}
    assert told == set(range(size))


def test_each_frame_is_told_as_soon_as_it_is_whole():
    walker = TcpWalker()

    walker.feed(HI.pack() + HI.pack()[:5])
    first = list(walker.items())
    walker.feed(HI.pack()[5:])

    assert [[row.offset for row in rows] for rows in (first, list(walker.items()))] == [[0], [18]]


def test_a_problem_is_told_at_once_and_frames_behind_it_are_found():
    walker = TcpWalker()

    walker.feed(HI.pack() + BAD + b"junk")
    first = list(walker.items())
    walker.feed(b"more" + HI.pack()[:10])
    second = list(walker.items())
    walker.feed(HI.pack()[10:])
    third = list(walker.items())

    assert [(item.offset, item.size) for item in first] == [(0, 18), (18, 20)]
    assert second == []
    problem, row = third
    assert (problem.offset, problem.size) == (38, 4)
    assert isinstance(problem, Problem)
    assert problem.hint == "frames begin again at offset 42"
    assert (row.offset, row.size) == (42, 18)


def test_bytes_without_a_frame_are_not_kept_without_end():
    walker = TcpWalker()
    junk = b"\x01" * 10_000

    for _ in range(50):
        walker.feed(junk)
        list(walker.items())
        assert walker._left() < 100_000

    walker.feed(HI.pack())
    *_, row = walker.items()
    assert (row.offset, row.size) == (500_000, 18)


@pytest.mark.parametrize("size", [1, 64, 100_000])
@pytest.mark.parametrize("ws", [False, True])
def test_of_a_long_frame_the_header_is_told_and_nothing_kept(ws, size):
    long = Frame(1, 1000, 9, bytes(5000)).pack()
    wire = serialize_message(long) + serialize_message(HI.pack()) if ws else long + HI.pack()
    walker = WebSocketWalker(max_kept=2048) if ws else TcpWalker(max_kept=2048)

    found: list[Row | Problem] = []
    for piece in in_pieces(wire, size):
        walker.feed(piece)
        found += walker.items()
        assert walker._left() < 2048 + size

    first, second = [*found, *walker.end()]
    assert isinstance(first, Row)
    assert (first.op, first.seq, first.body) == (1000, 9, b"")
    assert first.note.endswith(f"body of {5016 if ws else 5000} bytes, not shown: over 2 KiB")
    assert (second.offset, second.size) == (first.size, len(wire) - first.size)


def test_a_long_message_in_fragments_is_not_kept():
    long = Frame(1, 1000, 9, bytes(5000)).pack()
    parts = in_pieces(long, 1000)
    wire = b"".join(
        bytes([0x80 * (number == len(parts) - 1) | 0x02 * (number == 0)]) + serialize_message(part)[1:]
        for number, part in enumerate(parts)
    )

    *fragments, row = walk_pieces(WebSocketWalker(max_kept=2048), in_pieces(wire, 100))

    assert [item.kind for item in fragments if isinstance(item, Row)] == [Kind.FRAGMENT] * 6
    assert isinstance(row, Row)
    assert (row.op, row.seq, row.note) == (1000, 9, "body of 5016 bytes, not shown: over 2 KiB")


def test_the_missing_end_of_a_long_frame_is_told():
    walker = TcpWalker(max_kept=100)

    _, problem = walk_pieces(walker, [Frame(1, 1000, 9, bytes(5000)).pack()[:600]])

    assert isinstance(problem, Problem)
    assert problem.what == "the frame before ends 4416 bytes later"


# Gaps


def test_behind_a_gap_between_frames_the_next_one_is_found():
    walker = TcpWalker()

    walker.feed(HI.pack())
    before = list(walker.items())
    gap = walker.gap(30, "30 bytes are away", "a hint")
    walker.feed(HI.pack())
    after = list(walker.items())

    assert [item.offset for item in before] == [0]
    assert gap == [Problem(18, 30, "30 bytes are away", "30 bytes", "a hint", incomplete=True)]
    assert [(item.offset, item.size) for item in after] == [(48, 18)]


def test_a_gap_within_a_frame_does_not_lose_the_next_one():
    walker = TcpWalker()
    long = Frame(1, 1000, 3, bytes(100)).pack()

    walker.feed(long[:40])
    list(walker.items())
    row, gap = walker.gap(50, "50 bytes are away")
    walker.feed(long[90:] + HI.pack())
    [following] = walker.items()

    assert isinstance(row, Row)
    assert (row.seq, row.note) == (3, "24 of 100 bytes of the body are here")
    assert (gap.offset, gap.size, following.offset) == (40, 50, 116)


def test_a_gap_over_the_end_of_a_frame_loses_what_has_no_beginning():
    walker = TcpWalker()

    walker.feed(HI.pack()[:17])
    list(walker.items())
    walker.gap(5, "5 bytes are away")
    walker.feed(HI.pack()[4:] + HI.pack())
    problem, row = walker.items()

    assert isinstance(problem, Problem)
    assert (problem.what, row.offset) == ("14 bytes without the beginning of a frame", 36)


@pytest.mark.parametrize("mask", [None, MASK])
def test_websocket_messages_are_found_behind_a_gap(mask):
    walker = WebSocketWalker()
    wire = serialize_message(wrap_batch(pack_batch([HI])), mask=mask)

    walker.feed(UPGRADE)
    list(walker.items())
    walker.gap(5, "5 bytes are away")
    walker.feed(b"\x82\x10\x82\x7e" + wire)
    problem, *rows = walker.items()

    assert (problem.offset, problem.size) == (len(UPGRADE) + 5, 4)
    assert [row.op for row in rows if isinstance(row, Row)] == [9, 1000]
