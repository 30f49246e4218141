"""Expectations of a part of a run: windows, events, what ends a run early."""

import pytest

from sim.scenario.expect import ExpectationError, end_early, find_event, limit_to, parse_expectation, without_window
from sim.scenario.scenario import Event, EventKind
from tests.sim.scenario.judging import PHASES


@pytest.mark.parametrize(
    ("window", "label", "span"),
    [
        ({"from_s": 1.0, "to_s": 2.5}, " from 1s to 2.5s", (1.0, 2.5)),
        ({"from_s": 1.0, "to_s": None}, " from 1s", (1.0, None)),
        ({"from_s": None, "to_s": 2.0}, " until 2s", (0.0, 2.0)),
        (
            {"from_s": None, "to_s": 1.0, "event": Event(1.5, EventKind.KILL, node="comet-1")},
            " from 0ms to 1s after kill comet-1",
            (1.5, 2.5),
        ),
    ],
)
def test_a_window_is_part_of_the_text_and_a_span_of_the_run(window, label, span):
    plain = parse_expectation("latency.p99 < 5ms", PHASES)

    limited = limit_to(plain, PHASES, **window)

    assert limited.expr == f"latency.p99 < 5ms{label}"
    assert (limited.from_s, limited.to_s) == span
    assert without_window(limited.expr) == plain.expr


@pytest.mark.parametrize(
    ("text", "window", "message"),
    [
        ("phase.steady.latency.p99 < 5ms", (1.0, 2.0), "is of a phase already"),
        ("clients.failed == 0", (1.0, 2.0), "clients.failed is of the whole run"),
        ("latency.p99 < 5ms", (2.0, 2.0), "the window ends at 2s and begins at 2s"),
        ("latency.p99 < 5ms", (3.0, None), "the window begins at 3s, and the run is over at 3s"),
        ("latency.p99 < 5ms", (0.0, 1.0), "nothing in the window is measured"),
    ],
)
def test_a_window_without_sense_is_refused(text, window, message):
    with pytest.raises(ExpectationError, match=message):
        limit_to(parse_expectation(text, PHASES), PHASES, from_s=window[0], to_s=window[1])


def test_memory_of_a_node_can_be_limited_to_a_time_that_is_not_measured():
    limited = limit_to(parse_expectation("nodes.rss_bytes < 1GB", PHASES), PHASES, from_s=0.0, to_s=1.0)

    assert limited.to_s == 1.0


EVENTS = (
    Event(1.0, EventKind.KILL, node="comet-1"),
    Event(2.0, EventKind.KILL, node="comet-1"),
    Event(1.5, EventKind.DISCONNECT, who="viewers"),
)


def test_an_event_is_found_by_what_it_does_and_where_that_is_not_enough_by_its_time():
    assert find_event("disconnect  viewers", EVENTS) is EVENTS[2]
    assert find_event("kill comet-1 at 2000ms", EVENTS) is EVENTS[1]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "kill comet-1",
            "2 events are kill comet-1; expected one of kill comet-1 at 1s, kill comet-1 at 2s",
            "kill comet",
        ),
        ("kill comet-2", 'no event is "kill comet-2"', "event: kill comet-1 at "),
        ("kill comet-1 at noon", '"noon" in "kill comet-1 at noon" is no time', ""),
    ],
)
def test_an_event_that_is_not_there_is_said_with_those_that_are(text, message, hint):
    with pytest.raises(ExpectationError) as caught:
        find_event(text, EVENTS)

    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "path", ["latency.p99", "clients.failed", "node.core.rss", "nodes.drops.a.b", "delivery.unexpected"]
)
def test_what_is_known_meanwhile_can_end_a_run(path):
    value = "5ms" if path.startswith("latency") else "5"

    ending = end_early(parse_expectation(f"{path} < {value if 'rss' not in path else '1GB'}", PHASES), after_s=3.0)

    assert (ending.abort, ending.after_s) == (True, 3.0)


@pytest.mark.parametrize(
    "path", ["delivery.lost", "fanout.complete", "generator.cpu", "delivery.lost_at.comet.slow_client"]
)
def test_what_is_only_known_at_the_end_cannot_end_a_run(path):
    with pytest.raises(ExpectationError, match="only known when the run is over"):
        end_early(parse_expectation(f"{path} < 5", PHASES), after_s=0.0)
