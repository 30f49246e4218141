"""A whole job: a bus, comets behind real sockets, a registry that the test sets."""

from __future__ import annotations

import asyncio
from typing import Any

from imctl.bus.memory import MemoryBus
from imctl.job.config import JobConfig
from imctl.job.node import Job
from imctl.link.methods import BROADCAST, BROADCAST_ROOM, PUSH_MSG
from imctl.link.server import LinkServer
from protocol.frame import parse_frames
from protocol.pb import comet, logic
from tests.imctl.link.fakes import FakeRegistry, instance, serve

__all__ = ["APP", "Bench", "FakeComet", "PushMsg", "bodies", "gauges", "push", "room"]

APP = "goim.comet"
PushMsg = logic.PushMsg


class FakeComet:
    """Writes down the bodies it gets; `hold` makes it answer only when the event is set."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.pushed: list[bytes] = []
        self.rooms: list[bytes] = []
        self.broadcasts: list[int] = []
        self.hold: asyncio.Event | None = None
        self.server: LinkServer | None = None
        self.handlers = {PUSH_MSG: self.push, BROADCAST: self.broadcast, BROADCAST_ROOM: self.room}

    async def start(self, *, local: bool = False, port: int = 0) -> None:
        self.server = await serve(self.handlers, local=local, port=port)

    def instance(self, *, batched: bool = True) -> Any:
        assert self.server is not None
        return instance(APP, self.hostname, self.server.address, batched=batched)

    def push(self, request: Any) -> Any:
        if self.hold is not None:
            return self.held(request, self.hold)
        self.pushed += bodies(request)
        return comet.PushMsgReply()

    async def held(self, request: Any, hold: asyncio.Event) -> Any:
        await hold.wait()
        self.pushed += bodies(request)
        return comet.PushMsgReply()

    def broadcast(self, request: Any) -> Any:
        self.broadcasts.append(request.speed)
        return comet.BroadcastReply()

    def room(self, request: Any) -> Any:
        self.rooms += bodies(request)
        return comet.BroadcastRoomReply()


def bodies(request: Any) -> list[bytes]:
    frames, end = parse_frames(request.proto.body)
    assert end == len(request.proto.body)
    return [frame.body for frame in frames]


def push(server: str, text: str) -> bytes:
    return PushMsg(operation=1000, server=server, keys=["k"], msg=text.encode()).SerializeToString()


def room(text: str, key: str = "live://1") -> bytes:
    return PushMsg(type=PushMsg.ROOM, operation=1000, room=key, msg=text.encode()).SerializeToString()


class Bench:
    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.bus = MemoryBus()
        self.jobs: list[Job] = []
        self.comets: dict[str, FakeComet] = {}

    async def comet(self, hostname: str, **how: Any) -> FakeComet:
        fake = self.comets[hostname] = FakeComet(hostname)
        await fake.start(**how)
        return fake

    def register(self, *hostnames: str, batched: bool = True) -> None:
        self.registry.set(APP, *(self.comets[name].instance(batched=batched) for name in hostnames))

    async def job(self, **settings: Any) -> Job:
        job = Job(JobConfig(**settings), registry=self.registry, bus=self.bus)
        self.jobs.append(job)
        await job.start()
        return job

    async def close(self) -> None:
        for job in self.jobs:
            await job.stop(0)
        for fake in self.comets.values():
            if fake.hold is not None:
                fake.hold.set()
            assert fake.server is not None
            await fake.server.stop(0.1)
        await self.bus.close()


def gauges(job: Job) -> dict[str, Any]:
    found = job.stats()["gauges"]
    assert isinstance(found, dict)
    return found
