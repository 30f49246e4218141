"""What no single key of a scenario can tell: names, references, and whether anybody would hear or take part."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from sim.errors import Problem
from sim.language.fields import Read, nearest
from sim.language.format import EVENT, EVENT_KEYS
from sim.scenario.scenario import Event, EventKind, Phase, Population, PublishTo

__all__ = [
    "EXAMPLES",
    "check_churn",
    "check_event",
    "check_identities",
    "check_phases",
    "check_population",
    "check_unique_names",
    "mids_of",
    "with_subscriptions",
]

EXAMPLES = {
    PublishTo.ROOM: "room: live://${1..4}",
    PublishTo.MID: "mid: 1000",
    PublishTo.KEY: "key: viewer-",
}
"""What a population lacks whose clients cannot be pushed to in that way, by example."""

_EVENT_OPTIONS = tuple(known.name for known in EVENT.fields if known.name not in ("at", "do"))
_NETWORK_KEYS = ("latency", "jitter", "bandwidth")
_EVENT_NEEDS = {
    EventKind.CHANGE_ROOM: "room",
    EventKind.PAUSE: "for",
    EventKind.SUBSCRIBE: "ops",
    EventKind.UNSUBSCRIBE: "ops",
}
_WHO_NEEDS = {EventKind.TAKE_OVER: "key", EventKind.ADD_DEVICE: "mid"}
_EVENT_MEANINGS = {
    "who": "whom it happens to",
    "node": "which node",
    "for": "how long",
    "room": "where to",
    "ops": "which operations",
}
_EVENT_EXAMPLES = {
    "node": "node: comet-1",
    "for": "for: 2s",
    "room": "room: live://1, or room: none",
    "ops": "ops: [1001]",
}


def check_unique_names(sections: Mapping[str, Sequence[Read]], problems: list[Problem]) -> None:
    """Names are how publishers, expectations and reports refer to an entry."""
    for entries in sections.values():
        seen: dict[str, Read] = {}
        for read in entries:
            name = read.values.get("name")
            if name is None:
                continue
            if name in seen:
                message = f'{read.path}.name is "{name}", as {seen[name].path}.name; expected each name once'
                problems.append(read.problem("name", message, f"name: {name}-2"))
            seen.setdefault(name, read)


def check_phases(entries: Sequence[Read], phases: Sequence[Phase], problems: list[Problem]) -> None:
    """A run without a measured phase would have nothing to say."""
    if phases and len(phases) == len(entries) and not any(phase.measure for phase in phases):
        message = f"{entries[-1].path} and all others have measure: false; expected a measured phase"
        problems.append(entries[-1].problem("measure", message, "measure: true"))


def check_identities(entries: Sequence[Read], populations: Sequence[Population], problems: list[Problem]) -> None:
    """Each client has its own mid and its own key, or the ledger could not tell who got what."""
    for number, population in enumerate(populations):
        for other_number in range(number):
            other = populations[other_number]
            here, there = entries[number], entries[other_number]
            mine, others = mids_of(population), mids_of(other)
            if mine.start < others.stop and others.start < mine.stop:
                message = (
                    f"{here.path}.mid: {mine.start} to {mine.stop - 1} overlaps the {others.start} to "
                    f"{others.stop - 1} of {there.path}; expected a mid for each client"
                )
                problems.append(here.problem("mid", message, f"mid: {others.stop}"))
            if _keys_overlap(population, other):
                message = (
                    f'{here.path}.key is "{population.keys}", which gives keys that "{other.keys}" of {there.path} '
                    "gives too; expected a key for each client"
                )
                problems.append(here.problem("key", message, f"key: {population.name}-"))


def check_churn(entries: Sequence[Read], populations: Sequence[Population], problems: list[Problem]) -> None:
    """Clients can only leave while some are there."""
    for entry, population in zip(entries, populations, strict=True):
        churn = population.churn
        if churn is None:
            continue
        away = churn.rate_per_s * (churn.away.min_s + churn.away.max_s) / 2
        if away >= population.count:
            message = (
                f"{entry.path}.churn keeps {away:g} clients away at a time, of {population.count}; "
                "expected fewer than there are"
            )
            problems.append(entry.problem("churn", message, "a lower rate, or a shorter away"))


def check_event(read: Read, entries: Sequence[Read], end_s: float | None, problems: list[Problem]) -> None:
    """Check that an event is in the run, and has what its kind needs and nothing else.

    Args:
        read: The event; its `do` could be read.
        entries: The populations.
        end_s: When the run ends; None when that is not known.
        problems: What is wrong goes here.
    """
    kind = EventKind(read.values["do"])
    keys = EVENT_KEYS[kind]
    at_s = read.values.get("at")
    if at_s is not None and end_s is not None and at_s >= end_s:
        message = f"{read.path}.at is {read.written('at')}, and the run is over at {end_s:g}s; expected a time before"
        problems.append(read.problem("at", message))
    for key in _EVENT_OPTIONS:
        if key not in keys and read.written(key):
            message = f"{read.path}.{key} does not go with do: {kind}; expected only at, do, {', '.join(keys)}"
            fits = ", ".join(other for other, its_keys in EVENT_KEYS.items() if key in its_keys)
            problems.append(read.problem(key, message, f"{key} is for {fits}"))
    names = [entry.values["name"] for entry in entries if "name" in entry.values]
    for key in dict.fromkeys((keys[0], _EVENT_NEEDS.get(kind, keys[0]))):
        if key in read.bad or read.written(key):
            continue
        message = f"{read.path} is do: {kind} and has no {key}; expected {_EVENT_MEANINGS[key]}"
        example = _EVENT_EXAMPLES.get(key, f"who: {next(iter(names), 'viewers')}")
        problems.append(read.item.problem(f"{read.path}.{key}", message, example))
    if kind is EventKind.NETWORK and not any(key in read.bad or read.written(key) for key in _NETWORK_KEYS):
        message = f"{read.path} is do: {kind} and says nothing of it; expected latency, jitter, bandwidth, or several"
        problems.append(read.item.problem(f"{read.path}.latency", message, "latency: 200ms"))
    if "who" in keys and read.values.get("who") is not None and check_population(read, "who", names, problems):
        _check_who(read, kind, entries, problems)


def _check_who(read: Read, kind: EventKind, entries: Sequence[Read], problems: list[Problem]) -> None:
    """A second login needs something by which it is known to be of the same client or user."""
    needed = _WHO_NEEDS.get(kind)
    entry = next(entry for entry in entries if entry.values.get("name") == read.values["who"])
    if needed is None or needed in entry.bad or entry.values[needed] is not None:
        return
    message = f"{read.path} is do: {kind}, and the clients of {read.values['who']} have no {needed} of their own"
    example = EXAMPLES[PublishTo(needed)]
    problems.append(read.problem("who", message, f"in clients, {read.values['who']}: {example}"))


def with_subscriptions(populations: Sequence[Population], events: Sequence[Event]) -> list[Population]:
    """Return the populations as accepting all that some of their clients will, by the events, for a time."""
    extended: list[Population] = []
    for population in populations:
        added = [event.ops for event in events if event.kind is EventKind.SUBSCRIBE and event.who == population.name]
        accepts = dict.fromkeys([*population.accepts, *(op for ops in added for op in ops)])
        extended.append(dataclasses.replace(population, accepts=tuple(accepts)))
    return extended


def check_population(read: Read, key: str, names: Sequence[str], problems: list[Problem]) -> bool:
    """Whether the name at a key is a population's."""
    name = read.values[key]
    if name in names:
        return True
    meant = nearest(name, names)
    message = f'{read.path}.{key} is "{name}"; expected a name of clients: {", ".join(names) or "there is none"}'
    problems.append(read.problem(key, message, f"did you mean {meant}?" if meant else ""))
    return False


def mids_of(population: Population) -> range:
    """Return the mids of a population; without any, a range that overlaps none."""
    if population.mids is None:
        return range(0)
    return range(population.mids, population.mids + -(-population.count // population.connections_per_mid))


def _keys_overlap(one: Population, other: Population) -> bool:
    """Whether two prefixes can give one key: `a` + `10` is `a1` + `0`."""
    if one.keys is None or other.keys is None:
        return False
    short, long = (one, other) if len(one.keys) <= len(other.keys) else (other, one)
    prefix = short.keys or ""
    if not (long.keys or "").startswith(prefix):
        return False
    rest = (long.keys or "")[len(prefix) :]
    # A client's number has no leading zero, and none is over the count of its population.
    return not rest or (re.fullmatch(r"[1-9][0-9]*", rest) is not None and int(rest + "0") < short.count)
