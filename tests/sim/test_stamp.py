import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.stamp import STAMP_BYTES, make_body, read_stamp

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
