from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.messages.ids import id_of, sequence_of

MOST = 2**31 - 1


@pytest.mark.parametrize(
    ("message_id", "sequence"), [(1, 1), (2, 2), (MOST, MOST), (MOST + 1, 1), (2 * MOST, MOST), (2 * MOST + 1, 1)]
)
def test_sequence_numbers_begin_again_after_the_largest_int32(message_id, sequence):
    assert sequence_of(message_id) == sequence


@given(st.integers(1, 2**60), st.integers(0, 10_000))
def test_a_sequence_number_means_the_newest_message_that_has_it(last, back):
    message_id = max(last - back, 1)

    assert id_of(sequence_of(message_id), last) == message_id


@given(st.integers(1, MOST - 1), st.integers(1, MOST))
def test_a_number_that_was_not_given_yet_means_no_message(last, sequence):
    assert (id_of(sequence, last) > 0) == (sequence <= last)


@pytest.mark.parametrize(("sequence", "last"), [(0, 5), (-1, 5), (-(2**31), 5), (1, 0), (MOST, 0)])
def test_there_is_no_message_before_the_first(sequence, last):
    assert id_of(sequence, last) <= 0
