"""A scenario file to a Scenario: read, changed by options, checked as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim import checks
from sim.errors import Problem, ScenarioError
from sim.expect import ExpectationError, parse_expectation
from sim.fields import Read, read_section
from sim.format import SCENARIO, scenario_schema
from sim.include import merge_included, read_text
from sim.overrides import apply_set, move_events, scale_clients, scale_phases
from sim.scenario import (
    Arrival,
    Backoff,
    Churn,
    Event,
    EventKind,
    Expectation,
    LognormalSize,
    Phase,
    Population,
    Publisher,
    PublishTo,
    Scenario,
    Size,
    UniformSize,
)
from sim.yaml_tree import Item, parse_tree

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
        key: list(read.values.get(key, ())) for key in ("clients", "publish", "phases", "events")
    }
    populations = [_population(entry, problems) for entry in sections["clients"]]
    phases = [_phase(entry) for entry in sections["phases"]]
    whole = [population for population in populations if population is not None]
    timed = [phase for phase in phases if phase is not None]
    complete = len(whole) == len(populations) > 0 and len(timed) == len(phases) > 0
    end_s = math.fsum(phase.duration_s for phase in timed) if len(timed) == len(phases) > 0 else None
    events = _events(sections, end_s, problems)

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
    publishers = _publishers(sections, whole, problems)
    expect = _expectations(read, sections["phases"], problems)
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


def _population(read: Read, problems: list[Problem]) -> Population | None:
    tcp_share = _tcp_share(read.values.get("transport", "tcp"), problems)
    if read.bad:
        return None
    values = read.values
    connect = values["connect"]
    extra: dict[str, Any] = {}
    if connect is not None:
        extra = {"connect_rate_per_s": connect.values["rate"], "connect_inflight": connect.values["inflight"]}
    churn = values["churn"]
    return Population(
        name=values["name"],
        count=values["count"],
        tcp_share=tcp_share,
        rooms=values["room"] or (),
        mids=values["mid"],
        keys=values["key"],
        accepts=tuple(dict.fromkeys(values["accepts"])),
        heartbeat_s=values["heartbeat"],
        reconnect=_backoff(values["reconnect"]),
        churn=Churn(churn.values["rate"], churn.values["away"]) if churn is not None else None,
        **extra,
    )


def _backoff(reconnect: Read | None) -> Backoff | None:
    return reconnect.values["backoff"] if reconnect is not None else None


def _tcp_share(transport: str | Read, problems: list[Problem]) -> float:
    """Return the share of clients on TCP; of the two shares, one may be left out."""
    if isinstance(transport, str):
        return 1.0 if transport == "tcp" else 0.0
    tcp, ws = transport.values["tcp"], transport.values["ws"]
    if tcp is None and ws is None:
        message = f"{transport.path} is an empty mapping; expected the share of tcp, of ws, or both"
        problems.append(transport.item.problem(transport.path, message, "transport: {tcp: 70%, ws: 30%}"))
        return 1.0
    if tcp is None or ws is None:
        return float(tcp if tcp is not None else 1.0 - ws)
    if abs(tcp + ws - 1.0) > 1e-9:
        message = f"{transport.path} adds up to {(tcp + ws) * 100:g}%; expected 100%"
        hint = f"{{tcp: {tcp * 100:g}%, ws: {(1 - tcp) * 100:g}%}}"
        problems.append(transport.item.problem(transport.path, message, hint))
    return float(tcp)


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
                reconnect=_backoff(values["reconnect"]),
                room=values["room"] or "",
                line=read.item.line,
                column=read.item.column,
            )
        )
    return tuple(events)


def _publishers(
    sections: Mapping[str, list[Read]], populations: Sequence[Population], problems: list[Problem]
) -> tuple[Publisher, ...]:
    """Return the publishers that are whole; each gets a name, its own or one made of its target."""
    names = {read.values["name"] for read in sections["publish"] if read.values.get("name")}
    publishers: list[Publisher] = []
    for read in sections["publish"]:
        if "to" in read.bad:
            continue
        population = checks.check_target(read, sections["clients"], populations, problems)
        size = read.values.get("size", 64)
        size_bytes = _size(size, problems) if isinstance(size, Read) else size
        if read.bad or population is None:
            continue
        to = PublishTo(read.values["to"])
        name = read.values["name"] or _free_name(f"{to}-{population}" if population else str(to), names)
        names.add(name)
        publishers.append(
            Publisher(
                to=to,
                population=population,
                rate_per_s=read.values["rate"],
                size_bytes=size_bytes,
                op=read.values["op"],
                speed=read.values["speed"] or 0,
                name=name,
                burst=read.values["burst"],
                arrival=Arrival(read.values["arrival"]),
            )
        )
    return tuple(publishers)


def _free_name(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free = f"{name}-{number}"
        number += 1
    return free


def _size(distribution: Read, problems: list[Problem]) -> Size:
    if "uniform" in distribution.values:
        read: Read = distribution.values["uniform"]
        low, high = read.values["min"], read.values["max"]
        size: Size = UniformSize(low, high)
    else:
        read = distribution.values["lognormal"]
        low, high = read.values["median"], read.values["max"]
        size = LognormalSize(low, read.values["sigma"], high)
    if high < low:
        message = f"{read.path}.max is {high} bytes; expected at least {low}, the other end"
        problems.append(read.problem("max", message))
    return size


def _expectations(read: Read, entries: Sequence[Read], problems: list[Problem]) -> tuple[Expectation, ...]:
    written = read.item.value.get("expect") if isinstance(read.item.value, dict) else None
    items: list[Item] = written.value if written is not None and isinstance(written.value, list) else []
    # Names are enough here, so a phase with a wrong duration does not make its expectations wrong too.
    phases = [
        Phase(entry.values["name"], 1.0, entry.values.get("measure", True))
        for entry in entries
        if "name" in entry.values
    ]
    complete = "phases" not in read.bad and len(phases) == len(entries)
    expectations: list[Expectation] = []
    for number, item in enumerate(items):
        if not isinstance(item.value, str) or not item.value.strip():
            continue  # reported when it was read
        if not complete and item.value.lstrip().startswith("phase."):
            continue  # it may name the phase that could not be read
        try:
            expectations.append(parse_expectation(item.value, phases, line=item.line, column=item.column))
        except ExpectationError as exc:
            path = f"expect[{number}]"
            problems.append(item.problem(path, f"{path}: {exc.message}", exc.hint))
    return tuple(expectations)
