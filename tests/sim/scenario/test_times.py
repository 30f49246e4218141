from random import Random
from statistics import fmean, median

import pytest

from sim.scenario.times import ExponentialTime, LognormalTime, UniformTime, draw_time_s


def drawn(time, seed=1):
    rng = Random(seed)
    return [draw_time_s(time, rng) for _ in range(20_000)]


def test_a_fixed_time_draws_nothing():
    rng = Random(1)
    before = rng.getstate()

    assert draw_time_s(0.25, rng) == 0.25
    assert rng.getstate() == before


def test_uniform_times_are_between_their_ends():
    times = drawn(UniformTime(0.1, 0.3))

    assert min(times) >= 0.1
    assert max(times) <= 0.3
    assert fmean(times) == pytest.approx(0.2, rel=0.02)


def test_exponential_times_have_their_mean():
    times = drawn(ExponentialTime(0.2))

    assert fmean(times) == pytest.approx(0.2, rel=0.03)
    assert median(times) == pytest.approx(0.2 * 0.693, rel=0.05)


def test_lognormal_times_have_their_median_and_a_longest():
    times = drawn(LognormalTime(0.2, 1.0, 1.0))

    assert median(times) == pytest.approx(0.2, rel=0.05)
    assert max(times) == 1.0


@pytest.mark.parametrize("time", [UniformTime(0.1, 0.3), ExponentialTime(1.0), LognormalTime(1.0, 0.5, 9.0)])
def test_the_seed_says_which(time):
    assert drawn(time) == drawn(time) != drawn(time, seed=2)
