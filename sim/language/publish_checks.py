"""What no single key of a publisher can tell: whom it reaches, and which keys go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sim.errors import Problem
from sim.language.checks import EXAMPLES, check_population, mids_of
from sim.language.fields import Read, nearest
from sim.language.format_publish import MESSAGE_KEYS
from sim.language.kinds import KEY, MAX_MID, NEW_ROOM
from sim.publish.feeder import Column, Feed
from sim.publish.payload import Filling, Template
from sim.publish.stamp import TAIL_BYTES
from sim.scenario.publishing import DEFAULT_OP, MAX_SIZE_BYTES, PublishTo
from sim.scenario.scenario import Population

__all__ = ["Feeds", "check_body_fits", "check_fillings", "check_loop", "check_mix", "check_target"]

Feeds = Mapping[str, Feed | None]
"""The feeds by name; None for one that has a problem of its own."""

_SOURCES = {PublishTo.ROOM: "rooms", PublishTo.MID: "mids", PublishTo.KEY: "keys"}
_NEEDS = {PublishTo.ROOM: "room", PublishTo.MID: "mid", PublishTo.KEY: "key"}
_VALUES = {
    PublishTo.ROOM: "a room key such as live://1",
    PublishTo.MID: "a mid from 1",
    PublishTo.KEY: "a key of at most 64 characters, without space or comma",
}
_MAX_BAD_VALUES = 5


def check_loop(read: Read, problems: list[Problem]) -> None:
    """A publisher has a rate or a closed loop, and what belongs to it."""
    if "closed" in read.bad or "rate" in read.bad:
        return
    if read.values["closed"] is None:
        if read.values["rate"] is None:
            message = f"{read.path} has no rate; expected one, or closed for a closed loop"
            problems.append(read.item.problem(f"{read.path}.rate", message, "rate: 40/s"))
        return
    for key in ("rate", "burst", "arrival"):
        if read.written(key):
            message = f"{read.path}.{key} does not go with closed, whose publishers send when they are done"
            problems.append(read.problem(key, message, f"take closed or {key} away"))


def check_mix(read: Read, problems: list[Problem]) -> bool:
    """A publisher's messages are of one kind, or it has a mix of them; return whether it has told either."""
    if not read.written("mix"):
        if not read.written("to"):
            message = f"{read.path} has no to; expected {' or '.join(PublishTo)}, or a mix of several"
            problems.append(read.item.problem(f"{read.path}.to", message, "to: room"))
            return False
        return "to" not in read.bad
    for key in MESSAGE_KEYS:
        if read.written(key):
            message = f"{read.path}.{key} does not go with mix; expected it in each entry of the mix"
            problems.append(read.problem(key, message, f"in mix: {{weight: 80%, {key}: {read.written(key)}}}"))
    return "mix" not in read.bad


def check_target(
    read: Read, entries: Sequence[Read], populations: Sequence[Population], feeds: Feeds, problems: list[Problem]
) -> str | Column | None:
    """Check whom a publisher reaches.

    Returns:
        The name of its population, empty for a push to all, or the column of a feed; None when there is a problem.
    """
    before = len(problems)
    to = PublishTo(read.values["to"])
    source = _SOURCES.get(to, "")
    _check_no_other_keys(read, to, source, problems)
    if not source:
        _check_heard(read, populations, problems)
        return "" if len(problems) == before else None
    if source in read.bad:
        return None
    name = read.values[source]
    names = [entry.values["name"] for entry in entries if "name" in entry.values]
    if name is None:
        message = f"{read.path} is to: {to} and has no {source}; expected whose {source}"
        problems.append(
            read.item.problem(f"{read.path}.{source}", message, f"{source}: {next(iter(names), 'viewers')}")
        )
        return None
    if isinstance(name, Column):
        _check_column(read, to, name, populations, feeds, problems)
        return name if len(problems) == before else None
    if not check_population(read, source, names, problems):
        return None
    population = next((population for population in populations if population.name == name), None)
    if population is None:
        return None  # it has a problem of its own
    if not (population.rooms if to is PublishTo.ROOM else population.mids if to is PublishTo.MID else population.keys):
        message = f"{read.path}.{source} is {name}, whose clients have no {_NEEDS[to]}"
        problems.append(read.problem(source, message, f"in clients, {name}: {EXAMPLES[to]}"))
    elif to is not PublishTo.ROOM:  # as in goim, a push to a room does not ask what its members accept
        _check_heard(read, [population], problems)
    return str(name) if len(problems) == before else None


def check_fillings(read: Read, template: Template, feeds: Feeds, problems: list[Problem]) -> None:
    """Every field of a body has something to be filled with."""
    to = PublishTo(read.values["to"])
    for filling in dict.fromkeys(template.fillings):
        if filling.kind == "column":
            _find_column(read, "body", Column(*filling.arguments), feeds, problems)
        elif filling.kind in _NEEDS.values() and filling.kind != _NEEDS.get(to):
            message = f"{read.path}.body has ${{{filling.kind}}}, which only a push to: {filling.kind} has"
            own = f"${{{_NEEDS[to]}}} is what a push to: {to} has" if to in _NEEDS else "a push to all has no target"
            problems.append(read.problem("body", message, own))


