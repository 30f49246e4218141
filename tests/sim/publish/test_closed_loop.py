import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.publish.closed_loop import most_active, next_active_ns
from sim.scenario.publishing import ClosedLoop
from sim.scenario.scenario import Phase

S = 1_000_000_000
LOOP = ClosedLoop(10)


def steps(*factors):
    return tuple(Phase(str(n), 1.0, publish_factor=factor) for n, factor in enumerate(factors))


def active(loop, phases, at_ns):
    """How many are active at a time."""
    return sum(next_active_ns(loop, phases, number, at_ns) == at_ns for number in range(most_active(loop, phases)))


def test_the_factor_of_a_phase_says_how_many_are_active():
    phases = steps(1.0, 2.0, 0.0, 0.25, 0.04)

    assert most_active(LOOP, phases) == 20
    assert [active(LOOP, phases, second * S) for second in range(6)] == [10, 20, 0, 3, 0, 0]


def test_they_join_one_after_the_other_on_a_ramp_and_leave_on_one_down():
    up, down = (Phase("up", 10.0, True, 0.0, 1.0),), (Phase("down", 10.0, True, 1.0, 0.0),)

    joins = [next_active_ns(LOOP, up, number, 0) for number in range(10)]

    assert joins == [round((number + 0.5) * S) for number in range(10)]
    assert [active(LOOP, down, at * S) for at in range(10)] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_one_that_is_not_active_waits_for_the_phase_in_which_it_is():
    phases = steps(0.0, 0.5, 1.0)

    assert next_active_ns(LOOP, phases, 0, 0) == 1 * S
    assert next_active_ns(LOOP, phases, 9, 0) == 2 * S
    assert next_active_ns(LOOP, phases, 9, 2 * S + 5) == 2 * S + 5


@pytest.mark.parametrize(("number", "at_ns"), [(0, 3 * S), (10, 0), (5, 2 * S)])
def test_one_that_is_never_active_again_is_done(number, at_ns):
    assert next_active_ns(LOOP, steps(0.5, 1.0, 0.5), number, at_ns) is None


@given(
    st.integers(1, 50),
    st.lists(
        st.tuples(st.floats(0.01, 3), st.sampled_from([0.0, 0.3, 1.0, 4.0]), st.sampled_from([None, 0.0, 0.3, 4.0])),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 12 * S),
)
def test_as_many_are_active_as_the_factor_says(publishers, parts, at_ns):
    loop = ClosedLoop(publishers)
    phases = tuple(Phase(str(n), seconds, True, start, end) for n, (seconds, start, end) in enumerate(parts))
    end_s = 0.0
    wanted = 0.0
    for phase in phases:
        begin_s, end_s = end_s, end_s + phase.duration_s
        if begin_s <= at_ns / S < end_s:
            last = phase.publish_factor if phase.publish_factor_end is None else phase.publish_factor_end
            gone = (at_ns / S - begin_s) / phase.duration_s
            wanted = publishers * (phase.publish_factor + (last - phase.publish_factor) * gone)

    assert abs(active(loop, phases, at_ns) - wanted) <= 0.5 + 1e-3
    for number in range(most_active(loop, phases)):
        first = next_active_ns(loop, phases, number, at_ns)
        assert first is None or first >= at_ns
