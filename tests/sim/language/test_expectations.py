from __future__ import annotations

import pytest

from sim.errors import ScenarioError
from sim.language.load import parse_scenario

TEXT = """\
name: small
clients:
  - {name: viewers, count: 10, room: "live://${1..2}", mid: 1000}
  - {name: others, count: 5, room: "live://1", mid: 2000}
publish:
  - {to: room, rooms: viewers, rate: 10/s, name: chat}
  - {to: room, rooms: others, rate: 10/s, name: news}
  - {to: mid, mids: viewers, rate: 10/s, name: notes}
phases:
  - {name: warmup, duration: 10s, measure: false}
  - {name: steady, duration: 20s}
events:
  - {at: 12s, do: disconnect, who: others}
  - {at: 14s, do: kill, node: comet-1}
  - {at: 16s, do: kill, node: comet-1}
expect:
"""


def loaded(*lines, **options):
    text = TEXT + "".join(f"  - {line}\n" for line in lines)
    return parse_scenario(text, file="small.yaml", env={}, **options).expect


def problems(*lines, text=TEXT):
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text + "".join(f"  - {line}\n" for line in lines), file="small.yaml", env={})
    return [f"{one.line}:{one.column}: {one.message}" for one in caught.value.problems]


def test_a_mapping_says_more_about_an_expectation():
    plain, ending, window, relative = loaded(
        "delivery.lost == 0",
        "{expr: latency.p99 < 2s, abort: true, after: 3s}",
        "{expr: latency.p99 < 2s, from: 12s, to: 20s}",
        "{expr: latency.p99 < 2s, event: disconnect others, from: 1s, to: 4s}",
    )

    assert (plain.abort, plain.from_s, plain.to_s) == (False, None, None)
    assert (ending.abort, ending.after_s, ending.expr) == (True, 3.0, "latency.p99 < 2s")
    assert (window.from_s, window.to_s, window.expr) == (12.0, 20.0, "latency.p99 < 2s from 12s to 20s")
    assert (relative.from_s, relative.to_s) == (13.0, 16.0)
    assert relative.expr == "latency.p99 < 2s from 1s to 4s after disconnect others"
    assert [one.line for one in (plain, window)] == [17, 19]


def test_with_a_shorter_run_windows_move_with_their_phases_and_those_of_events_with_their_event():
    window, relative = loaded(
        "{expr: latency.p99 < 2s, from: 14s, to: 20s}",
        "{expr: latency.p99 < 2s, event: disconnect others, to: 1s}",
        duration_s=10.0,
    )

    assert (window.from_s, window.to_s) == (12.0, 15.0)
    assert (relative.from_s, relative.to_s) == (11.0, 11.5)
    assert relative.expr.endswith(" to 1s after disconnect others")


def test_with_a_longer_run_the_window_of_an_event_is_as_long_as_it_was_written():
    [relative] = loaded("{expr: latency.p99 < 2s, event: disconnect others, from: 1s, to: 4s}", duration_s=40.0)

    assert (relative.from_s, relative.to_s) == (15.0, 18.0)


def test_parts_of_the_scenario_can_be_named():
    names = loaded(
        "population.others.latency.p99 < 1s",
        "publisher.notes.publish.errors == 0",
        "phase.steady.population.viewers.delivery.lost == 0",
    )

    assert [one.path.split(".")[-2] for one in names] == ["latency", "publish", "delivery"]


def test_every_problem_is_told_at_once_each_where_it_stands():
    found = problems(
        "latency.p9 < 1s",
        "{expr: delivery.lost == 0, abort: true}",
        "{expr: latency.p99 < 1s, event: kill comet-1}",
        "{expr: latency.p99 < 1s, from: soon}",
        "population.vewers.latency.p99 < 1s",
        "{abort: true}",
        "{expr: latency.p99 < 1s, after: 1s}",
    )

    assert [line.split(": ")[0] for line in found] == ["17:5", "18:12", "19:12", "20:36", "21:5", "22:5", "23:12"]
    assert "latency.p9 is not in the result" in found[0]
    assert "only known when the run is over" in found[1]
    assert "2 events are kill comet-1; expected one of" in found[2]
    assert 'expect[3].from is "soon"; expected a duration' in found[3]
    assert 'names the population "vewers"; expected one of viewers, others' in found[4]
    assert "expect[5] has no expr" in found[5]
    assert "expected it with abort: true" in found[6]


def test_publishers_that_share_a_target_cannot_be_told_apart():
    [found] = problems("publisher.chat.latency.p99 < 1s")

    assert 'names the publisher "chat", which shares a target with "news"' in found


def test_what_may_name_a_part_that_could_not_be_read_is_not_reported_too():
    found = problems(
        "phase.steady.latency.p99 < 1s",
        "publisher.chat.latency.p99 < 1s",
        "latency.p9 < 1s",
        text=TEXT.replace("duration: 20s", "duration: fast").replace("rate: 10/s, name: chat", "rate: x, name: chat"),
    )

    assert len(found) == 3
    assert "latency.p9 is not in the result" in found[-1]
