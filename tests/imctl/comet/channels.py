"""Channels of a comet over transports and a logic that tests steer by hand."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from imctl.comet.channel import Channel
from imctl.comet.config import CometConfig
from imctl.comet.sessions import TICK_S, Sessions
from imctl.comet.timers import RunningClock
from protocol.frame import pack_frame
from protocol.operation import Operation
from protocol.pb import logic as pb
from tests.imctl.comet.raw import auth

__all__ = ["AUTH_REPLY", "Logic", "Setup", "Transport", "connected"]

AUTH_REPLY = pack_frame(Operation.AUTH_REPLY, seq=1)


class Transport:
    """A transport whose kernel takes nothing while `stuck`; direct when it has a socket."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        self.sock = sock
        self.out = b""
        self.waiting = b""
        self.stuck = False
        self.closing = False
        self.aborted = False
        self.paused = False
        self.limits: int | None = None
        self.channel: Channel

    def get_extra_info(self, name: str) -> Any:
        tls = object() if self.sock is None else None
        return {"socket": self.sock, "sslcontext": tls, "peername": ("10.1.2.3", 5)}.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        self.limits = high

    def write(self, data: bytes) -> None:
        if not self.stuck:
            self.out += data
            return
        self.waiting += data
        self.channel.pause_writing()

    def unstick(self) -> None:
        self.stuck = False
        self.out, self.waiting = self.out + self.waiting, b""
        self.channel.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class Logic:
    """Stands for the PeerPool: every call is a future the test completes."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, asyncio.Future[Any]]] = []

    def call(self, method: Any, request: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.calls.append((method, request, future))
        return future

    def named(self, method: Any) -> list[Any]:
        return [request for called, request, _ in self.calls if called is method]

    async def answer(self, reply: Any) -> None:
        future = self.calls[-1][2]
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)
        await asyncio.sleep(0)  # the callbacks of a future run in the next turn


class Setup:
    def __init__(self, **settings: Any) -> None:
        self.logic = Logic()
        self.sessions = Sessions(CometConfig(hostname="c1", **settings), self.logic)
        self.now_s = 1000.0
        self.sessions.clock = RunningClock(lambda: self.now_s, TICK_S)

    def run_for(self, seconds: float) -> None:
        """Let time pass, with the comet looking at its clients every tick."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            self.sessions.end_overdue()

    def connect(self, transport: Transport | None = None, *, is_ws: bool = False) -> tuple[Channel, Transport]:
        transport = transport or Transport()
        channel = transport.channel = Channel(self.sessions, is_ws=is_ws)
        channel.connection_made(transport)
        return channel, transport

    async def login(
        self, transport: Transport | None = None, *, key: str = "k", room: str = "", heartbeat_s: float = 60.0
    ) -> tuple[Channel, Transport]:
        channel, transport = self.connect(transport)
        channel.data_received(auth(key=key, mid=4))
        await self.logic.answer(connected(key=key, room=room, heartbeat_s=heartbeat_s))
        return channel, transport

    @property
    def counters(self) -> dict[str, int]:
        return self.sessions.counters.values

    @property
    def drops(self) -> dict[str, int]:
        return self.sessions.drops.values


def connected(*, key: str = "k", room: str = "", heartbeat_s: float = 60.0, accepts: tuple[int, ...] = ()) -> Any:
    return pb.ConnectReply(mid=4, key=key, roomID=room, accepts=accepts, heartbeat=int(heartbeat_s * 1e9))
