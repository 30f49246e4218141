import dataclasses

from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery
from sim.run.guard import Guard
from sim.run.messages import Progress, PublishProgress
from sim.run.nodes import NodeSample
from sim.scenario.expect import end_early, limit_to, parse_expectation
from sim.scenario.scenario import Phase
from tests.sim.kit import scenario_of

PHASES = (Phase("warmup", 2.0, measure=False), Phase("steady", 10.0), Phase("spike", 10.0))
S = 1_000_000_000


def guard_of(*texts, after_s=0.0, windows=()):
    expect = [parse_expectation(text, PHASES, populations=["viewers", "others"]) for text in texts]
    expect = [end_early(one, after_s=after_s) for one in expect]
    expect = (
        [limit_to(one, PHASES, from_s=low, to_s=high) for one, (low, high) in zip(expect, windows, strict=True)]
        if windows
        else expect
    )
    scenario = scenario_of(phases=PHASES, expect=expect)
    others = dataclasses.replace(scenario.clients[0], name="others")
    return Guard(dataclasses.replace(scenario, clients=(*scenario.clients, others)))


def histogram(*latencies_ms):
    made = Histogram()
    for value in latencies_ms:
        made.record(int(value * 1e6))
    return made


class Run:
    """A run of which the test says each second what was there."""

    def __init__(self, guard):
        self.guard = guard
        self.at_s = 0.0
        self.sent = {}
        self.failed = {}
        self.segment = 0

    def second(self, *latencies_ms, sent=10, errors=0, population=0, samples=(), **progress):
        self.at_s += 1.0
        self.sent[0, self.segment] = self.sent.get((0, self.segment), 0) + sent
        self.failed[0, self.segment] = self.failed.get((0, self.segment), 0) + errors
        live = {(population, 0, self.segment): histogram(*latencies_ms)} if latencies_ms else {}
        worker = Progress(3, 0, 3, 0, **{"live": live, **progress})
        self.guard.add(worker)
        pushing = PublishProgress(0, 0, 0, dict(self.sent), dict(self.failed))
        return self.guard.look(self.at_s, [worker], pushing, samples)


def in_steady(guard):
    run = Run(guard)
    run.second(1.0)
    run.second(1.0)
    run.segment = 1
    return run


def test_without_such_an_expectation_there_is_nothing_to_watch():
    plain = scenario_of(phases=PHASES, expect=[parse_expectation("latency.p99 < 1ms", PHASES)])

    assert not Guard(plain).is_needed
    assert guard_of("latency.p99 < 1ms").is_needed


def test_what_does_not_hold_for_long_enough_ends_the_run_and_says_why():
    run = in_steady(guard_of("latency.p99 < 50ms", after_s=3.0))

    assert [run.second(90.0), run.second(95.0)] == [[], []]
    assert run.second(90.0) == ["ended after 5.0 s by latency.p99 < 50ms: was 90 ms, for 3.0 s"]


def test_a_second_in_which_it_holds_begins_the_time_anew():
    run = in_steady(guard_of("latency.p99 < 50ms", after_s=2.0))

    assert [bool(run.second(value)) for value in (90.0, 10.0, 90.0, 90.0)] == [False, False, False, True]


def test_without_a_time_the_first_look_ends_it():
    assert in_steady(guard_of("latency.p99 < 50ms")).second(90.0)


def test_what_is_not_measured_ends_nothing():
    run = Run(guard_of("latency.p99 < 50ms"))

    assert [run.second(900.0), run.second(900.0)] == [[], []]


def test_published_and_not_delivered_does_not_hold_and_silence_is_no_fault():
    run = in_steady(guard_of("latency.p99 < 50ms", after_s=2.0))

    assert run.second(sent=0) == []
    assert run.second(sent=5) == []
    assert run.second(sent=5) == ["ended after 5.0 s by latency.p99 < 50ms: nothing was delivered, for 2.0 s"]


def test_an_expectation_of_a_phase_is_looked_at_in_it_only():
    run = in_steady(guard_of("phase.spike.latency.p99 < 50ms"))
    in_time = [run.second(90.0) for _ in range(10)]
    run.segment = 2

    assert not any(in_time)
    assert run.second(90.0)


def test_an_expectation_of_a_window_is_looked_at_in_it_only():
    guard = guard_of("latency.p99 < 50ms", windows=[(4.0, 6.0)])
    run = Run(guard)
    found = []
    for segment in (0, 0, 1, 1, 2, 2, 3, 3):
        run.segment = segment
        found.append(bool(run.second(90.0)))

    assert found == [False, False, False, False, True, True, False, False]


def test_a_population_is_looked_at_by_itself():
    run = in_steady(guard_of("population.others.latency.p99 < 50ms"))

    assert run.second(90.0, population=0) != []  # published, and nothing read by the others
    assert run.second(10.0, population=1) == []


def test_counts_are_since_the_start_and_rates_of_the_last_second():
    errors = in_steady(guard_of("publish.errors <= 3"))
    rate = in_steady(guard_of("publish.rate_per_s >= 10"))

    assert [bool(errors.second(1.0, errors=count)) for count in (2, 1, 0, 1)] == [False, False, False, True]
    assert [bool(rate.second(1.0, sent=count)) for count in (20, 10, 9)] == [False, False, True]


def test_copies_are_seen_as_they_come():
    run = in_steady(guard_of("delivery.duplicated == 0"))
    rows = {(0, 0): [Delivery(), Delivery(duplicated=1), Delivery()]}

    assert run.second(1.0) == []
    assert run.second(1.0, deliveries=rows) != []


def test_clients_and_nodes_are_looked_at_too():
    clients = in_steady(guard_of("clients.disconnected == 0"))
    nodes = in_steady(guard_of("node.core.rss_bytes < 1KB"))
    busy = in_steady(guard_of("nodes.cpu_percent < 40%"))
    samples = [(at_s * S, [NodeSample("core", 1, 0.1 * at_s + (at_s > 8), 900 + 20 * at_s)]) for at_s in range(11)]

    assert clients.second(1.0, lost_connections=2) != []
    assert nodes.second(1.0, samples=samples[:4]) == []
    nodes.at_s = 8.0
    assert nodes.second(1.0, samples=samples) != []
    busy.at_s = 7.0
    assert busy.second(1.0, samples=samples[:9]) == []
    assert busy.second(1.0, samples=samples[:10]) != []
