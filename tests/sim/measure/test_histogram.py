import json
import random

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from sim.measure.histogram import Histogram

MS = 1_000_000
# From the shortest latency there is to a minute; shorter ones are kept to a microsecond.
durations = st.integers(200_000, 60_000 * MS)
PERCENTS = (1, 10, 25, 50, 90, 95, 99, 99.9, 100)


def filled(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def state(histogram):
    return histogram.count, histogram.min_ns, histogram.max_ns, list(histogram.buckets())


def test_empty_one_has_only_zeros():
    assert (Histogram().percentile_ns(99), Histogram().count, list(Histogram().buckets())) == (0, 0, [])


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_percentiles_are_those_of_hdrhistogram_within_our_error(sigma):
    rng = random.Random(5)
    values = [min(int(2 * MS * rng.lognormvariate(0, sigma)) + 200_000, 60_000 * MS) for _ in range(10_000)]
    oracle = HdrHistogram(1, 100_000_000, 4)  # of microseconds
    for value in values:
        oracle.record_value(value // 1000)

    histogram = filled(values)

    for percent in (10, 50, 90, 99, 99.9):
        exact_us = oracle.get_value_at_percentile(percent)
        assert histogram.percentile_ns(percent) / 1000 == pytest.approx(exact_us, rel=0.008)


@given(st.lists(durations, min_size=1, max_size=300))
def test_percentiles_are_the_exact_ones_within_half_a_bucket(values):
    histogram, ordered = filled(values), sorted(values)

    for percent in (50, 90, 99):
        rank = -(-len(values) * percent // 100)
        assert histogram.percentile_ns(percent) == pytest.approx(ordered[rank - 1], rel=0.0045)


def test_a_percentile_of_many_equal_shares_is_not_one_rank_off():
    histogram = filled(number * 10 * MS for number in range(1, 1001))

    assert histogram.percentile_ns(99.9) == pytest.approx(9_990 * MS, rel=0.0045)


@given(st.lists(st.integers(-5, 10**15), min_size=1, max_size=100))
def test_percentiles_never_fall_and_stay_between_the_exact_ends(values):
    histogram = filled(values)

    found = [histogram.percentile_ns(percent) for percent in PERCENTS]

    assert found == sorted(found)
    assert histogram.min_ns == max(min(values), 0)
    assert histogram.max_ns == max(*values, 0)
    assert histogram.min_ns <= found[0] <= found[-1] <= histogram.max_ns


@given(st.integers(0, (1 << 46) - 1))
def test_a_value_is_inside_its_bucket_and_buckets_are_narrow(value):
    [(low, high, count)] = filled([value]).buckets()

    assert count == 1
    assert low <= value <= high
    assert high - low < max(low / 127, 1024)


@given(st.lists(durations, max_size=50), st.lists(durations, max_size=50), st.integers(1, 9))
def test_merging_is_recording_everything_in_one(ours, theirs, times):
    merged, other = filled(ours), Histogram()
    for value in theirs:
        other.record(value, times)

    merged.merge(other)

    assert state(merged) == state(filled([*ours, *theirs * times]))


@given(st.lists(st.integers(0, 10**15), max_size=50))
def test_a_dump_loads_as_what_it_was(values):
    histogram = filled(values)

    loaded = Histogram.load(json.loads(json.dumps(histogram.dump())))

    assert state(loaded) == state(histogram)


def test_a_duration_beyond_the_last_bucket_counts_in_it_with_its_exact_maximum():
    histogram = filled([10**18, 5 * MS])

    assert (histogram.count, histogram.max_ns) == (2, 10**18)
    assert histogram.percentile_ns(50) == pytest.approx(5 * MS, rel=0.0045)
