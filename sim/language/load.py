"""A scenario file to a Scenario: read, changed by options, checked as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from sim.errors import Problem, ScenarioError
from sim.language import checks
from sim.language.expectations import TimeLine, read_expectations
from sim.language.fields import Read, read_section
from sim.language.format import SCENARIO, scenario_schema
from sim.language.include import merge_included, read_text
from sim.language.overrides import apply_set, move_events, scale_clients, scale_phases
from sim.language.populations import make_backoff, make_network, make_population
from sim.language.publishers import make_feeds, make_publishers
from sim.language.yaml_tree import parse_tree
from sim.scenario.scenario import (
    Event,
    EventKind,
    Phase,
    Population,
    Scenario,
    Side,
)

__all__ = ["load_scenario", "parse_scenario", "scenario_schema"]


def load_scenario(
    path: Path,
    *,
    sets: Sequence[str] = (),
    clients: int | None = None,
    duration_s: float | None = None,
    env: Mapping[str, str],
) -> Scenario:
    """Read a scenario file.

    Args:
        path: The file.
        sets: Changes, each `path=value`, such as `clients.viewers.count=10` or `phases[0].duration=3s`.
        clients: Total number of clients; the populations keep their shares of it.
        duration_s: Length of the measured phases together; they keep their shares of it.
        env: What `${NAME}` and `${NAME:-default}` in the file mean.

    Raises:
        ScenarioError: with everything that is wrong.
    """
    try:
        text = read_text(path)
    except ValueError as exc:
        missing = isinstance(exc.__cause__, FileNotFoundError)
        hint = "imctl scenarios lists the ones that come with it" if missing else ""
        raise ScenarioError([Problem(str(path), 0, 0, "", str(exc), hint)]) from exc
    return parse_scenario(text, file=str(path), sets=sets, clients=clients, duration_s=duration_s, env=env)


def parse_scenario(
    text: str,
    *,
    file: str,
    sets: Sequence[str] = (),
    clients: int | None = None,
    duration_s: float | None = None,
    env: Mapping[str, str],
) -> Scenario:
    """Read a scenario from its text.

    `file` is what problems call it, and what it includes is looked for beside
    it; the rest is as for load_scenario().
    """
    problems: list[Problem] = []
    root = parse_tree(text, file=file, env=env, problems=problems)
    if root is None:
        if not problems:
            message = "the file is empty; expected a scenario"
            problems.append(Problem(file, 1, 1, "", message, "imctl scenarios lists examples"))
        raise ScenarioError(problems)
    root = merge_included(root, file, env, problems)
    for change in sets:
        apply_set(root, change, problems)
    late = root.value.get("include") if isinstance(root.value, dict) else None
    if late is not None and not late.line:
        problems.append(late.problem("include", "include is given by an option; expected it in the file"))
    read = read_section(SCENARIO, root, "", problems)
    scenario = _build(read, file, clients, duration_s, problems) if read is not None else None
    if scenario is None or problems:
        raise ScenarioError(_in_order(problems, file))
    return scenario


def _in_order(problems: Sequence[Problem], file: str) -> list[Problem]:
    """Return problems as their places follow each other in the file; then those of included files, and of options."""
    return sorted(problems, key=lambda one: (one.line == 0, one.file != file, one.file, one.line, one.column))


def _build(
    read: Read, file: str, clients: int | None, duration_s: float | None, problems: list[Problem]
) -> Scenario | None:
    """Make the Scenario of what was read, and check what no single key can tell; None when a part is missing."""
    sections: dict[str, list[Read]] = {
        key: list(read.values.get(key, ())) for key in ("clients", "feeds", "publish", "phases", "events")
    }
    populations = [make_population(entry, file, problems) for entry in sections["clients"]]
    phases = [_phase(entry) for entry in sections["phases"]]
    whole = [population for population in populations if population is not None]
    timed = [phase for phase in phases if phase is not None]
    complete = len(whole) == len(populations) > 0 and len(timed) == len(phases) > 0
    end_s = math.fsum(phase.duration_s for phase in timed) if len(timed) == len(phases) > 0 else None
    events = _events(sections, end_s, problems)
    written, dated = timed, events

    if clients is not None and len(whole) == len(populations) > 0:
        whole = _scaled_clients(whole, clients, problems)
    if duration_s is not None:
        if not 0 < duration_s < math.inf:
            message = f"the measured phases would last {duration_s:g} s; expected a time over 0"
            problems.append(Problem(f"--duration {duration_s:g}s", 0, 0, "phases", message, "--duration 30s"))
        elif any(phase.measure for phase in timed):
            scaled = list(scale_phases(timed, duration_s))
            events = move_events(events, timed, scaled)
            timed = scaled

    checks.check_unique_names(sections, problems)
    checks.check_phases(sections["phases"], timed, problems)
    if len(whole) == len(populations):
        checks.check_identities(sections["clients"], whole, problems)
        checks.check_churn(sections["clients"], whole, problems)
    feeds = make_feeds(sections["feeds"], file, problems)
    listeners = checks.with_subscriptions(whole, events)
    publishers = make_publishers(sections, listeners, feeds, timed, file, problems)
    expect = read_expectations(read, sections, whole, publishers, TimeLine(written, timed, dated, events), problems)
    if problems or not complete or read.bad:
        return None
    return Scenario(
        name=read.values["name"],
        seed=read.values["seed"],
        clients=tuple(whole),
        publish=publishers,
        phases=tuple(timed),
        expect=expect,
        path=file,
        events=tuple(sorted(events, key=lambda event: event.at_s)),
        feeds=tuple(feed for feed in feeds.values() if feed is not None),
        trace_per_s=read.values["trace"],
    )


def _scaled_clients(populations: list[Population], total: int, problems: list[Problem]) -> list[Population]:
    option = f"--clients {total}"
    try:
        if total < 1:
            raise ValueError(f"{total} clients; expected at least 1")
        return list(scale_clients(populations, total))
    except ValueError as exc:
        problems.append(Problem(option, 0, 0, "clients", str(exc), f"--clients {len(populations)} or more"))
        return populations


def _phase(read: Read) -> Phase | None:
    if read.bad & {"name", "duration", "measure"}:
        return None
    values = read.values
    start, end = values.get("publish", (1.0, 1.0))
    return Phase(values["name"], values["duration"], values["measure"], start, end if end != start else None)


def _events(sections: Mapping[str, list[Read]], end_s: float | None, problems: list[Problem]) -> tuple[Event, ...]:
    """Return the events that are whole."""
    events: list[Event] = []
    for read in sections["events"]:
        if "do" in read.bad:
            continue
        before = len(problems)
        checks.check_event(read, sections["clients"], end_s, problems)
        if read.bad or len(problems) > before:
            continue
        values = read.values
        events.append(
            Event(
                at_s=values["at"],
                kind=EventKind(values["do"]),
                who=values["who"] or "",
                fraction=values["fraction"],
                node=values["node"] or "",
                for_s=values["for"],
                reconnect=make_backoff(values["reconnect"]),
                room=values["room"] or "",
                ops=tuple(dict.fromkeys(values["ops"] or ())),
                other_comet=values["comet"] == "other",
                network=make_network(values),
                side=Side(values["side"]),
                line=read.item.line,
                column=read.item.column,
            )
        )
    return tuple(events)
