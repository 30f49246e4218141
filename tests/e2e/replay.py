"""Playing the client's side of a recorded dialogue against a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from imctl.cluster.inprocess import LocalCluster
from protocol.frame import Frame
from protocol.raw import flatten
from tests.imctl.comet.raw import Raw, http_post

__all__ = ["LATE_S", "SCALE", "Player", "application", "received", "replay_one"]

SCALE = 0.1
"""Recorded times are replayed at a tenth: the handshake timer of 8 s is 0.8 s here."""
LATE_S = 5.0
"""A timer ends a connection at most this much late on a busy machine; its own grain is 0.1 s."""


async def replay_one(steps: list[dict[str, Any]], address: str, *, scale: float = 0.0) -> tuple[bytes, str, float]:
    """Send what was sent, each time after what was received before it; return bytes, how it ended, and when in ms."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    wanted = 0
    async with await Raw.connect(address, is_ws=False) as client:
        for step in steps:
            if scale:
                await asyncio.sleep(begin + step["t_ms"] / 1000 * scale - loop.time() if "send" in step else 0)
            if "send" in step and not client.closed:
                client.write(bytes.fromhex(step["send"]))
            elif "recv" in step:
                wanted += len(step["recv"]) // 2
                await client.read_total(wanted)
            elif "closed" in step:
                await client.read_to_end()
            elif step.get("note") in ("client closes", "client shuts down writing"):
                # The server ends both ways too, and what it had to say comes first.
                client.writer.write_eof()
        ended_ms = 0.0
        if not client.closed:
            await client.read_to_end()
        ended_ms = (loop.time() - begin) * 1000
        return client.data, client.closed, ended_ms


def received(steps: list[dict[str, Any]]) -> bytes:
    return b"".join(bytes.fromhex(step["recv"]) for step in steps if "recv" in step)


class Player:
    """Replays a dialogue of several connections; what each client's application saw is in `seen`.

    Args:
        cluster: What it is replayed against.
        is_ws: Whether its clients use WebSocket; one named T or W has its own transport.
        on_note: What to do at a note.
    """

    def __init__(
        self, cluster: LocalCluster, *, is_ws: bool, on_note: Mapping[str, Callable[[], object]] | None = None
    ) -> None:
        self.on_note = on_note or {}
        self.cluster = cluster
        self.is_ws = is_ws
        self.clients: dict[str, Raw] = {}
        self.seen: dict[str, list[Frame]] = {}

    async def play(self, dialogue: dict[str, Any]) -> None:
        wanted: dict[str, list[Frame]] = {}
        for step in dialogue["steps"]:
            conn = step.get("conn", "")
            if step.get("note") == "connect":
                is_ws = conn == "W" or (self.is_ws and conn != "T")
                address = self.cluster.ws if is_ws else self.cluster.tcp
                self.clients[conn] = await Raw.connect(address, is_ws=is_ws, upgrade=False)
                self.seen[conn] = []
            if (what := self.on_note.get(step.get("note", ""))) is not None:
                await asyncio.to_thread(what)
            if "send" in step:
                self.clients[conn].write(bytes.fromhex(step["send"]))
            if "recv" in step:
                wanted[conn] = self.expected(dialogue, conn, until=step)
                await self.catch_up(conn, len(wanted[conn]))
            if "closed" in step:
                await self.clients[conn].read_to_end()
            if isinstance(step.get("http"), dict):
                # 25 requests are recorded as their first and last one.
                first = step.get("note", "").startswith("first of 25")
                last = step.get("note", "").startswith("last of 25")
                bodies = [b'{"n":%d}' % n for n in range(25)] if first else [] if last else [body_of(step)]
                for body in bodies:
                    await self.push(step["http"], body)

    async def push(self, http: dict[str, Any], body: bytes) -> None:
        request, response = http["request"], http["response"]
        wanted = (response["status"], response["body"])
        async with asyncio.timeout(10):
            while True:
                status, answer = await http_post(self.cluster.http, request["url"], body, request["method"])
                # What is counted over all comets comes a little later; so it was recorded after a pause.
                if request["method"] != "GET" or (status, answer.decode()) == wanted:
                    break
                await asyncio.sleep(0.01)
        assert (status, answer.decode()) == wanted

    def expected(self, dialogue: dict[str, Any], conn: str, until: dict[str, Any] | None = None) -> list[Frame]:
        """Return the frames that goim's client had received by a step."""
        data = b""
        for step in dialogue["steps"]:
            if step.get("conn") == conn and "recv" in step:
                data += bytes.fromhex(step["recv"])
            if step is until:
                break
        return application(data, is_ws=self.clients[conn].is_ws)

    async def catch_up(self, conn: str, count: int) -> None:
        client = self.clients[conn]
        while len(application(client.data, is_ws=client.is_ws)) < count:
            assert await client.read(), f"{conn} was closed"

    async def end(self) -> dict[str, list[Frame]]:
        """Let every client finish, and return what each saw."""
        for conn, client in self.clients.items():
            if not client.closed:
                client.writer.write_eof()
            await client.read_to_end()
            self.seen[conn] = application(client.data, is_ws=client.is_ws)
        return self.seen

    async def aclose(self) -> None:
        for client in self.clients.values():
            await client.close()


def body_of(step: dict[str, Any]) -> bytes:
    request = step["http"]["request"]
    return bytes.fromhex(request["body_hex"]) if "body_hex" in request else request.get("body", "").encode()


def application(data: bytes, *, is_ws: bool) -> list[Frame]:
    """Return the frames an application sees in what a client received, containers of WebSocket unwrapped."""
    client = Raw(None, None, is_ws=is_ws)  # decodes only
    if is_ws:
        _, _, data = data.partition(b"\r\n\r\n")
    client.feed(data)
    if not is_ws:
        return list(client.frames)
    return [inner for frame in client.frames for inner in flatten(frame)]
