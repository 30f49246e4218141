from __future__ import annotations

from time import monotonic_ns

from imctl.trace import TraceLog, clock_id
from protocol.trace import Place, TracePoint


def test_only_the_last_points_are_remembered():
    log = TraceLog("job-1", kept=3)

    for trace in range(1, 1001):
        log.add((trace,), Place.READ)

    assert [int(point["trace"], 16) for point in log.read()] == [998, 999, 1000]


def test_a_log_is_bounded_without_being_told():
    log = TraceLog("job-1")

    for _ in range(5):
        log.add(range(1, 2001), Place.READ)

    assert len(log.read()) == 4096


def test_points_have_node_time_and_facts():
    before_ns = monotonic_ns()
    log = TraceLog("comet-1")

    log.add((1, 2), Place.WRITTEN, clients=3)
    log.add((3,), Place.READ, at_ns=77)

    first, second, third = (TracePoint.load(point) for point in log.read())
    assert before_ns <= first.at_ns == second.at_ns <= monotonic_ns()
    assert (first.trace, second.trace, first.node, first.clients) == (1, 2, "comet-1", 3)
    assert (third.place, third.at_ns) == (Place.READ, 77)


def test_points_can_be_asked_for_by_message_and_by_time():
    log = TraceLog("job-1")
    for at_ns, trace in ((10, 1), (20, 2), (30, 1)):
        log.add((trace,), Place.READ, at_ns=at_ns)

    assert [point["at_ns"] for point in log.read(1)] == [10, 30]
    assert [point["at_ns"] for point in log.read(after_ns=10)] == [20, 30]
    assert [point["at_ns"] for point in log.read(1, 10)] == [30]


def test_the_clock_has_one_name_in_all_processes_of_a_machine():
    assert clock_id() == clock_id() != ""
