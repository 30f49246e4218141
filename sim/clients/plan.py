"""Who each client is and which streams it must get, the same in every process.

Everything follows from the scenario alone, so the parent, the workers and the
publisher each make the plan for themselves instead of sending it around.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote, urlencode

from protocol.bodies import AuthToken
from sim.clients.spread import rooms_of, transport_of
from sim.publish.feeder import Column
from sim.scenario.scenario import Population, Publisher, PublishTo, Scenario, Transport

__all__ = ["ClientPlan", "Plan", "StreamPlan", "make_plan", "slowest_broadcast_s", "without_contents"]

_DEVICE = "$"  # no key of a scenario has it, so that no other client has the key of a second device


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One client.

    Args:
        index: From 0 over all populations.
        population: Index of its population.
        transport: How it connects.
        is_ws: Whether that is WebSocket.
        token: Body of its op 7.
        streams: Streams whose messages it must get.
    """

    index: int
    population: int
    transport: Transport
    is_ws: bool  # no property: asked for each frame that is sent
    token: AuthToken
    streams: tuple[int, ...]


@dataclass(slots=True)
class StreamPlan:
    """One target of publishing; `members` counts the clients that must get its messages."""

    to: PublishTo
    target: str
    members: int = 0


@dataclass
class Plan:
    """Streams by id, and for each publisher the streams it goes round, or that of each row of its feed."""

    scenario: Scenario
    streams: list[StreamPlan] = field(default_factory=list)
    publishers: list[tuple[int, ...]] = field(default_factory=list)
    _ids: dict[tuple[PublishTo, str, int], int] = field(default_factory=dict)

    def clients(self, part: int = 0, parts: int = 1) -> Iterator[ClientPlan]:
        """Yield the clients of one of several equal parts."""
        first = 0
        for number, population in enumerate(self.scenario.clients):
            rooms = self._rooms[number]
            for i in range((part - first) % parts, population.count, parts):
                room = population.rooms[rooms[i]] if rooms is not None else ""
                yield self._client(first + i, number, population, i, room)
            first += population.count

    def sharing(self) -> dict[int, int]:
        """Return publishers that share a stream, each with another of it: no message tells whose it is."""
        owners: dict[int, int] = {}
        found: dict[int, int] = {}
        for publisher, streams in enumerate(self.publishers):
            for stream in streams:
                owner = owners.setdefault(stream, publisher)
                if owner != publisher:
                    found[publisher], found[owner] = owner, publisher
        return found

    def device(self, client: ClientPlan, number: int) -> ClientPlan:
        """Return a client's user with a second connection, of a key of its own."""
        key = f"{client.token.key}{_DEVICE}{number}" if client.token.key else ""
        streams = tuple(stream for stream in client.streams if self.streams[stream].to is not PublishTo.KEY)
        return dataclasses.replace(client, token=dataclasses.replace(client.token, key=key), streams=streams)

    def accepted(self, token: AuthToken, operations: Collection[int]) -> tuple[int, ...]:
        """Return the streams that a connection is in because it accepts these operations."""
        if not self._by_operation:
            return ()
        wanted: list[tuple[PublishTo, str, int]] = []
        for op in operations:
            wanted += (
                (PublishTo.ALL, "", op),
                (PublishTo.MID, str(token.mid), op),
                (PublishTo.KEY, token.key, op),
            )
        return tuple(self._ids[one] for one in wanted if one in self._ids)

    def is_room(self, stream: int) -> bool:
        """Whether a stream is that of a room."""
        return self.streams[stream].to is PublishTo.ROOM

    def is_login(self, stream: int) -> bool:
        """Whether a stream goes where its key or mid has logged in last."""
        return self.streams[stream].to in (PublishTo.MID, PublishTo.KEY)

    @cached_property
    def room_streams(self) -> Mapping[str, int]:
        """Streams of rooms by room key."""
        return {one.target: i for i, one in enumerate(self.streams) if one.to is PublishTo.ROOM}

    def request_target(self, publisher: Publisher, stream: int) -> str:
        """Return path and query of the push to a stream."""
        target = self.streams[stream].target
        op = publisher.op
        match publisher.to:
            case PublishTo.ROOM:
                kind, _, room = target.partition("://")
                query = urlencode({"operation": op, "type": kind, "room": room}, quote_via=quote)
            case PublishTo.MID:
                query = urlencode({"operation": op, "mids": target})
            case PublishTo.KEY:
                query = urlencode({"operation": op, "keys": target}, quote_via=quote)
            case PublishTo.ALL:
                query = urlencode({"operation": op, "speed": publisher.speed})
        path = {PublishTo.MID: "mids", PublishTo.KEY: "keys"}.get(publisher.to, publisher.to.value)
        return f"/goim/push/{path}?{query}"

    @cached_property
    def _rooms(self) -> list[Sequence[int] | None]:
        """For each population the place of each client's room in its list, None where there is no room."""
        scenario = self.scenario
        return [rooms_of(one, scenario.seed) if one.rooms else None for one in scenario.clients]

    @cached_property
    def _by_operation(self) -> bool:
        """Whether a stream is filtered by operation at all."""
        return any(one.to is not PublishTo.ROOM for one in self.streams)

    def _client(self, index: int, number: int, population: Population, i: int, room: str) -> ClientPlan:
        mid = 0 if population.mids is None else population.mids + i // population.connections_per_mid
        key = "" if population.keys is None else f"{population.keys}{i}"
        token = AuthToken(mid, key, room, "imctl", population.accepts)
        home = self.room_streams.get(room)
        streams = self.accepted(token, population.accepts)
        transport = transport_of(population, i)
        if home is not None:
            streams = (home, *streams)
        return ClientPlan(index, number, transport, transport.is_ws, token, streams)

    def _count_members(self) -> None:
        """Count the members of each stream, without making the clients: every process does this for all of them."""
        for population, rooms in zip(self.scenario.clients, self._rooms, strict=True):
            if rooms is not None:
                for room, size in Counter(rooms).items():
                    self._add_members(PublishTo.ROOM, population.rooms[room], 0, size)
            for op in population.accepts:
                self._add_members(PublishTo.ALL, "", op, population.count)
                if population.mids is not None:
                    each = population.connections_per_mid
                    for i in range(0, population.count, each):
                        mid = str(population.mids + i // each)
                        self._add_members(PublishTo.MID, mid, op, min(each, population.count - i))
                if population.keys is not None:
                    for i in range(population.count):
                        self._add_members(PublishTo.KEY, f"{population.keys}{i}", op, 1)

    def _add_members(self, to: PublishTo, target: str, op: int, count: int) -> None:
        stream = self._ids.get((to, target, op))
        if stream is not None:
            self.streams[stream].members += count


def make_plan(scenario: Scenario) -> Plan:
    """Number the streams and find the members of each."""
    plan = Plan(scenario)
    for publisher in scenario.publish:
        ids = []
        for target in _targets(scenario, publisher):
            # A room push ignores what clients accept; the others are filtered by operation.
            identity = (publisher.to, target, 0 if publisher.to is PublishTo.ROOM else publisher.op)
            if identity not in plan._ids:
                plan._ids[identity] = len(plan.streams)
                plan.streams.append(StreamPlan(publisher.to, target))
            ids.append(plan._ids[identity])
        plan.publishers.append(tuple(ids))
    plan._count_members()
    return plan


def slowest_broadcast_s(scenario: Scenario) -> float:
    """Return how long the slowest push to all takes because of its `speed`; 0 when each goes out at once."""
    return max(
        (
            sum(population.count for population in scenario.clients if publisher.op in population.accepts)
            / publisher.speed
            for publisher in scenario.publish
            if publisher.speed
        ),
        default=0.0,
    )


def without_contents(scenario: Scenario) -> Scenario:
    """Return what workers need of a scenario: its plan is the same, and the contents of bodies and feeds are gone."""
    targets = {publisher.targets for publisher in scenario.publish}
    feeds = []
    for feed in scenario.feeds:
        columns = tuple(name for name in feed.columns if Column(feed.name, name) in targets)
        values = tuple(feed.column(name) for name in columns)
        feeds.append(dataclasses.replace(feed, columns=columns, values=values))
    publish = tuple(dataclasses.replace(publisher, body=None) for publisher in scenario.publish)
    return dataclasses.replace(scenario, publish=publish, feeds=tuple(feeds))


def _targets(scenario: Scenario, publisher: Publisher) -> tuple[str, ...]:
    if publisher.to is PublishTo.ALL:
        return ("",)
    if publisher.targets is not None:  # one for each row
        return scenario.feed(publisher.targets.feed).column(publisher.targets.column)
    population = scenario.population(publisher.population)
    match publisher.to:
        case PublishTo.ROOM:
            return tuple(dict.fromkeys(population.rooms))
        case PublishTo.MID:
            mids = range(-(-population.count // population.connections_per_mid))
            return tuple(str((population.mids or 0) + i) for i in mids)
        case _:
            return tuple(f"{population.keys}{i}" for i in range(population.count))
