from random import Random

import pytest

from sim.publish.mix import choose, loops_of, mixes_of
from sim.scenario.publishing import ClosedLoop, Publisher, PublishTo


def publisher(**options):
    return Publisher(PublishTo.ALL, "", 1.0, **options)


def test_publishers_of_one_mix_are_together_and_others_by_themselves():
    publishers = [publisher(), publisher(mix="a"), publisher(mix="b"), publisher(mix="a"), publisher()]

    assert mixes_of(publishers) == ((0,), (1, 3), (2,), (4,))


def test_loops_are_the_mixes_that_are_closed():
    loop = ClosedLoop(3)
    publishers = [publisher(), publisher(mix="a", closed=loop), publisher(mix="a", closed=loop), publisher(closed=loop)]

    assert loops_of(publishers) == [((1, 2), loop), ((3,), loop)]


def test_each_is_chosen_as_often_as_its_weight_says():
    rng = Random(1)

    chosen = [choose((3, 1), rng) for _ in range(4000)]

    assert chosen.count(0) == pytest.approx(3000, rel=0.03)
    assert set(chosen) == {0, 1}


def test_the_only_one_is_chosen_without_drawing():
    rng = Random(1)
    before = rng.getstate()

    assert choose((5.0,), rng) == 0
    assert rng.getstate() == before