def check_body_fits(read: Read, template: Template, feeds: Feeds, problems: list[Problem]) -> None:
    """No message is too large for goim's bus, whatever its fields become."""
    longest = template.longest_bytes(_longest_values(template.fillings, feeds))
    if longest > MAX_SIZE_BYTES - TAIL_BYTES:
        message = f"{read.path}.body can be {longest} bytes long; expected at most {MAX_SIZE_BYTES - TAIL_BYTES}"
        problems.append(read.problem("body", message))


def _longest_values(fillings: Sequence[Filling], feeds: Feeds) -> dict[tuple[str, str], int]:
    longest: dict[tuple[str, str], int] = {}
    for filling in fillings:
        if filling.kind == "column":
            name, column = filling.arguments
            feed = feeds.get(name)
            if feed is not None and column in feed.columns:
                longest[name, column] = max(len(value.encode()) for value in feed.column(column))
    return longest


def _find_column(read: Read, key: str, column: Column, feeds: Feeds, problems: list[Problem]) -> Feed | None:
    """Return the feed of a column, when both are there."""
    if column.feed not in feeds:
        known = ", ".join(feeds) or "there is none"
        meant = nearest(column.feed, feeds)
        message = f"{read.path}.{key} has {column}; expected a column of one of feeds: {known}"
        hint = f"did you mean ${{{meant}.{column.column}}}?" if meant else "feeds: [{name: user, file: users.csv}]"
        problems.append(read.problem(key, message, hint))
        return None
    feed = feeds[column.feed]
    if feed is None or column.column in feed.columns:
        return feed
    meant = nearest(column.column, feed.columns)
    message = f"{read.path}.{key} has {column}; expected a column of {feed.path}: {', '.join(feed.columns)}"
    problems.append(read.problem(key, message, f"did you mean ${{{column.feed}.{meant}}}?" if meant else ""))
    return None


def _check_column(
    read: Read,
    to: PublishTo,
    column: Column,
    populations: Sequence[Population],
    feeds: Feeds,
    problems: list[Problem],
) -> None:
    """Every value of the column can be pushed to, and somebody hears some of them."""
    source = _SOURCES[to]
    feed = _find_column(read, source, column, feeds, problems)
    if feed is None:
        return
    values = feed.column(column.column)
    bad = [(line, value) for line, value in zip(feed.lines, values, strict=True) if not _fits(to, value)]
    for line, value in bad[:_MAX_BAD_VALUES]:
        message = f'{column.column} is "{value}", and {read.path}.{source} pushes to it; expected {_VALUES[to]}'
        problems.append(Problem(feed.path, line, 1, f"{read.path}.{source}", message))
    if bad:
        return
    reached = [population for population in populations if _has_any(population, to, values)]
    if not reached and populations:
        message = f"{read.path}.{source} is {column}, and no client has any {_NEEDS[to]} of that column"
        problems.append(read.problem(source, message, f"in clients: {EXAMPLES[to]}"))
    elif to is not PublishTo.ROOM:
        _check_heard(read, reached, problems)


def _fits(to: PublishTo, value: str) -> bool:
    """Whether a value is a mid, a key or a room as goim has them."""
    if to is PublishTo.MID:
        return value.isascii() and value.isdecimal() and value[0] != "0" and int(value[:20]) <= MAX_MID
    if to is PublishTo.KEY:
        return _parses(KEY.parse, value) and "${" not in value
    return value != "none" and _parses(NEW_ROOM.parse, value)


def _parses(parse: object, value: str) -> bool:
    assert callable(parse)
    try:
        parse(value)
    except ValueError:
        return False
    return True


def _has_any(population: Population, to: PublishTo, values: Sequence[str]) -> bool:
    """Whether some client of a population is meant by one of the values."""
    if to is PublishTo.ROOM:
        return not set(population.rooms).isdisjoint(values)
    if to is PublishTo.MID:
        mids = mids_of(population)
        return any(int(value) in mids for value in values)
    prefix = population.keys
    if prefix is None:
        return False
    numbers = (value.removeprefix(prefix) for value in values if value.startswith(prefix))
    return any(one.isdecimal() and str(int(one)) == one and int(one) < population.count for one in numbers)


def _check_no_other_keys(read: Read, to: PublishTo, source: str, problems: list[Problem]) -> None:
    for key in ("rooms", "mids", "keys", "speed"):
        if read.values.get(key) is None or key == source or (key == "speed" and to is PublishTo.ALL):
            continue
        fits = next((str(other) for other, name in _SOURCES.items() if name == key), str(PublishTo.ALL))
        expected = f"only {source}" if source else "none, because all clients are meant"
        if key == "speed":
            expected = "no speed, which only a push to all has"
        message = f"{read.path}.{key} does not go with to: {to}; expected {expected}"
        problems.append(read.problem(key, message, f"to: {fits}"))


def _check_heard(read: Read, populations: Sequence[Population], problems: list[Problem]) -> None:
    """A push by mid, by key or to all reaches only clients that accept its operation."""
    op = read.values.get("op")
    if op is None or not populations or any(op in population.accepts for population in populations):
        return
    names = ", ".join(population.name for population in populations)
    accepted = sorted({op for population in populations for op in population.accepts})
    known = ", ".join(map(str, accepted)) if accepted else f"none; the default is {DEFAULT_OP}"
    message = f"{read.path} sends op {op}, which no client of {names} accepts; expected one of {known}"
    problems.append(read.problem("op", message, f"accepts: [{op}] in clients"))
