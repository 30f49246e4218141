from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BatchError
from protocol.frame import Frame, parse_frames
from protocol.operation import Operation
from protocol.raw import flatten, pack_batch, unpack_batch, wrap_batch
from tests.protocol.strategies import frames


def test_a_wrapped_push_looks_as_goims_page_shows_it():
    batch = pack_batch([Frame(1, 1000, 0, b'{"test":1}')])

    assert wrap_batch(batch).hex() == (
        "0000002a001000010000000900000000" + "0000001a00100001000003e8000000007b2274657374223a317d"
    )


@given(st.lists(frames, min_size=1))
def test_flatten_gives_back_what_was_wrapped(sent):
    [container], _ = parse_frames(wrap_batch(pack_batch(sent)))

    assert container.op == Operation.RAW
    assert flatten(container) == sent


def test_other_frames_are_flat_and_containers_are_opened_once():
    inner = Frame(1, Operation.RAW, 0, b"an application may use 9 too")

    assert flatten(Frame(1, 1000, 0, b"x")) == [Frame(1, 1000, 0, b"x")]
    assert flatten(Frame(1, Operation.RAW, 0, inner.pack())) == [inner]
    assert flatten(Frame(1, Operation.RAW, 0)) == []


@given(st.binary(max_size=80))
def test_any_body_gives_frames_or_a_batch_error(body):
    with contextlib.suppress(BatchError):
        assert sum(16 + len(frame.body) for frame in unpack_batch(body)) <= len(body)


@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        (b"\0" * 5, "5 bytes left, too few for a header"),
        (Frame(1, 2, 3, b"body").pack()[:-1], "19 bytes left, too few for its body"),
        (bytes.fromhex("00000010001100010000000200000000"), "header length is 17, expected 16"),
    ],
)
def test_a_broken_batch_says_where(tail, problem):
    with pytest.raises(BatchError, match=f"batch is broken at offset 20: {problem}") as caught:
        unpack_batch(Frame(1, 1000, 0, b"good").pack() + tail)

    assert caught.value.offset == 20
