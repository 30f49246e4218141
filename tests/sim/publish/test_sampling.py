from collections import Counter
from dataclasses import replace

import pytest

from sim.publish.sampling import MAX_TRACED, Reads, TraceSampler, is_traced
from sim.scenario.publishing import Publisher, PublishTo
from sim.scenario.scenario import Phase
from sim.scenario.shapes import send_times
from tests.sim.kit import scenario_of

T0 = 1_000_000_007
S = 1_000_000_000


def scenario(*rates_per_s, trace_per_s=5.0, duration_s=20.0, seed=1):
    publish = [Publisher(PublishTo.ROOM, "viewers", rate) for rate in rates_per_s]
    return replace(
        scenario_of(publish=publish, phases=(Phase("steady", duration_s),), seed=seed), trace_per_s=trace_per_s
    )


def chosen(scenario, run=9):
    """Return (publisher, planned time, id) of each message of the schedule, and the sampler."""
    sampler = TraceSampler(scenario, run)
    sends = send_times(scenario.publish, scenario.phases, scenario.seed)
    return [(send, *sampler.choose(send.publisher, send.at_ns, T0)) for send in sends], sampler


def test_so_many_a_second_are_followed_and_as_many_of_each_publisher():
    messages, _ = chosen(scenario(100.0, 20.0, 50.0, duration_s=60.0))

    followed = Counter(send.publisher for send, _, trace in messages if trace)

    assert 240 <= followed.total() <= 330
    assert all(80 <= count <= 110 for count in followed.values())


def test_of_a_publisher_that_has_fewer_all_are_followed():
    messages, _ = chosen(scenario(100.0, 0.5))

    assert all(trace for send, _, trace in messages if send.publisher == 1 and send.at_ns > S)


def test_the_times_follow_from_the_seed():
    first, again, other = (
        [send.at_ns for send, _, trace in chosen(scenario(100.0, seed=seed))[0] if trace] for seed in (1, 1, 2)
    )

    assert first == again != other


def test_planned_times_tell_which_are_followed_and_move_by_a_nanosecond_at_most():
    messages, _ = chosen(scenario(333.0, 70.0))

    assert all(is_traced(intended_ns) == bool(trace) for _, intended_ns, trace in messages)
    assert {intended_ns - T0 - send.at_ns for send, intended_ns, _ in messages} == {0, 1}


def test_ids_have_the_mark_of_the_run_and_are_each_used_once():
    messages, _ = chosen(scenario(100.0, 100.0), run=0xABCD)

    traces = [trace for _, _, trace in messages if trace]

    assert {trace >> 32 for trace in traces} == {0xABCD}
    assert len(set(traces)) == len(traces)
    times = [intended_ns for _, intended_ns, trace in messages if trace]
    assert len(set(times)) == len(times)


def test_no_two_followed_messages_have_one_planned_time():
    sampler = TraceSampler(scenario(1.0, 1.0, trace_per_s=100.0), 9)
    at_ns = 10 * S

    first, second = sampler.choose(0, at_ns, T0), sampler.choose(1, at_ns, T0)

    assert [bool(first[1]), bool(second[1])] == [True, False]
    assert (is_traced(first[0]), is_traced(second[0])) == (True, False)


def test_a_long_run_has_no_more_of_them_but_until_its_end():
    messages, _ = chosen(scenario(2.0, duration_s=3600.0))

    followed = [send.at_ns for send, _, trace in messages if trace]

    assert 0.8 * MAX_TRACED < len(followed) <= MAX_TRACED
    assert followed[-1] > 3300 * S


def test_switched_off_nothing_is_followed_and_no_time_is_moved():
    messages, sampler = chosen(scenario(333.0, trace_per_s=0.0))

    assert {(intended_ns - T0 - send.at_ns, trace) for send, intended_ns, trace in messages} == {(0, 0)}
    assert sampler.traced == []


@pytest.mark.parametrize("trace_per_s", [0.0, 5.0])
def test_a_scenario_without_publishers_has_nothing_to_follow(trace_per_s):
    assert TraceSampler(scenario(trace_per_s=trace_per_s), 9).traced == []


def test_reads_of_several_workers_add_up():
    one, other = Reads(), Reads()
    one.add(11, 2, 30)
    one.add(11, 1, 30)
    other.add(11, 1, 40)
    other.add(13, 1, 5)

    one.merge(other)

    assert one.found == {11: (4, 100), 13: (1, 5)}
