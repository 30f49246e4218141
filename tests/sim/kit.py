"""Scenarios, bytes and small servers for tests of the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from protocol.bodies import AuthToken, parse_token
from protocol.decoder import FrameDecoder
from protocol.errors import RemoteError
from protocol.frame import Frame, pack_frame
from protocol.operation import Operation
from protocol.raw import wrap_batch
from protocol.websocket import ServerDecoder, serialize_message
from sim.clients.client import SimClient
from sim.clients.plan import make_plan
from sim.clients.swarm import Swarm
from sim.measure.histogram import Histogram
from sim.measure.ledger import Delivery
from sim.publish.feeder import Feed
from sim.publish.stamp import make_body
from sim.run.target import Target
from sim.scenario.scenario import Event, Expectation, Phase, Population, Publisher, PublishTo, Scenario, Transport

RUN = 7
ROOM, ALL = 0, 1
"""Streams of the scenario that scenario_of() makes when nothing else is asked for."""

NOWHERE = Target("nowhere", (("127.0.0.1", 1),), (("127.0.0.1", 1),), (("127.0.0.1", 1),))


def scenario_of(
    *,
    count: int = 3,
    ws: bool = False,
    rooms: Sequence[str] = ("live://1",),
    publish: Sequence[Publisher] | None = None,
    phases: Sequence[Phase] = (Phase("steady", 1.0),),
    expect: Sequence[Expectation] = (),
    seed: int = 1,
    events: Sequence[Event] = (),
    feeds: Sequence[Feed] = (),
    **population: object,
) -> Scenario:
    """Return a scenario of one population and, by default, two publishers: to its rooms, and to all."""
    transports = ((Transport.WS if ws else Transport.TCP, 1.0),)
    people = Population("viewers", count, transports, tuple(rooms), **population)  # type: ignore[arg-type]  # as the test gives them
    if publish is None:
        publish = (Publisher(PublishTo.ROOM, "viewers", 50.0), Publisher(PublishTo.ALL, "", 10.0))
    return Scenario(
        "test",
        seed,
        (people,),
        tuple(publish),
        tuple(phases),
        tuple(expect),
        events=tuple(events),
        feeds=tuple(feeds),
    )


def message(stream: int, sequence: int, intended_ns: int = 1, *, run: int = RUN, size: int = 64) -> Frame:
    """Return a pushed frame as clients see it."""
    return Frame(1, 1000, 0, make_body(run, stream, sequence, intended_ns, size))


def wire(frames: Sequence[Frame], *, ws: bool) -> bytes:
    """Return frames as comet sends one push of them: bare over TCP, in one op 9 message over WebSocket."""
    batch = b"".join(frame.pack() for frame in frames)
    return serialize_message(wrap_batch(batch)) if ws else batch


AUTH_REPLY = pack_frame(Operation.AUTH_REPLY)


def auth_reply(*, ws: bool) -> bytes:
    return serialize_message(AUTH_REPLY) if ws else AUTH_REPLY


class FakeTransport(asyncio.Transport):
    """Keeps what is written, and whether its client reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.aborted = False
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


def swarm_of(scenario: Scenario, target: Target = NOWHERE, *, part: int = 0, parts: int = 1) -> Swarm:
    return Swarm(make_plan(scenario), target, run=RUN, part=part, parts=parts)


def joined_swarm(scenario: Scenario, *, part: int = 0, parts: int = 1) -> Swarm:
    """Return a swarm whose clients have authenticated, without any connection."""
    swarm = swarm_of(scenario, part=part, parts=parts)
    for client in swarm.clients:
        join(client)
    return swarm


def totals(swarm: Swarm) -> list[Delivery]:
    """Return the counts of each segment, over all populations and publishers."""
    rows = [row for tally in swarm.tallies for row in tally.deliveries.values()]
    found = [Delivery() for _ in range(len(swarm.cells.segments))]
    for row in rows:
        for segment, delivery in enumerate(row):
            found[segment].add(delivery)
    return found


def latencies(swarm: Swarm) -> list[Histogram]:
    """Return the latencies of each segment, as totals()."""
    found = [Histogram() for _ in range(len(swarm.cells.segments))]
    for tally in swarm.tallies:
        for cell, histogram in tally.latency.items():
            found[swarm.cells.split(cell)[1]].merge(histogram)
    return found


def join(client: SimClient) -> None:
    """Let a client authenticate without a connection."""
    client.connection_made(FakeTransport())
    client.upgrade = None
    client.data_received(auth_reply(ws=client.plan.is_ws))
    assert client.is_in


class Connection:
    """A client as ScriptedComet sees it."""

    def __init__(self, writer: asyncio.StreamWriter, token: AuthToken, *, ws: bool) -> None:
        self.writer = writer
        self.token = token
        self.ws = ws

    def send(self, *frames: Frame) -> None:
        """Send frames as one push."""
        self.writer.write(wire(frames, ws=self.ws))


class ScriptedComet:
    """A comet of a few lines that sends each client what the test says.

    Args:
        ws: Speak WebSocket.
        answer: What follows an op 7; b"" for nothing, None to close the connection. A test may change it.
        then_close: Close right after the answer.
    """

    def __init__(self, *, ws: bool = False, answer: bytes | None = AUTH_REPLY, then_close: bool = False) -> None:
        self.ws = ws
        self.answer = answer
        self.then_close = then_close
        self.connections: list[Connection] = []
        self.heartbeats = 0
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @property
    def target(self) -> Target:
        here = (("127.0.0.1", self.port),)
        return Target("scripted", here, here, here)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        decoder: ServerDecoder | FrameDecoder = ServerDecoder() if self.ws else FrameDecoder()
        try:
            while data := await reader.read(65536):
                decoder.feed(data)
                if isinstance(decoder, ServerDecoder):
                    writer.write(decoder.take_output())
                while (frame := decoder.next_frame()) is not None:
                    if not self._take(frame, writer):
                        return
        except (RemoteError, ConnectionError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def _take(self, frame: Frame, writer: asyncio.StreamWriter) -> bool:
        if frame.op == Operation.HEARTBEAT:
            self.heartbeats += 1
            reply = pack_frame(Operation.HEARTBEAT_REPLY, b"\0\0\0\1")
            writer.write(serialize_message(reply) if self.ws else reply)
            return True
        if frame.op in (Operation.CHANGE_ROOM, Operation.SUB, Operation.UNSUB):
            reply = pack_frame(frame.op + 1, frame.body)
            writer.write(serialize_message(reply) if self.ws else reply)
            return True
        if self.answer is None:
            return False
        if self.answer:
            writer.write(serialize_message(self.answer) if self.ws else self.answer)
        self.connections.append(Connection(writer, parse_token(frame.body), ws=self.ws))
        return not self.then_close


Answer = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]


class ScriptedLogic:
    """An HTTP server that answers pushes as `answer(path and query, body)` says: status and body."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    int(line.partition(":")[2])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length")
                )
                body = await reader.readexactly(length)
                status, answer = await self.answer(head.split(" ", 2)[1], body)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return once the condition holds; for what sockets bring, which no event here tells of."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.005)


async def turns(count: int = 20) -> None:
    """Return when the loop has read its sockets so many times: what was under way has arrived, however busy it is."""
    for _ in range(count):
        await asyncio.sleep(0.001)
