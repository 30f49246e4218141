from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.logic.balancer import MAX_CHOSEN, Balancer, score
from imctl.logic.comets import is_offline, known_comets
from tests.imctl.logic.fakes import comet_instance


def names(balancer: Balancer, region: str = "") -> list[str]:
    return [comet.instance.hostname for comet in balancer.choose(region, 1.6)]


def balancer_of(*comets, **settings):
    balancer = Balancer(**settings)
    balancer.update(known_comets(comets))
    return balancer


@pytest.mark.parametrize(
    ("weight", "conns", "total_weight", "total_conns", "gain", "expected"),
    [
        (10, 5, 20, 0, 1.0, 0),  # nobody is connected anywhere
        (10, 5, 20, 10, 1.0, 12),  # 10 + (0.5 - 0.25) * 10, half down
        (10, 10, 20, 10, 1.0, 10),  # exactly its share
        (10, 10, 100, 10, 1.0, 6),  # 10 + (0.1 - 0.5) * 10
        (1, 1000, 101, 1000, 1.0, 1),  # far over its share: never under 1
        (1 << 20, 0, 1 << 20, 1 << 20, 1.0, 1 << 20),  # never over 2**20
        (10, 0, 20, 10, 1.6, 22),  # F 16, T 26: 16 + 6.15
        (0, 0, 0, 7, 1.0, 0),
    ],
)
def test_scores(weight, conns, total_weight, total_conns, gain, expected):
    assert score(weight, conns, total_weight, total_conns, gain) == expected


@given(
    st.integers(0, 1 << 31),
    st.integers(0, 1 << 31),
    st.integers(0, 1 << 31),
    st.integers(0, 1 << 31),
    st.floats(0.1, 10),
)
def test_any_numbers_have_a_score(weight, conns, other_weight, other_conns, gain):
    assert isinstance(score(weight, conns, weight + other_weight, conns + other_conns, gain), int)


def test_the_comet_with_fewer_connections_for_its_weight_comes_first():
    balancer = balancer_of(comet_instance("a", conns=90), comet_instance("b", conns=10))

    assert names(balancer) == ["b", "a"]


def test_answers_between_two_reports_are_spread():
    balancer = balancer_of(*(comet_instance(name, conns=10) for name in "abc"))

    first = [names(balancer)[0] for _ in range(30)]

    assert all(9 <= first.count(name) <= 11 for name in "abc")


def test_news_of_a_comet_replaces_the_estimate():
    balancer = balancer_of(comet_instance("a", conns=10), comet_instance("b", conns=11))
    for _ in range(20):
        names(balancer)

    balancer.update(known_comets([comet_instance("a", conns=100, latest=2), comet_instance("b", conns=11)]))

    assert names(balancer)[0] == "b"


def test_the_same_report_again_changes_nothing():
    comets = [comet_instance("a", conns=10), comet_instance("b", conns=10)]
    balancer = balancer_of(*comets)

    first = []
    for _ in range(4):
        first += names(balancer)[:1]
        balancer.update(known_comets(comets))

    assert sorted(first) == ["a", "a", "b", "b"]


def test_the_clients_region_is_preferred():
    comets = [comet_instance("far", conns=10, region="bj"), comet_instance("near", conns=12, region="sh")]

    assert names(balancer_of(*comets), "sh") == ["near", "far"]
    assert names(balancer_of(*comets), "") == ["far", "near"]


def test_at_most_five_are_chosen():
    assert len(names(balancer_of(*(comet_instance(f"c{i}") for i in range(9))))) == MAX_CHOSEN


@pytest.mark.parametrize(
    "instance",
    [
        comet_instance(offline="true"),
        comet_instance(offline="1"),
        comet_instance(offline="?"),
        comet_instance(weight="heavy"),
    ],
)
def test_who_does_not_say_all_or_is_offline_is_not_offered(instance):
    assert names(balancer_of(instance)) == []


def test_a_comet_without_counts_is_not_known_yet():
    instance = comet_instance()
    early = {"weight": "10", "offline": "false", "addrs": "x"}

    assert known_comets([type(instance)("goim.comet", "c", metadata=early)]) == ()
    assert not is_offline(type(instance)("goim.comet", "c", metadata=early))


def test_when_comets_go_they_are_offered_no_more():
    balancer = balancer_of(comet_instance("a"), comet_instance("b"), comet_instance("c"))

    balancer.update(known_comets([comet_instance("a")]))
    assert names(balancer) == ["a"]
    balancer.update(())

    assert names(balancer) == []


def test_goims_way_is_not_to_believe_that_most_are_gone():
    balancer = balancer_of(*(comet_instance(name) for name in "abcd"), keep_on_loss=True)

    balancer.update(known_comets([comet_instance("a")]))
    balancer.update(())
    assert sorted(names(balancer)) == ["a", "b", "c", "d"]
    balancer.update(known_comets([comet_instance("a"), comet_instance("b")]))

    assert sorted(names(balancer)) == ["a", "b"]
