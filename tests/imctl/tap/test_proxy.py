from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from imctl.decode.traffic import Side
from imctl.errors import StartError
from imctl.tap import Accepted, Finished, Gone, Passed, Refused, Tap, TapEvent
from imctl.tap.proxy import _Link

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


class Rig:
    """A server, a tap before it, and what the tap saw."""

    def __init__(self) -> None:
        self.events: list[TapEvent] = []
        self._more = asyncio.Event()
        self.tap: Tap
        self.here = ("", 0)

    def watch(self, event: TapEvent) -> None:
        self.events.append(event)
        self._more.set()

    async def until(self, kind: type[TapEvent], count: int = 1) -> TapEvent:
        """Wait for as many events of a kind; return the last one."""
        while len(found := [event for event in self.events if isinstance(event, kind)]) < count:
            self._more.clear()
            await self._more.wait()
        return found[-1]

    async def connect(self) -> Streams:
        return await asyncio.open_connection(*self.here)

    def passed(self, side: Side) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Passed) and event.side is side)


@asynccontextmanager
async def tapped(serve: Serve) -> AsyncIterator[Rig]:
    rig = Rig()
    handlers: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def handle() -> None:
            try:
                await serve(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()

        task = asyncio.ensure_future(handle())
        handlers.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    rig.tap = Tap(server.sockets[0].getsockname(), [rig.watch])
    rig.here = await rig.tap.start("127.0.0.1", 0)
    try:
        yield rig
    finally:
        await rig.tap.stop()
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    own = writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_bytes_pass_unchanged_both_ways_and_are_seen_after():
    async with tapped(echo) as rig:
        reader, writer = await rig.connect()
        sent = bytes(range(256)) * 1000

        writer.write(sent)
        got = await reader.readexactly(len(sent))
        writer.close()
        gone = await rig.until(Gone)

    assert got == sent
    assert (rig.passed(Side.CLIENT), rig.passed(Side.COMET)) == (sent, sent)
    assert isinstance(rig.events[0], Accepted)
    assert rig.events[0].comet == rig.tap.to[:2]
    assert isinstance(gone, Gone)
    assert (gone.side, gone.reset) == (Side.CLIENT, False)


async def test_half_a_close_is_passed_on_and_the_other_half_still_works():
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(b"all of " + data)

    async with tapped(answer_at_the_end) as rig:
        reader, writer = await rig.connect()
        writer.write(b"it")
        writer.write_eof()
        got = await reader.read()
        writer.close()
        await rig.until(Gone)

    assert got == b"all of it"
    assert [event.side for event in rig.events if isinstance(event, Finished)] == [Side.CLIENT, Side.COMET]


async def test_a_comet_that_closes_is_told_as_such():
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with tapped(leave) as rig:
        reader, writer = await rig.connect()
        writer.write(b"x")
        assert await reader.read() == b""
        writer.close()
        gone = await rig.until(Gone)

    assert isinstance(gone, Gone)
    assert (gone.side, gone.reset) == (Side.COMET, False)


async def test_a_reset_of_the_comet_reaches_the_client():
    async def reset_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset(writer)

    async with tapped(reset_it) as rig:
        reader, writer = await rig.connect()
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        gone = await rig.until(Gone)

    assert isinstance(gone, Gone)
    assert (gone.side, gone.reset) == (Side.COMET, True)


async def test_a_reset_of_the_client_reaches_the_comet():
    seen: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionError as exc:
            seen.set_result(exc)

    async with tapped(wait) as rig:
        _, writer = await rig.connect()
        writer.write(b"x")
        await rig.until(Passed)
        reset(writer)
        gone = await rig.until(Gone)
        error = await seen

    assert isinstance(error, ConnectionResetError)
    assert isinstance(gone, Gone)
    assert (gone.side, gone.reset) == (Side.CLIENT, True)


async def test_a_side_that_does_not_read_makes_the_other_wait():
    release = asyncio.Event()
    read: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        got = 0
        while data := await reader.read(65536):
            got += len(data)
        read.set_result(got)

    async with tapped(read_late) as rig:
        _, writer = await rig.connect()
        total = 64 * 1024 * 1024
        writer.transport.set_write_buffer_limits(high=total // 2)
        writer.write(bytes(total))
        # The client's half is not gone before the sockets between have taken so much, which they never do.
        drained = asyncio.create_task(writer.drain())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(drained), 0.3)
        waiting = total - len(rig.passed(Side.CLIENT))
        release.set()
        writer.write_eof()

        assert waiting > total // 2
        assert await read == total
        await drained
        writer.close()


async def test_a_comet_that_is_not_there_costs_only_that_client():
    async with tapped(echo) as rig:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            right, rig.tap.to = rig.tap.to, unused.getsockname()
            reader, writer = await rig.connect()
            writer.write(b"early bytes")
            assert await reader.read() == b""
            refused = await rig.until(Refused)
            writer.close()
        rig.tap.to = right

        reader, writer = await rig.connect()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()
        await rig.until(Gone)

    assert isinstance(refused, Refused)
    assert refused.why
    assert (rig.tap.accepted, rig.tap.refused) == (2, 1)


async def test_stopping_ends_both_sides():
    async with tapped(echo) as rig:
        reader, writer = await rig.connect()
        writer.write(b"x")
        await reader.readexactly(1)

        await rig.tap.stop()
        assert await reader.read() == b""
        writer.close()

    [gone] = [event for event in rig.events if isinstance(event, Gone)]
    assert (gone.side, gone.reset) == (None, False)


async def test_an_address_that_is_taken_is_an_error_that_says_so():
    async with tapped(echo) as rig:
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{rig.here[1]}: .*in use"):
            await Tap(("127.0.0.1", 1), []).start(*rig.here)


async def test_many_connections_are_kept_apart():
    async with tapped(echo) as rig:
        streams = [await rig.connect() for _ in range(300)]
        for number, (_, writer) in enumerate(streams):
            writer.write(b"%04d" % number)

        got = [await reader.readexactly(4) for reader, _ in streams]

        assert got == [b"%04d" % number for number in range(300)]
        for _, writer in streams:
            writer.close()
        await rig.until(Gone, 300)


async def test_what_came_before_the_comet_did_is_passed_on_whole():
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % len(await reader.read()))

    async with tapped(count) as rig:
        reader, writer = await rig.connect()
        writer.write(bytes(3_000_000))
        writer.write_eof()
        got = await reader.read()
        writer.close()

    assert got == b"3000000"


class FakeTransport:
    """A transport that says whether it is to be read."""

    def __init__(self, written: Callable[[], None] = lambda: None) -> None:
        self.reads = True
        self.written = written

    def write(self, data: bytes) -> None:
        self.written()

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return "127.0.0.1", 5


async def test_a_comet_that_the_first_bytes_fill_makes_the_client_wait(monkeypatch):
    async def nothing(self: _Link) -> None:
        pass

    monkeypatch.setattr(_Link, "_connect", nothing)
    link = _Link(Tap(("127.0.0.1", 1), []), 1)
    client, comet = FakeTransport(), FakeTransport(lambda: link.pause(Side.COMET))

    link.made(Side.CLIENT, cast("asyncio.Transport", client))
    link.passed(Side.CLIENT, b"early")
    link.made(Side.COMET, cast("asyncio.Transport", comet))
    waits = not client.reads
    link.resume(Side.COMET)

    assert (waits, client.reads) == (True, True)
