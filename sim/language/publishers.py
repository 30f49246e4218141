"""From the keys of `feeds` and `publish` to Feeds and Publishers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sim.errors import Problem
from sim.language.bodies import check_order, make_body_of, make_size, make_weights
from sim.language.feed_file import read_feed
from sim.language.fields import Read
from sim.language.include import beside
from sim.language.publish_checks import Feeds, check_loop, check_mix, check_target
from sim.language.publish_kinds import MAX_PUBLISHERS
from sim.publish.closed_loop import most_active
from sim.publish.feeder import Column, Feed, FeedOrder
from sim.scenario.publishing import (
    Arrival,
    ArrivalTimes,
    ClosedLoop,
    GammaArrival,
    JitterArrival,
    Publisher,
    PublishTo,
    WaitFor,
)
from sim.scenario.scenario import Phase, Population
from sim.scenario.times import ExponentialTime, LognormalTime, Time, UniformTime

__all__ = ["make_feeds", "make_publishers"]

Sections = Mapping[str, Sequence[Read]]


def make_feeds(entries: Sequence[Read], file: str, problems: list[Problem]) -> dict[str, Feed | None]:
    """Return the feeds by name; None for one that has a problem.

    Args:
        entries: Those of `feeds`.
        file: The scenario's path; files are looked for beside it.
        problems: What is wrong goes here.
    """
    feeds: dict[str, Feed | None] = {}
    for read in entries:
        name = read.values.get("name")
        if name is None:
            continue
        feeds[name] = None
        if read.bad:
            continue
        assert isinstance(read.item.value, dict)
        item = read.item.value["file"]
        path = beside(item, file)
        try:
            feeds[name] = read_feed(path, name, FeedOrder(read.values["order"]), problems)
        except ValueError as exc:
            message = f"{read.path}.file is {item.written()}: {path} {exc}"
            problems.append(item.problem(f"{read.path}.file", message))
    return feeds


def make_publishers(
    sections: Sections,
    populations: Sequence[Population],
    feeds: Feeds,
    phases: Sequence[Phase],
    file: str,
    problems: list[Problem],
) -> tuple[Publisher, ...]:
    """Return the publishers that are whole; each gets a name, its own or one made of its target.

    Args:
        sections: The entries of the scenario.
        populations: Those that are whole.
        feeds: From make_feeds().
        phases: Those that are whole.
        file: As there.
        problems: What is wrong goes here.
    """
    entries = [entry for read in sections["publish"] for entry in (read, *(read.values.get("mix") or ()))]
    names = {entry.values["name"] for entry in entries if entry.values.get("name")}
    publishers: list[Publisher] = []
    for read in sections["publish"]:
        check_loop(read, problems)
        if not check_mix(read, problems):
            continue
        kinds: Sequence[Read] = read.values["mix"] or (read,)
        made = [_kind(one, sections, populations, feeds, file, problems) for one in kinds]
        base = _schedule(read, phases, problems)
        weights = make_weights(kinds, f"{read.path}.mix", problems) if read.values["mix"] and _whole(kinds) else (1.0,)
        if base is None or not _whole(made) or len(weights) != len(made):
            continue
        mix = ""
        if read.values["mix"]:
            mix = read.values["name"] or _free_name("mix", names)
            names.add(mix)
        for one, kind, weight in zip(kinds, made, weights, strict=True):
            assert kind is not None
            whose = kind.population or (kind.targets.feed if kind.targets is not None else "")
            name = one.values["name"] or _free_name("-".join(filter(None, (mix, kind.to, whose))), names)
            names.add(name)
            share = weight / sum(weights)
            publishers.append(
                dataclasses.replace(
                    kind,
                    name=name,
                    rate_per_s=base.rate_per_s * share,
                    burst=base.burst,
                    arrival=base.arrival,
                    closed=base.closed,
                    mix=mix,
                    weight=share,
                )
            )
    return tuple(publishers)


def _whole(parts: Sequence[object]) -> bool:
    return not any(part is None or (isinstance(part, Read) and part.bad) for part in parts)


def _kind(
    read: Read, sections: Sections, populations: Sequence[Population], feeds: Feeds, file: str, problems: list[Problem]
) -> Publisher | None:
    """Return what one kind of message is, as a publisher without a schedule; None when there is a problem."""
    if "to" in read.bad:
        return None
    before = len(problems)
    target = check_target(read, sections["clients"], populations, feeds, problems)
    size = make_size(read.values.get("size", 64), problems)
    body = make_body_of(read, feeds, file, problems)
    if target is None or read.bad or len(problems) > before:
        return None
    values = read.values
    return Publisher(
        to=PublishTo(values["to"]),
        population=target if isinstance(target, str) else "",
        rate_per_s=0.0,
        size_bytes=size,
        op=values["op"],
        speed=values["speed"] or 0,
        body=body,
        targets=target if isinstance(target, Column) else None,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Schedule:
    rate_per_s: float
    burst: int
    arrival: ArrivalTimes
    closed: ClosedLoop | None


def _schedule(read: Read, phases: Sequence[Phase], problems: list[Problem]) -> _Schedule | None:
    if read.bad & {"rate", "burst", "arrival", "closed"}:
        return None
    before = len(problems)
    closed = _closed(read.values["closed"], phases, problems) if read.values["closed"] is not None else None
    values = read.values
    if len(problems) > before or (closed is None and values["rate"] is None):
        return None
    return _Schedule(values["rate"] or 0.0, values["burst"], _arrival(values["arrival"]), closed)


def _arrival(arrival: str | Read) -> ArrivalTimes:
    if not isinstance(arrival, Read):
        return Arrival(arrival)
    if "jitter" in arrival.values:
        return JitterArrival(arrival.values["jitter"])
    return GammaArrival(arrival.values["gamma"])


def _closed(read: Read, phases: Sequence[Phase], problems: list[Problem]) -> ClosedLoop:
    values = read.values
    closed = ClosedLoop(values["publishers"], _time(values["think"], problems), WaitFor(values["wait"]))
    active = most_active(closed, phases)
    if active > MAX_PUBLISHERS:
        message = f"{read.path}.publishers becomes {active} in a phase; expected at most {MAX_PUBLISHERS}"
        problems.append(read.problem("publishers", message, "fewer, or a lower factor in phases"))
    return closed


def _time(time: float | Read, problems: list[Problem]) -> Time:
    if not isinstance(time, Read):
        return time
    if "uniform" in time.values:
        read: Read = time.values["uniform"]
        check_order(read, "min", "max", problems)
        return UniformTime(read.values["min"], read.values["max"])
    if "exponential" in time.values:
        return ExponentialTime(time.values["exponential"].values["mean"])
    read = time.values["lognormal"]
    check_order(read, "median", "max", problems)
    return LognormalTime(read.values["median"], read.values["sigma"], read.values["max"])


def _free_name(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free = f"{name}-{number}"
        number += 1
    return free
