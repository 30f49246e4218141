import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st

from sim.measure.segments import segments_of
from sim.scenario.expect import limit_to, parse_expectation
from sim.scenario.scenario import Phase
from sim.scenario.shapes import phase_spans
from tests.sim.kit import scenario_of

PHASES = (Phase("warmup", 1.0, measure=False), Phase("steady", 4.0), Phase("spike", 1.0))
S = 1_000_000_000


def with_windows(*windows, phases=PHASES):
    plain = parse_expectation("latency.p99 < 1s", phases)
    expect = [limit_to(plain, phases, from_s=low, to_s=high) for low, high in windows]
    return segments_of(scenario_of(phases=phases, expect=expect))


def test_without_windows_segments_are_the_phases():
    segments = with_windows()

    assert segments.bounds_ns == (0, S, 5 * S, 6 * S)
    assert segments.phases == (0, 1, 2)


def test_windows_cut_phases_and_are_whole_segments():
    segments = with_windows((0.5, 2.0), (2.0, None), (3.0, 5.5))

    assert segments.bounds_ns == tuple(int(at_s * S) for at_s in (0, 0.5, 1, 2, 3, 5, 5.5, 6))
    assert segments.phases == (0, 0, 1, 1, 1, 2, 2)
    assert segments.between(0.5, 2.0) == (1, 2)
    assert segments.between(2.0, math.inf) == (3, 4, 5, 6)
    assert segments.of_phases(lambda phase: PHASES[phase].measure) == (2, 3, 4, 5, 6)


def test_a_time_belongs_to_the_segment_that_begins_with_it_and_one_outside_to_the_nearest():
    segments = with_windows((2.0, 3.0))

    assert [segments.at(at_ns) for at_ns in (-5, 0, S - 1, S, 2 * S, 3 * S - 1, 3 * S, 6 * S, 99 * S)] == [
        *(0, 0, 0, 1, 2, 2, 3, 4, 4),
    ]


def test_a_run_that_was_ended_early_has_only_part_of_its_segments():
    segments = with_windows()

    assert [segments.length_s(number, 3.5) for number in range(3)] == [1.0, 2.5, 0.0]
    assert segments.length_s(1) == 4.0


@given(
    durations=st.lists(st.floats(0.01, 100), min_size=1, max_size=5),
    cuts=st.lists(st.floats(0, 1), max_size=4),
)
def test_segments_cover_the_phases_without_a_gap(durations, cuts):
    phases = tuple(Phase(f"p{number}", duration_s) for number, duration_s in enumerate(durations))
    total_s = math.fsum(durations)
    plain = parse_expectation("latency.p99 < 1s", phases)
    expect = [dataclasses.replace(plain, from_s=cut * total_s) for cut in cuts]

    segments = segments_of(scenario_of(phases=phases, expect=expect))

    assert list(segments.bounds_ns) == sorted(set(segments.bounds_ns))
    spans = phase_spans(phases)
    assert (segments.bounds_ns[0], segments.bounds_ns[-1]) == (0, spans[-1].end_ns)
    for number, phase in enumerate(segments.phases):
        assert spans[phase].start_ns <= segments.bounds_ns[number]
        assert segments.bounds_ns[number + 1] <= spans[phase].end_ns
    for one in expect:
        assert round(one.from_s * S) in segments.bounds_ns or one.from_s in (0, total_s)
