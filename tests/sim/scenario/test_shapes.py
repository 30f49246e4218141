import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.scenario.publishing import (
    MIN_SIZE_BYTES,
    Arrival,
    ChoiceSize,
    ClosedLoop,
    GammaArrival,
    JitterArrival,
    LognormalSize,
    Publisher,
    PublishTo,
    UniformSize,
)
from sim.scenario.scenario import Phase
from sim.scenario.shapes import (
    draw_size,
    offset_of,
    phase_spans,
    planned_messages,
    rate_at,
    send_times,
    stream_times,
)

PHASES = (Phase("warmup", 2.0, measure=False), Phase("steady", 10.0), Phase("spike", 5.0, publish_factor=4.0))


RAMP = (Phase("up", 10.0, publish_factor=1.0, publish_factor_end=4.0),)


def publisher(rate_per_s, **options):
    return Publisher(PublishTo.ALL, "", rate_per_s, **options)


def test_a_phase_ends_where_the_next_begins():
    spans = phase_spans(PHASES)

    assert [(span.start_ns // 10**9, span.end_ns // 10**9) for span in spans] == [(0, 2), (2, 12), (12, 17)]


@pytest.mark.parametrize(("at_s", "rate"), [(0, 40), (2, 40), (11.999, 40), (12, 160), (16.999, 160), (17, 0), (-1, 0)])
def test_rate_at(at_s, rate):
    assert rate_at(40.0, PHASES, int(at_s * 1e9)) == rate


def test_without_an_offset_messages_are_evenly_spaced_from_the_start():
    times = list(stream_times(4.0, (Phase("a", 1.0), Phase("b", 0.5, publish_factor=2.0))))

    assert [at_ns // 10**6 for at_ns, _ in times] == [0, 250, 500, 750, 1000, 1125, 1250, 1375]
    assert [phase for _, phase in times] == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("offset", [0.0, 0.001, 0.5, 0.999999])
def test_counts_are_exact_whatever_the_offset(offset):
    phases = [phase for _, phase in stream_times(40.0, PHASES, offset)]

    assert [phases.count(index) for index in range(3)] == [80, 400, 800]


def test_a_rate_a_minute_that_has_no_exact_float_counts_right():
    assert len(list(stream_times(1000 / 60, (Phase("a", 3.0),)))) == 50


def test_silence_sends_nothing_and_moves_nothing():
    phases = (Phase("a", 1.0), Phase("silence", 5.0, publish_factor=0.0), Phase("b", 1.0))

    times = list(stream_times(2.0, phases, 0.5))

    assert [(at_ns // 10**6, phase) for at_ns, phase in times] == [(250, 0), (750, 0), (6250, 2), (6750, 2)]


def test_a_message_between_two_phases_leaves_at_the_new_rate():
    # Half a message is due when the rate doubles, so the rest takes half as long.
    times = list(stream_times(1.0, (Phase("a", 1.5), Phase("b", 1.0, publish_factor=2.0)), 0.0))

    assert [at_ns // 10**6 for at_ns, _ in times] == [0, 1000, 1750, 2250]


def test_a_rate_under_one_a_run_may_send_nothing():
    assert list(stream_times(0.01, (Phase("a", 10.0),), 0.5)) == []
    assert [at_ns for at_ns, _ in stream_times(0.01, (Phase("a", 10.0),), 0.05)] == [5_000_000_000]


@pytest.mark.parametrize(("at_s", "rate"), [(0, 40), (5, 100), (10, 0), (2.5, 70)])
def test_the_rate_of_a_ramp_is_a_straight_line(at_s, rate):
    assert rate_at(40.0, RAMP, int(at_s * 1e9)) == pytest.approx(rate)


@pytest.mark.parametrize("offset", [0.0, 0.5, 0.999])
def test_a_ramp_sends_the_area_under_its_line(offset):
    times = [at_ns / 1e9 for at_ns, _ in stream_times(40.0, RAMP, offset)]

    assert len(times) == 1000 == planned_messages(publisher(40.0), RAMP[0])
    # Up to t it is 40 t + 6 t^2: at 5 s, 350 of the 1000.
    assert sum(at_s < 5 for at_s in times) == 350
    for number, at_s in enumerate(times):
        assert 40 * at_s + 6 * at_s**2 == pytest.approx(number + offset, abs=1e-5)


@pytest.mark.parametrize(("start", "end"), [(0.0, 2.0), (2.0, 0.0)])
def test_a_ramp_from_or_to_silence(start, end):
    times = [at_ns / 1e9 for at_ns, _ in stream_times(10.0, (Phase("r", 10.0, True, start, end),), 0.5)]

    assert len(times) == 100
    # A quarter of the area is in the slower half.
    assert sum((at_s < 5) == (start == 0) for at_s in times) == 25


def test_the_phase_after_a_ramp_begins_where_its_area_ends():
    phases = (Phase("up", 1.0, True, 0.0, 1.0), Phase("b", 2.0))

    times = [at_ns // 10**6 for at_ns, _ in stream_times(3.0, phases, 0.0)]

    # The ramp has an area of one and a half messages: the other half is due a sixth of a second later.
    assert times == [0, 816, 1166, 1500, 1833, 2166, 2500, 2833]


CHANCES = [Arrival.POISSON, GammaArrival(0.1), GammaArrival(5.0), JitterArrival(0.2), JitterArrival(1.0)]


def at_seconds(rate_per_s, phases, arrival, seed=1):
    return [at / 1e9 for at, _ in stream_times(rate_per_s, phases, arrival=arrival, places=random.Random(seed))]


@pytest.mark.parametrize("phases", [PHASES, RAMP], ids=["steps", "ramp"])
@pytest.mark.parametrize("arrival", CHANCES, ids=str)
def test_arrivals_by_chance_are_as_many_in_each_phase(phases, arrival):
    even = [phase for _, phase in stream_times(40.0, phases, 0.3)]
    drawn = [phase for _, phase in stream_times(40.0, phases, 0.3, arrival=arrival, places=random.Random(1))]

    assert drawn == even


def test_poisson_gaps_are_exponential_with_the_mean_of_the_rate():
    (phase,) = phases = (Phase("steady", 400.0),)
    times = at_seconds(50.0, phases, Arrival.POISSON)

    gaps = sorted(after - before for before, after in itertools.pairwise(times))

    assert len(times) == 50 * phase.duration_s
    assert sum(gaps) / len(gaps) == pytest.approx(0.02, rel=0.01)
    # Of an exponential distribution, 1 - 1/e of the gaps are under the mean, and half under ln 2 of it.
    assert sum(gap < 0.02 for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.01)
    assert gaps[len(gaps) // 2] == pytest.approx(0.02 * 0.693, rel=0.03)


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_gamma_gaps_have_the_spread_of_their_shape(shape):
    times = at_seconds(50.0, (Phase("steady", 400.0),), GammaArrival(shape))

    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)

    assert mean == pytest.approx(0.02, rel=0.01)
    # The standard deviation of a gamma distribution is its mean over the root of its shape.
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean / shape**0.5, rel=0.05)


def test_jitter_makes_each_message_later_by_less_than_its_share_of_the_gap():
    phases = (Phase("steady", 10.0),)
    even, late = at_seconds(10.0, phases, Arrival.UNIFORM), at_seconds(10.0, phases, JitterArrival(0.3))

    delays = [after - before for before, after in zip(even, late, strict=True)]

    assert min(delays) >= 0
    assert 0.02 < max(delays) <= 0.03
    assert len({round(delay, 6) for delay in delays}) > 90
    assert late == at_seconds(10.0, phases, JitterArrival(0.3)) != at_seconds(10.0, phases, JitterArrival(0.3), seed=2)


def test_a_mix_has_one_schedule_and_each_message_is_of_one_of_its_publishers():
    shares = [0.7, 0.2, 0.1]
    mix = [publisher(200.0 * share, mix="talk", weight=share) for share in shares]

    sends = list(send_times([*mix, publisher(10.0)], PHASES, seed=7))

    alone = list(send_times([publisher(200.0)], PHASES, seed=7))
    mixed = [send for send in sends if send.publisher < 3]
    assert [send.at_ns for send in mixed] == [send.at_ns for send in alone]
    for index, share in enumerate(shares):
        mine = [send for send in mixed if send.publisher == index]
        assert [send.number for send in mine] == list(range(len(mine)))
        assert len(mine) / len(mixed) == pytest.approx(share, abs=0.02)
    assert sends == list(send_times([*mix, publisher(10.0)], PHASES, seed=7))
    assert sends != list(send_times([*mix, publisher(10.0)], PHASES, seed=8))


def test_a_closed_loop_has_no_schedule():
    closed = publisher(0.0, closed=ClosedLoop(3))

    assert list(send_times([closed], PHASES, seed=7)) == []
    assert planned_messages(closed, PHASES[1]) == 0


def test_poisson_arrivals_follow_a_ramp():
    times = at_seconds(4000.0, RAMP, Arrival.POISSON)

    assert len(times) == 100_000
    assert sum(at_s < 5 for at_s in times) == pytest.approx(35_000, rel=0.02)


def test_a_burst_leaves_at_one_instant_and_the_rate_counts_messages():
    sends = list(send_times([publisher(40.0, burst=10)], PHASES, seed=7))

    assert [sum(send.phase == phase for send in sends) for phase in range(3)] == [80, 400, 800]
    assert [send.number for send in sends] == list(range(1280))
    assert [len(list(group)) for _, group in itertools.groupby(sends, key=lambda send: send.at_ns)] == [10] * 128


def test_bursts_come_at_poisson_times_too():
    publishers = [publisher(40.0, burst=4, arrival=Arrival.POISSON)]

    sends = list(send_times(publishers, PHASES, seed=7))

    assert [sum(send.phase == phase for send in sends) for phase in range(3)] == [80, 400, 800]
    assert len({send.at_ns for send in sends}) == 320
    assert sends == list(send_times(publishers, PHASES, seed=7))
    assert sends != list(send_times(publishers, PHASES, seed=8))


@given(
    rate=st.floats(0.01, 500),
    parts=st.lists(
        st.tuples(
            st.floats(0.01, 3), st.sampled_from([0.0, 0.3, 1.0, 4.0]), st.sampled_from([None, 0.0, 0.3, 1.0, 4.0])
        ),
        min_size=1,
        max_size=5,
    ),
    offset=st.floats(0, 0.999),
    arrival=st.sampled_from([Arrival.UNIFORM, *CHANCES]),
    seed=st.integers(0, 99),
)
def test_any_schedule_is_ordered_inside_its_phases_and_follows_the_rate(rate, parts, offset, arrival, seed):
    phases = tuple(Phase(str(n), seconds, True, start, end) for n, (seconds, start, end) in enumerate(parts))
    spans = phase_spans(phases)

    times = list(stream_times(rate, phases, offset, arrival=arrival, places=random.Random(seed)))

    assert all(one[0] <= next_one[0] for one, next_one in itertools.pairwise(times))
    assert all(spans[phase].start_ns <= at_ns < spans[phase].end_ns for at_ns, phase in times)
    planned = sum(planned_messages(publisher(rate), phase) for phase in phases)
    assert planned - 1.001 <= len(times) <= planned + 1.001


def test_the_schedule_of_several_publishers_is_in_the_order_of_time():
    sends = list(send_times([publisher(40.0), publisher(3.0), publisher(40.0)], PHASES, seed=7))

    assert [send.at_ns for send in sends] == sorted(send.at_ns for send in sends)
    for index, count in enumerate([1280, 96, 1280]):
        numbers = [send.number for send in sends if send.publisher == index]
        assert numbers == list(range(count))


def test_a_seed_gives_one_schedule_and_another_seed_another():
    publishers = [publisher(40.0), publisher(3.0)]

    assert list(send_times(publishers, PHASES, seed=7)) == list(send_times(publishers, PHASES, seed=7))
    assert list(send_times(publishers, PHASES, seed=7)) != list(send_times(publishers, PHASES, seed=8))
    assert offset_of(7, 0) != offset_of(7, 1)
    assert offset_of(7, 0) == pytest.approx(0.7435402, abs=1e-6)  # written down: it is the same on every machine


def test_a_long_schedule_is_lazy():
    endless = send_times([publisher(1e6)], (Phase("soak", 720 * 3600.0),), seed=1)

    assert [send.number for send in itertools.islice(endless, 3)] == [0, 1, 2]


def test_sizes():
    rng = random.Random(1)

    assert draw_size(64, rng) == 64
    uniform = [draw_size(UniformSize(64, 66), rng) for _ in range(200)]
    assert set(uniform) == {64, 65, 66}
    drawn = [draw_size(LognormalSize(200, 1.0, 1000), rng) for _ in range(2000)]
    assert min(drawn) >= MIN_SIZE_BYTES
    assert max(drawn) == 1000
    assert 180 < sorted(drawn)[1000] < 220
    chosen = [draw_size(ChoiceSize((64, 4000), (90.0, 10.0)), rng) for _ in range(2000)]
    assert set(chosen) == {64, 4000}
    assert chosen.count(4000) == pytest.approx(200, abs=45)
