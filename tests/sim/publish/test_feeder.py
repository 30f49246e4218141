from random import Random

import pytest

from sim.publish.feeder import Column, Feed, FeedOrder, pick_row


def feed(order):
    return Feed("user", "users.csv", order, ("name", "mid"), (("Ada", "Bo", "Chen"), ("1", "2", "3")), (2, 3, 4))


def picked(order, count=7, seed=1):
    rng = Random(seed)
    return [pick_row(feed(order), number, rng) for number in range(count)]


def test_in_turn_begins_anew_at_the_end():
    assert picked(FeedOrder.SEQUENTIAL) == [0, 1, 2, 0, 1, 2, 0]


def test_once_has_no_more_at_the_end():
    assert picked(FeedOrder.ONCE) == [0, 1, 2, None, None, None, None]


def test_at_random_every_row_is_as_likely_and_the_seed_says_which():
    rows = picked(FeedOrder.RANDOM, count=3000)

    assert all(rows.count(row) == pytest.approx(1000, abs=120) for row in range(3))
    assert rows == picked(FeedOrder.RANDOM, count=3000) != picked(FeedOrder.RANDOM, count=3000, seed=2)


def test_columns_are_found_by_name():
    assert feed(FeedOrder.ONCE).column("mid") == ("1", "2", "3")
    assert feed(FeedOrder.ONCE).rows == 3
    assert str(Column("user", "mid")) == "${user.mid}"
    with pytest.raises(ValueError):
        feed(FeedOrder.ONCE).column("age")
