from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.measure.attribution import DROP_UNITS, Drop, Loss, Outage, Unit, attribute_losses

S = 1_000_000_000
ROOT = Path(__file__).parents[3]


def loss(at_s, receivers, *, whole=True, comet=0, message=None, segment=0, by_key=False):
    at_ns = int(at_s * S)
    return Loss(at_ns, segment, message or (0, at_ns), comet, receivers, whole, by_key)


def drop(at_s, place, count=1):
    return Drop(int(at_s * S), place, count)


def places(*losses, ends=None, drops=(), outages=(), comets=("comet-1", "comet-2")):
    found = attribute_losses(losses, ends or {}, drops, outages, comets, 0)
    total = Counter()
    for counts in found.values():
        total += counts
    return dict(total)


def test_one_drop_of_a_room_push_is_a_loss_for_everybody_on_that_comet():
    assert places(loss(1, 400), loss(2, 400), drops=[drop(3, "job.comet_timeout", 2)]) == {"job.comet_timeout": 800}


def test_a_message_dropped_for_all_comets_at_once_takes_one_drop():
    both = [loss(1, 30, comet=comet, message=(0, 7)) for comet in (0, 1)]

    assert places(*both, loss(2, 5), drops=[drop(3, "job.no_comet", 2)]) == {"job.no_comet": 65}


def test_what_some_on_a_comet_missed_is_a_drop_of_receivers():
    drops = [drop(2, "job.comet_timeout", 5), drop(2, "comet.slow_client", 3)]

    assert places(loss(1, 3, whole=False), drops=drops) == {"comet.slow_client": 3}


def test_drops_of_receivers_are_used_up_and_the_rest_is_unknown():
    drops = [drop(2, "comet.slow_client", 2), drop(3, "comet.client_gone", 1)]

    assert places(loss(1, 5, whole=False), drops=drops) == {
        "comet.slow_client": 2,
        "comet.client_gone": 1,
        "unknown": 2,
    }


def test_a_push_to_a_mid_is_counted_by_receiver_wherever_it_was_dropped():
    drops = [drop(2, "job.unknown_server", 2)]

    assert places(loss(1, 3, by_key=True), drops=drops) == {"job.unknown_server": 2, "unknown": 1}


def test_a_single_receiver_is_matched_with_what_was_counted_first():
    drops = [drop(2, "logic.offline", 1), drop(1, "job.comet_error", 1)]

    assert places(loss(0.5, 1), drops=drops) == {"job.comet_error": 1}


def test_a_drop_that_was_counted_before_the_push_is_not_its_cause():
    assert places(loss(2, 3), drops=[drop(1.9, "job.comet_timeout", 1)]) == {"unknown": 3}


@pytest.mark.parametrize("place", ["logic.bus", "logic.bad_params", "registry.polls_over_limit", "job.bad_record"])
def test_what_no_message_under_way_can_be_lost_by_is_no_place_of_losses(place):
    assert places(loss(1, 3), drops=[drop(2, place, 9)]) == {"unknown": 3}


def test_a_connection_that_ended_in_a_fault_of_its_comet_is_told_with_its_name():
    killed = Outage("comet-2", "killed", 4 * S, 9 * S)

    found = places(ends={(0, 1, 50): 7, (0, 0, 50): 2, (0, 1, 20): 3, (0, -1, 50): 1}, outages=[killed])

    assert found == {"comet-2.killed": 7, "client.connection_lost": 6}


def test_of_a_fault_of_a_comet_only_its_own_clients_lose_and_of_another_node_everybody():
    paused = Outage("comet-2", "paused", 0, 9 * S)
    restarted = Outage("core", "restarted", 20 * S, 30 * S)

    found = places(
        loss(1, 5, comet=0), loss(1, 6, comet=1), loss(21, 7, comet=0), loss(31, 8), outages=[paused, restarted]
    )

    assert found == {"unknown": 13, "comet-2.paused": 6, "core.restarted": 7}


def test_what_a_node_has_counted_goes_before_what_is_only_likely():
    outage = Outage("core", "restarted", 0, 9 * S)

    assert places(loss(1, 4), drops=[drop(2, "job.no_comet", 1)], outages=[outage]) == {"job.no_comet": 4}


def test_losses_are_told_by_segment():
    found = attribute_losses(
        [loss(1, 4, segment=0), loss(5, 6, segment=2)], {}, [drop(2, "job.no_comet", 1)], (), (), 0
    )

    assert found == {0: {"job.no_comet": 4}, 2: {"unknown": 6}}


ANY_LOSS = st.builds(
    Loss,
    at_ns=st.integers(0, 20),
    segment=st.integers(0, 2),
    message=st.tuples(st.integers(0, 2), st.integers(0, 5)),
    comet=st.integers(-1, 2),
    receivers=st.integers(1, 9),
    whole=st.booleans(),
    by_key=st.booleans(),
)
ANY_DROP = st.builds(
    Drop,
    at_ns=st.integers(0, 20),
    place=st.sampled_from([*DROP_UNITS, "comet.of_a_later_version", "logic.bad_token"]),
    count=st.integers(1, 9),
)
ANY_OUTAGE = st.builds(
    Outage,
    node=st.sampled_from(["core", "comet-1", "comet-2"]),
    what=st.sampled_from(["killed", "paused"]),
    from_ns=st.integers(0, 20),
    to_ns=st.integers(0, 20),
)


@given(
    losses=st.lists(ANY_LOSS, max_size=12),
    ends=st.dictionaries(st.tuples(st.integers(0, 2), st.integers(-1, 2), st.integers(0, 1)), st.integers(1, 9)),
    drops=st.lists(ANY_DROP, max_size=8),
    outages=st.lists(ANY_OUTAGE, max_size=3),
    comets=st.sampled_from([(), ("comet-1",), ("comet-1", "comet-2")]),
)
def test_places_always_add_up_to_the_losses_of_each_segment(losses, ends, drops, outages, comets):
    found = attribute_losses(losses, ends, drops, outages, comets, 0)

    wanted = Counter()
    for one in losses:
        wanted[one.segment] += one.receivers
    for (segment, _, _), count in ends.items():
        wanted[segment] += count
    assert {segment: counts.total() for segment, counts in found.items()} == dict(wanted)


def test_every_drop_of_messages_that_is_documented_has_its_unit():
    page = (ROOT / "docs/stats.md").read_text(encoding="utf-8")
    drops, _, _ = page.partition("## Counters")
    named = {line.split("`")[1]: line for line in drops.splitlines() if line.startswith(("| `comet.", "| `job."))}
    in_other_units = {name for name, line in named.items() if " In " in line}

    assert set(named) - in_other_units <= set(DROP_UNITS)
    assert all(DROP_UNITS.get(name, Unit.OTHER) is Unit.OTHER for name in in_other_units)
