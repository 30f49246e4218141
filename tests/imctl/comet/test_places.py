from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from imctl.comet.places import Places


def test_a_limit_names_its_refusal():
    places = Places(3, 2)

    assert [places.enter(source) for source in "aaabc"] == [
        "",
        "",
        "refused.max_connections_per_source",
        "",
        "refused.max_connections",
    ]
    places.leave("a")

    assert places.enter("c") == ""


def test_without_a_limit_a_source_may_take_them_all():
    places = Places(100)

    assert [places.enter("a") for _ in range(101)] == [""] * 100 + ["refused.max_connections"]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_what_is_taken_is_what_entered_and_has_not_left(steps):
    places, held = Places(5, 3), Counter[str]()
    for enters, source in steps:
        if enters:
            allowed = held.total() < 5 and held[source] < 3
            assert (places.enter(source) == "") is allowed
            held[source] += allowed
        elif held[source]:
            places.leave(source)
            held[source] -= 1
        assert places.taken == held.total()
