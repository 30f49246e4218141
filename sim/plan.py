"""Who each client is and which streams it must get, the same in every process.

Everything follows from the scenario alone, so the parent, the workers and the
publisher each make the plan for themselves instead of sending it around.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from protocol.bodies import AuthToken
from sim.scenario import Population, Publisher, PublishTo, Scenario

__all__ = ["ClientPlan", "Plan", "StreamPlan", "make_plan"]


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One client.

    Args:
        index: From 0 over all populations.
        population: Index of its population.
        is_ws: WebSocket instead of TCP.
        token: Body of its op 7.
        streams: Streams whose messages it must get.
    """

    index: int
    population: int
    is_ws: bool
    token: AuthToken
    streams: tuple[int, ...]


@dataclass(slots=True)
class StreamPlan:
    """One target of publishing; `members` counts the clients that must get its messages."""

    to: PublishTo
    target: str
    members: int = 0


@dataclass(slots=True)
class Plan:
    """Streams by id, and for each publisher the streams it goes round."""

    scenario: Scenario
    streams: list[StreamPlan] = field(default_factory=list)
    publishers: list[tuple[int, ...]] = field(default_factory=list)
    _ids: dict[tuple[PublishTo, str, int], int] = field(default_factory=dict)
    _rooms: dict[str, int] | None = None

    def clients(self, part: int = 0, parts: int = 1) -> Iterator[ClientPlan]:
        """Yield the clients of one of several equal parts."""
        index = 0
        for number, population in enumerate(self.scenario.clients):
            for i in range(population.count):
                if index % parts == part:
                    yield self._client(index, number, population, i)
                index += 1

    @property
    def room_streams(self) -> Mapping[str, int]:
        """Streams of rooms by room key."""
        if self._rooms is None:
            self._rooms = {one.target: i for i, one in enumerate(self.streams) if one.to is PublishTo.ROOM}
        return self._rooms

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

    def _client(self, index: int, number: int, population: Population, i: int) -> ClientPlan:
        room = population.rooms[i % len(population.rooms)] if population.rooms else ""
        mid = 0 if population.mids is None else population.mids + i
        key = "" if population.keys is None else f"{population.keys}{i}"
        token = AuthToken(mid, key, room, "imctl", population.accepts)
        wanted = [(PublishTo.ROOM, room, 0)] if room else []
        for op in population.accepts:
            wanted += [(PublishTo.ALL, "", op), (PublishTo.MID, str(mid), op), (PublishTo.KEY, key, op)]
        streams = tuple(self._ids[one] for one in wanted if one in self._ids)
        # Spread evenly, and over every room: walk the shares like Bresenham's line.
        share = population.tcp_share
        rooms = max(len(population.rooms), 1)
        step = i // rooms + i % rooms  # in one room it goes up by one, and so it does over the rooms' first members
        is_ws = int((step + 1) * share + 1e-9) == int(step * share + 1e-9)
        return ClientPlan(index, number, is_ws, token, streams)


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
    for client in plan.clients():
        for stream in client.streams:
            plan.streams[stream].members += 1
    return plan


def _targets(scenario: Scenario, publisher: Publisher) -> tuple[str, ...]:
    if publisher.to is PublishTo.ALL:
        return ("",)
    population = scenario.population(publisher.population)
    match publisher.to:
        case PublishTo.ROOM:
            return tuple(dict.fromkeys(population.rooms))
        case PublishTo.MID:
            return tuple(str((population.mids or 0) + i) for i in range(population.count))
        case _:
            return tuple(f"{population.keys}{i}" for i in range(population.count))
