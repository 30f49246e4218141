"""Clusters with hooks of tests, and users of them over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from imctl.cluster.inprocess import LocalCluster
from imctl.hooks.context import HookContext
from imctl.hooks.contract import (
    ClientEvent,
    ConnectEvent,
    HookError,
    Identity,
    PushEvent,
    ReceiveEvent,
    ReceiveReply,
    Refusal,
    RoomEvent,
    RoomReply,
    StoreReply,
)
from protocol.aio import Client
from protocol.bodies import AuthToken

__all__ = [
    "Bouncer",
    "Gate",
    "HOOKS",
    "Tokens",
    "Witness",
    "cluster_with",
    "connect",
    "counters_of",
    "drops",
    "push",
    "user",
]

HOOKS = __name__


class Gate:
    """Lets users with an odd mid into vip rooms, for as long as `open` says so."""

    open = True
    asked: list[RoomEvent]

    def __init__(self, again_s: float = 0.0) -> None:
        self.again_s = again_s
        Gate.open, Gate.asked = True, []

    async def enter_room(self, event: RoomEvent) -> RoomReply:
        Gate.asked.append(event)
        if not event.room.startswith("vip://"):
            return RoomReply(True)
        return RoomReply(Gate.open and event.mid % 2 == 1, "not_vip", self.again_s)


class Tokens:
    """Tokens of tests: `user N`, and some that make the hook misbehave."""

    async def authenticate(self, event: ConnectEvent) -> Any:
        word, _, rest = event.token.decode().partition(" ")
        match word:
            case "user":
                return Identity(int(rest), accepts=(1000,), grant=b"granted")
            case "hang":
                await asyncio.Event().wait()
            case "raise":
                raise RuntimeError("oops")
            case "exit":
                raise SystemExit(3)
            case "wrong":
                return "not an identity"
            case "refused":
                return Refusal("expired")
        return None


class Bouncer:
    """Throws out every user it is told of, before or after its comet routes to the session."""

    async def start(self, context: HookContext) -> None:
        self.context = context

    async def connected(self, event: ClientEvent) -> None:
        deliverer = self.context.deliverer
        assert await deliverer.kick(event.server, [event.key], "banned", sessions=[event.session])


class Witness:
    """Writes down what it is told, and keeps pushes to user 9."""

    told: list[tuple[str, ClientEvent]]
    kept: list[PushEvent]
    received: list[ReceiveEvent]
    context: HookContext

    def __init__(self) -> None:
        Witness.told, Witness.kept, Witness.received = [], [], []

    async def start(self, context: HookContext) -> None:
        Witness.context = context

    async def connected(self, event: ClientEvent) -> None:
        Witness.told.append(("connected", event))

    async def registered(self, event: ClientEvent) -> None:
        Witness.told.append(("registered", event))

    async def disconnected(self, event: ClientEvent) -> None:
        Witness.told.append(("disconnected", event))

    async def receive(self, event: ReceiveEvent) -> ReceiveReply:
        Witness.received.append(event)
        return ReceiveReply()

    async def store_message(self, event: PushEvent) -> StoreReply:
        if event.body == b"full":
            raise HookError("the disk is full")
        Witness.kept.append(event)
        return StoreReply(frozenset({9}) & frozenset(event.mids))


@asynccontextmanager
async def cluster_with(*hooks: str, comets: int = 1, **logic: Any) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(comets=comets, settings={"logic": {"hooks": hooks, **logic}}) as cluster:
        yield cluster


async def connect(cluster: LocalCluster, token: AuthToken | bytes, comet: int = 0, *, ws: bool = False) -> Client:
    host, _, port = (cluster.ws if ws else cluster.tcp_all[comet]).rpartition(":")
    open_client = Client.connect_ws if ws else Client.connect_tcp
    return await open_client(host, int(port), token)


def user(mid: int, room: str = "", key: str = "") -> AuthToken:
    return AuthToken(mid=mid, room_id=room, key=key, accepts=(1000,))


async def push(cluster: LocalCluster, where: str, body: bytes) -> dict[str, Any]:
    url = f"http://{cluster.http}/goim/push/{where}operation=1000"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as reply:
        found: dict[str, Any] = await reply.json(content_type=None)
        return found


def counters_of(cluster: LocalCluster) -> dict[str, int]:
    return cluster.node("logic").stats()["counters"]  # type: ignore[return-value]  # it is one of counts


def drops(cluster: LocalCluster) -> dict[str, int]:
    return cluster.node("logic").stats()["drops"]  # type: ignore[return-value]  # it is one of counts
