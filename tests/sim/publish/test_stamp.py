import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.publish.stamp import STAMP_BYTES, TAIL_BYTES, make_body, read_stamp, sign_body

uint32 = st.integers(0, 2**32 - 1)


@given(uint32, uint32, uint32, st.integers(0, 2**64 - 1), st.integers(STAMP_BYTES, 300))
def test_what_was_written_is_read(run, stream, sequence, intended_ns, size):
    body = make_body(run, stream, sequence, intended_ns, size)

    assert len(body) == size
    assert read_stamp(body, run) == (stream, sequence, intended_ns)


def test_layout_is_the_documented_one():
    body = make_body(0x01020304, 0x05060708, 0x090A0B0C, 0x0D0E0F1011121314, 26)

    assert body == b"imc1" + bytes(range(1, 21)) + b".."


@given(uint32, uint32)
def test_bodies_of_another_run_are_not_ours(run, other):
    body = make_body(run, 1, 2, 3, 64)

    assert (read_stamp(body, other) is None) == (run != other)


@given(st.binary(max_size=100))
def test_foreign_bodies_are_not_ours(body):
    assert read_stamp(body, 1) is None


@pytest.mark.parametrize("size", range(STAMP_BYTES))
def test_a_body_cut_short_is_not_ours(size):
    assert read_stamp(make_body(1, 2, 3, 4, 64)[:size], 1) is None


@given(st.binary(max_size=200), uint32, uint32, uint32, st.integers(0, 2**64 - 1))
def test_content_of_any_kind_keeps_its_stamp_and_stays_as_it_is(content, run, stream, sequence, intended_ns):
    body = sign_body(content, run, stream, sequence, intended_ns)

    assert body[: len(content)] == content
    assert len(body) == len(content) + TAIL_BYTES
    assert body[len(content) :].isspace()
    assert read_stamp(body, run) == (stream, sequence, intended_ns)


def test_a_signed_document_is_still_json():
    body = sign_body(b'{"text": "hi"}', 2**32 - 1, 7, 8, 2**64 - 1)

    assert json.loads(body) == {"text": "hi"}


@given(uint32, uint32)
def test_signed_bodies_of_another_run_are_not_ours(run, other):
    body = sign_body(b"hi", run, 1, 2, 3)

    assert (read_stamp(body, other) is None) == (run != other)


@pytest.mark.parametrize("cut", range(1, TAIL_BYTES + 2))
def test_a_signed_body_cut_short_is_not_ours(cut):
    assert read_stamp(sign_body(b"hi" * 20, 2**31 + 5, 2, 3, 4)[:-cut], 2**31 + 5) is None


@given(
    st.text(alphabet=" \t\n\r", max_size=TAIL_BYTES - 1) | st.text(alphabet=" \t\n\r", max_size=60).map("{:.<9}".format)
)
def test_foreign_white_space_is_not_ours(text):
    assert read_stamp(text.encode(), 0) is None


@pytest.mark.parametrize("content", [b"", b"x", b"imc1", b"imc1" + b"\0" * 40, b" " * 100, b"\n"])
def test_content_that_looks_like_a_stamp_is_only_content(content):
    assert read_stamp(sign_body(content, 77, 5, 6, 7), 77) == (5, 6, 7)
