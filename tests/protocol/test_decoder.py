from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.decoder import FrameDecoder
from protocol.errors import HeaderLengthError, RemoteError
from protocol.frame import Frame
from tests.protocol.strategies import cut, frames, pieces

BAD = bytes.fromhex("00000010001100010000000200000000")


def outcome(chunks: list[bytes], max_body: int | None = None) -> tuple[list[Frame], str]:
    decoder, found = FrameDecoder(max_body), []
    for chunk in chunks:
        decoder.feed(chunk)
        try:
            found += iter(decoder.next_frame, None)
        except RemoteError as exc:
            return found, repr(exc)
    return found, f"{decoder.buffered} bytes left"


@given(st.lists(frames), pieces)
def test_frames_do_not_depend_on_the_cut(sent, sizes):
    data = b"".join(frame.pack() for frame in sent)

    assert outcome(cut(data, sizes)) == (sent, "0 bytes left")


@given(
    st.lists(st.one_of(st.binary(max_size=40), frames.map(Frame.pack), st.just(BAD))).map(b"".join),
    pieces,
    st.sampled_from([None, 8, 4096]),
)
def test_the_outcome_of_any_bytes_does_not_depend_on_the_cut(data, sizes, max_body):
    assert outcome(cut(data, sizes), max_body) == outcome([data], max_body)


def test_frames_before_a_bad_one_are_given_first_and_the_error_stays():
    decoder = FrameDecoder()
    decoder.feed(Frame(1, 2, 3).pack() + BAD + Frame(1, 2, 4).pack())

    assert decoder.next_frame() == Frame(1, 2, 3)
    for _ in range(2):
        with pytest.raises(HeaderLengthError):
            decoder.next_frame()
        decoder.feed(Frame(1, 2, 5).pack())


def test_buffered_counts_the_incomplete_frame():
    decoder = FrameDecoder()
    decoder.feed(Frame(1, 2, 3, b"body").pack() + b"\0\0\0")

    assert decoder.buffered == 3
