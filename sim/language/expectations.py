"""The `expect` of a scenario file to Expectations, checked against the rest of the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sim.clients.plan import make_plan
from sim.errors import Problem
from sim.language.fields import Read, read_section
from sim.language.format_expect import EXPECTATION
from sim.language.overrides import move_time, shorten
from sim.language.yaml_tree import Item
from sim.scenario.expect import end_early, find_event, limit_to, parse_expectation
from sim.scenario.metrics import ExpectationError
from sim.scenario.scenario import Event, Expectation, Phase, Population, Publisher, Scenario

__all__ = ["TimeLine", "read_expectations"]


@dataclasses.dataclass(frozen=True, slots=True)
class TimeLine:
    """The phases and events as the file has them, and as they are in this run, which an option may have cut short."""

    written: Sequence[Phase]
    phases: Sequence[Phase]
    events_written: Sequence[Event]
    events: Sequence[Event]


def read_expectations(
    read: Read,
    sections: Mapping[str, Sequence[Read]],
    populations: Sequence[Population],
    publishers: Sequence[Publisher],
    time: TimeLine,
    problems: list[Problem],
) -> tuple[Expectation, ...]:
    """Return the expectations that are right.

    Args:
        read: The scenario.
        sections: Its lists of mappings.
        populations: Those that are right.
        publishers: As populations.
        time: Its phases and events.
        problems: What is wrong goes here.
    """
    written = read.item.value.get("expect") if isinstance(read.item.value, dict) else None
    items: list[Item] = written.value if written is not None and isinstance(written.value, list) else []
    # Names are enough here, so a phase with a wrong duration does not make its expectations wrong too.
    named = {key: [one.values["name"] for one in sections[key] if one.values.get("name")] for key in sections}
    phases = [
        Phase(one.values["name"], 1.0, one.values.get("measure", True))
        for one in sections["phases"]
        if "name" in one.values
    ]
    unsure = tuple(
        start
        for start, key, found in (
            ("phase.", "phases", phases),
            ("population.", "clients", named["clients"]),
            ("publisher.", "publish", publishers),
        )
        if key in read.bad or len(found) != len(sections[key])
    )
    shared = _shared(items, populations, publishers, time.phases)
    expectations: list[Expectation] = []
    for number, item in enumerate(items):
        path = f"expect[{number}]"
        long = _keys(item)
        if long is None or any(start in long["expr"] for start in unsure):
            continue  # it is reported already, or it may name what could not be read
        place = item.value["expr"] if isinstance(item.value, dict) else item
        try:
            one = parse_expectation(
                long["expr"],
                phases,
                populations=named["clients"],
                publishers=shared,
                line=item.line,
                column=item.column,
            )
            expectations.append(_with_limits(one, long, time))
        except ExpectationError as exc:
            problems.append(place.problem(path, f"{path}: {exc.message}", exc.hint))
    return tuple(expectations)


def _keys(item: Item) -> Mapping[str, Any] | None:
    """Return the keys of an expectation; None when it cannot be read, which was reported with the rest of the file."""
    if isinstance(item.value, dict):
        read = read_section(EXPECTATION, item, "", [])
        return None if read is None or read.bad else read.values
    return {"expr": item.value} if isinstance(item.value, str) and item.value.strip() else None


def _with_limits(expectation: Expectation, long: Mapping[str, Any], time: TimeLine) -> Expectation:
    from_s, to_s, event = long.get("from"), long.get("to"), long.get("event")
    if event is not None:
        written = find_event(event, time.events_written)
        expectation = limit_to(expectation, time.written, from_s=from_s, to_s=to_s, event=written)
        if time.phases is not time.written:
            at_s = time.events[time.events_written.index(written)].at_s
            spans_s = (shorten(span_s, written.at_s, time.written, time.phases) for span_s in (from_s or 0.0, to_s))
            low, high = (None if span_s is None else at_s + span_s for span_s in spans_s)
            expectation = dataclasses.replace(expectation, from_s=low, to_s=high)
    elif from_s is not None or to_s is not None:
        expectation = limit_to(expectation, time.written, from_s=from_s, to_s=to_s)
        if time.phases is not time.written:
            low, high = (move_time(at_s, time.written, time.phases) for at_s in (expectation.from_s, expectation.to_s))
            expectation = dataclasses.replace(expectation, from_s=low, to_s=high)
    if long.get("abort"):
        return end_early(expectation, after_s=long.get("after") or 0.0)
    if long.get("after") is not None:
        raise ExpectationError("after is how long until the run ends; expected it with abort: true", hint="abort: true")
    return expectation


def _shared(
    items: Sequence[Item], populations: Sequence[Population], publishers: Sequence[Publisher], phases: Sequence[Phase]
) -> dict[str, str]:
    """Return for each publisher one that shares a target with it, or empty."""
    shared = {publisher.name: "" for publisher in publishers}
    if not any("publisher." in item.written() for item in items):
        return shared  # to find out takes a plan of the whole run
    plan = make_plan(Scenario("", 0, tuple(populations), tuple(publishers), tuple(phases)))
    return shared | {publishers[one].name: publishers[other].name for one, other in plan.sharing().items()}
