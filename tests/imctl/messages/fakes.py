"""Comets that tests steer by hand, and the context of a hook over them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence

from imctl.hooks.context import Delivery, HookContext, Message
from imctl.hooks.contract import ClientEvent, PushEvent, PushTarget, ReceiveEvent
from imctl.messages.contract import Waiting
from imctl.messages.offline import OfflineMessages
from imctl.node import Counters
from imctl.store.holding import LocalHolds
from tests.services import brokers

__all__ = ["FakeComets", "acknowledgement", "context_of", "mid_push", "push", "room_push", "until", "until_queue"]


class FakeComets:
    """Follows Deliverer; clients are where `add` puts them."""

    def __init__(self) -> None:
        self.clients: dict[tuple[str, str], list[Message]] = {}
        self.users: dict[int, dict[str, str]] = {}
        self.away: set[str] = set()
        self.full: dict[str, int] = {}  # key -> how often still
        self.calls: list[tuple[str, str, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_gate = asyncio.Event()
        self.changed = asyncio.Condition()
        self.in_flight: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self.session_ids: dict[tuple[str, str], int] = {}
        self.finds: list[tuple[str, str]] = []
        self.go_comets: set[str] = set()
        self.overlaps = 0  # deliveries that began while another one to the same connection was under way

    def add(self, mid: int, key: str, server: str = "comet-1", *, routed: bool = True) -> ClientEvent:
        """Connect a client; return what a hook is told of it. One that is not routed is only in the session store."""
        session = self.session_ids[server, key] = next(self._numbers)
        if routed:
            self.clients[server, key] = []
        self.users.setdefault(mid, {})[key] = server
        return ClientEvent(mid, key, server, session=session)

    def remove(self, event: ClientEvent) -> None:
        self.clients.pop((event.server, event.key), None)
        self.users.get(event.mid, {}).pop(event.key, None)

    def got(self, key: str, server: str = "comet-1") -> list[tuple[int, str]]:
        """Return what a client has got: (seq, body)."""
        return [(message.seq, message.body.decode()) for message in self.clients[server, key]]

    async def deliver(self, server: str, key: str, messages: Sequence[Message], *, mid: int = 0) -> Delivery:
        if not messages:
            return self._deliver(server, key, messages)
        self.overlaps += self.in_flight.get(key, 0)
        self.in_flight[key] = 1
        try:
            self.at_gate.set()
            await self.gate.wait()
            await asyncio.sleep(0)
            return self._deliver(server, key, messages)
        finally:
            self.in_flight[key] = 0
            async with self.changed:
                self.changed.notify_all()

    def _deliver(self, server: str, key: str, messages: Sequence[Message]) -> Delivery:
        assert len(messages) <= 100
        self.calls.append((server, key, len(messages)))
        if server in self.away:
            return Delivery.UNREACHABLE
        if (server, key) not in self.clients:
            return Delivery.UNKNOWN
        if messages and self.full.get(key):
            self.full[key] -= 1
            return Delivery.FULL
        self.clients[server, key] += messages
        return Delivery.TAKEN

    async def find(self, server: str, key: str, *, mid: int = 0) -> tuple[Delivery, int]:
        self.finds.append((server, key))
        if server in self.go_comets:
            return Delivery.TAKEN, 0
        result = self._deliver(server, key, ())
        return result, self.session_ids[server, key] if result is Delivery.TAKEN else 0

    async def sessions(self, mids: Sequence[int]) -> Mapping[int, Mapping[str, str]]:
        return {mid: dict(self.users[mid]) for mid in mids if self.users.get(mid)}

    async def kick(self, server: str, keys: Sequence[str], reason: str) -> bool:
        raise NotImplementedError

    async def wait_for(self, key: str, count: int, server: str = "comet-1") -> list[tuple[int, str]]:
        """Return what a client has got once it has got so many messages."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: len(self.clients[server, key]) >= count)
        return self.got(key, server)


def context_of(comets: FakeComets, counters: Counters, holds: LocalHolds | None = None) -> HookContext:
    """Return the context of a hook; `counters` gets counts, and drops with `drop.` in front."""
    return HookContext(
        name="offline",
        logic="logic-1",
        deliverer=comets,
        hold=(holds or LocalHolds()).hold,
        count=counters.add,
        drop=lambda reason, count: counters.add(f"drop.{reason}", count),
        logger=logging.getLogger("tests.messages"),
    )


def mid_push(comets: FakeComets, *mids: int, body: str = "x", operation: int = 1000) -> PushEvent:
    sessions = {mid: dict(comets.users[mid]) for mid in mids if comets.users.get(mid)}
    return PushEvent(PushTarget.MIDS, operation, body.encode(), mids=mids, sessions=sessions)


def room_push(room: str, body: str = "x") -> PushEvent:
    return PushEvent(PushTarget.ROOM, 1000, body.encode(), room=room)


def acknowledgement(mid: int, seq: int, key: str = "k") -> ReceiveEvent:
    return ReceiveEvent(mid, key, 100, seq, b"")


async def until(counters: Counters, name: str, count: int) -> None:
    """Return once something has been counted so often."""
    await brokers.until(lambda: counters.values.get(name, 0) >= count, 20)


async def until_queue(hook: OfflineMessages, mid: int, condition: Callable[[Waiting], object]) -> Waiting:
    """Return a user's queue once it is as wanted; for work in the background, which tells nobody."""
    async with asyncio.timeout(20):
        for _ in itertools.count():
            queue = await hook.offline(mid)
            if condition(queue):
                return queue
            await asyncio.sleep(0.005)
    raise AssertionError


async def push(hook: OfflineMessages, comets: FakeComets, mid: int, *bodies: str) -> list[bool]:
    """Push bodies to a user one after the other; return for each whether it was kept."""
    return [mid in (await hook.store_message(mid_push(comets, mid, body=body))).handled for body in bodies]
