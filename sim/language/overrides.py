"""Changes to a scenario from the command line: `--set path=value`, `--clients N`, `--duration 30s`."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

from sim.clients.spread import apportion
from sim.errors import Problem
from sim.language.fields import nearest
from sim.language.yaml_tree import Item, parse_value
from sim.scenario.scenario import Event, Phase, Population

__all__ = ["apply_set", "move_events", "move_time", "scale_clients", "scale_phases", "shorten"]

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")

_EXAMPLE = "--set clients.viewers.count=10"


def apply_set(root: Item, text: str, problems: list[Problem]) -> None:
    """Change one value of a scenario's tree.

    An entry of a list is named by its number, `clients[0].count=10`, or by its
    `name`: `clients.viewers.count=10`. The value is read as YAML, so
    `expect=[]` and `clients[0].accepts=[1000, 1001]` work. A key that is not there yet is
    added; whether the format knows it is checked with the rest of the file.
    """
    source = f"--set {text}"
    path, equals, written = text.partition("=")
    steps = _steps(path.strip())
    if not equals or not steps:
        message = f'"{text}" is not a change; expected path=value'
        problems.append(Problem(source, 0, 0, "", message, _EXAMPLE))
        return
    value = parse_value(written.strip(), file=source, problems=problems, path=path.strip())
    if value is None:
        return
    item = root
    done = ""
    for step in steps[:-1]:
        found = _child(item, step, done, source, problems)
        if found is None:
            return
        item, done = found
    _put(item, steps[-1], value, done, source, problems)


def scale_clients(populations: Sequence[Population], total: int) -> tuple[Population, ...]:
    """Return the populations with `total` clients together, each in its old share, with its churn, and none empty.

    Raises:
        ValueError: total is under the number of populations.
    """
    if total < len(populations):
        raise ValueError(f"{total} clients for {len(populations)} populations; expected at least one for each")
    counts = apportion([population.count for population in populations], total)
    for number, count in enumerate(counts):
        if not count:
            counts[counts.index(max(counts))] -= 1
            counts[number] = 1
    return tuple(_with_count(population, count) for population, count in zip(populations, counts, strict=True))


def scale_phases(phases: Sequence[Phase], measured_s: float) -> tuple[Phase, ...]:
    """Return the phases with the measured ones `measured_s` long together; the others stay as they are."""
    before = math.fsum(phase.duration_s for phase in phases if phase.measure)
    return tuple(
        dataclasses.replace(phase, duration_s=phase.duration_s * measured_s / before) if phase.measure else phase
        for phase in phases
    )


def move_events(events: Sequence[Event], before: Sequence[Phase], after: Sequence[Phase]) -> tuple[Event, ...]:
    """Return the events where they were in their phases, now that those have another length.

    How long an event goes on shrinks with its phases, so that it ends where it did; it is never longer than it was
    written: a node that is paused for two seconds would be another fault if it were paused for twenty.
    """
    moved = ((event, move_time(event.at_s, before, after)) for event in events)
    return tuple(
        dataclasses.replace(event, at_s=at_s, for_s=shorten(event.for_s, event.at_s, before, after))
        for event, at_s in moved
        if at_s is not None
    )


def shorten(span_s: float | None, at_s: float, before: Sequence[Phase], after: Sequence[Phase]) -> float | None:
    """Return how long what begins at a time goes on, now that phases have another length: at most as long as before."""
    if span_s is None:
        return None
    length_s = start_s = 0.0
    for old, new in zip(before, after, strict=True):
        covered_s = min(at_s + span_s, start_s + old.duration_s) - max(at_s, start_s)
        length_s += max(covered_s, 0.0) * new.duration_s / old.duration_s
        start_s += old.duration_s
    length_s += max(at_s + span_s - start_s, 0.0)  # what is after the end of the run stays
    return min(span_s, round(length_s, 9))


def move_time(at_s: float | None, before: Sequence[Phase], after: Sequence[Phase]) -> float | None:
    """Return where a time in the phases is, now that those have another length; None when it is in none."""
    start_s = new_start_s = 0.0
    for old, new in zip(before, after, strict=True):
        if at_s is not None and at_s < start_s + old.duration_s:
            return new_start_s + (at_s - start_s) * new.duration_s / old.duration_s
        start_s += old.duration_s
        new_start_s += new.duration_s
    return None


def _with_count(population: Population, count: int) -> Population:
    """Return a population of another size, of which the same share leaves in a second."""
    churn = population.churn
    if churn is not None:
        churn = dataclasses.replace(churn, rate_per_s=churn.rate_per_s * count / population.count)
    return dataclasses.replace(population, count=count, churn=churn)


def _steps(path: str) -> list[str]:
    """Return the keys and numbers of a path; empty when it is no path."""
    steps: list[str] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or (position == 0 and path[0] == "."):
            return []
        steps.append(match[1] or match[2])
        position = match.end()
    return steps


def _child(item: Item, step: str, path: str, source: str, problems: list[Problem]) -> tuple[Item, str] | None:
    if isinstance(item.value, list):
        number = _number_of(item, step, path, source, problems)
        return None if number is None else (item.value[number], f"{path}[{number}]")
    child = f"{path}.{step}" if path else step
    if not isinstance(item.value, dict):
        problems.append(Problem(source, 0, 0, child, f"{path} is {item.written()}; expected a mapping with {step}"))
        return None
    if step not in item.value:
        meant = nearest(step, item.value)
        message = f"{path or 'the scenario'} has no {step}; expected one of {', '.join(item.value)}"
        problems.append(Problem(source, 0, 0, child, message, f"did you mean {meant}?" if meant else ""))
        return None
    return item.value[step], child


def _number_of(item: Item, step: str, path: str, source: str, problems: list[Problem]) -> int | None:
    """Return which entry of a list a step means."""
    assert isinstance(item.value, list)
    if step.isdecimal() and int(step) < len(item.value):
        return int(step)
    names: dict[str, int] = {}
    for number, entry in enumerate(item.value):
        if isinstance(entry.value, dict) and "name" in entry.value:
            names.setdefault(str(entry.value["name"].value), number)
    if step in names:
        return names[step]
    meant = nearest(step, names)
    last = len(item.value) - 1
    expected = f"its number, {'0' if last == 0 else f'0 to {last}'}" if item.value else "none: the list is empty"
    if names:
        expected = f"its name, {' or '.join(names)}, or {expected}"
    message = f'{path} has no entry "{step}"; expected {expected}'
    problems.append(Problem(source, 0, 0, path, message, f"did you mean {path}.{meant}?" if meant else ""))
    return None


def _put(item: Item, step: str, value: Item, path: str, source: str, problems: list[Problem]) -> None:
    if isinstance(item.value, dict):
        item.value[step] = value
        item.keys.setdefault(step, (0, 0))
        return
    if isinstance(item.value, list):
        number = _number_of(item, step, path, source, problems)
        if number is not None:
            item.value[number] = value
        return
    child = f"{path}.{step}" if path else step
    problems.append(Problem(source, 0, 0, child, f"{path} is {item.written()}; expected a mapping with {step}"))
