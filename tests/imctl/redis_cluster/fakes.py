"""Nodes of a cluster that say what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis

from imctl.bus.resp import RedisAddress
from imctl.redis_cluster.slots import SLOTS

__all__ = ["FakeCluster", "FakeNode", "bulk", "cluster"]

Answer = Callable[[list[str]], "bytes | None"]
"""Of a command, as it goes over the wire; None for none, which closes the connection."""


class FakeNode:
    """A listener on loopback; `answer` may be replaced at any time.

    Args:
        name: What it answers to every command, by default.
        cluster: Whose node it is.
    """

    def __init__(self, name: str, cluster: FakeCluster) -> None:
        self.name = name
        self.commands: list[list[str]] = []
        """All but those every connection begins with, and those about the cluster."""
        self.answer: Answer = lambda command: bulk(name)
        self.info: bytes = b"cluster_state:ok\r\n"
        self.is_mute = False
        self.looks = 0
        self.address = RedisAddress("127.0.0.1", 0)
        self._cluster = cluster
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen, on the port that it had before if it did."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.address.port)
        self.address = RedisAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the listener and all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self.hang_up()
            await server.wait_closed()

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        parser = hiredis.Reader(encoding="utf-8")
        try:
            while data := await reader.read(65536):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    reply = self._reply(command)
                    if reply is None:
                        return
                    writer.write(reply)
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _reply(self, command: list[str]) -> bytes | None:
        if self.is_mute:
            return b""
        if command[0] == "PING":
            return b"+PONG\r\n"
        if command[0] == "CLUSTER":
            self.looks += command[1] == "SLOTS"
            return bulk(self.info.decode()) if command[1] == "INFO" else self._cluster.slots()
        self.commands.append(command)
        return b"+OK\r\n" if command[0] == "ASKING" else self.answer(command)


class FakeCluster:
    """Nodes, and which slots they say that they have."""

    def __init__(self, count: int) -> None:
        self.nodes = [FakeNode(chr(ord("a") + number), self) for number in range(count)]
        self.ranges = [
            (SLOTS * number // count, SLOTS * (number + 1) // count - 1, node) for number, node in enumerate(self.nodes)
        ]

    def slots(self) -> bytes:
        """Return the reply to CLUSTER SLOTS."""
        entries = [
            b"*3\r\n:%d\r\n:%d\r\n*3\r\n%s:%d\r\n%s"
            % (first, last, bulk("127.0.0.1"), node.address.port, bulk(node.name))
            for first, last, node in self.ranges
        ]
        return b"*%d\r\n" % len(entries) + b"".join(entries)


def bulk(text: str) -> bytes:
    data = text.encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


@asynccontextmanager
async def cluster(count: int = 2) -> AsyncIterator[Any]:
    """Start nodes; yields them with the cluster first. Any: as many as asked for."""
    made = FakeCluster(count)
    for node in made.nodes:
        await node.start()
    try:
        yield made, *made.nodes
    finally:
        for node in made.nodes:
            await node.stop()
