from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from imctl.errors import PortInUseError, StartError
from imctl.logic.http_api import PUSHED, HttpReply
from imctl.logic.http_connection import HttpLimits
from imctl.logic.http_server import HttpServer
from imctl.node import Counters
from tests.imctl.logic.fakes import http, read_answer

POST = b"POST /%s HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"


class EchoApi:
    """Answers with what was asked; a target with `wait` waits for the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.seen: list[str] = []
        self.arrived = asyncio.Event()

    async def answer(self, method: str, target: str, body: bytes, trace: str = "") -> HttpReply:
        self.seen.append(target)
        self.arrived.set()
        if "wait" in target:
            await self.gate.wait()
        if "bug" in target:
            raise RuntimeError("bug")
        if "push" in target:
            return PUSHED
        if "big" in target:
            return HttpReply(200, "text/plain", b"y" * 4_000_000)
        return HttpReply(200, "text/plain", f"{method} {target} ".encode() + body)

    def too_large(self, method: str, target: str, size: int, limit: int) -> HttpReply:
        return HttpReply(200, "text/plain", f"{method} {target} {size} > {limit}".encode())


class Served:
    def __init__(self, api: EchoApi, server: HttpServer, drops: Counters) -> None:
        self.api, self.server, self.drops = api, server, drops
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
def limits() -> HttpLimits:
    return HttpLimits(max_body_bytes=1000)


@pytest.fixture
async def served(limits: HttpLimits) -> AsyncIterator[Served]:
    api, drops = EchoApi(), Counters()
    server = HttpServer(api, host="127.0.0.1", port=0, limits=limits, drops=drops)  # type: ignore[arg-type]  # a fake API
    await server.start()
    made = Served(api, server, drops)
    yield made
    await server.stop(1)
    for writer in made.writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.005)


async def test_many_requests_on_one_connection(served):
    reader, writer = await served.connect()

    for i in range(3):
        writer.write(POST % (b"%d" % i))
        answer = await read_answer(reader)
        assert answer.body == b"POST /%d x" % i
        assert answer.header("Date")
        assert answer.header("Connection") is None

    assert served.server.connections == 1


async def test_pipelined_requests_are_answered_in_order(served):
    reader, writer = await served.connect()
    count = 300  # more than may wait at one time

    writer.write(b"".join(POST % (b"%d" % i) for i in range(count)))
    answers = [(await read_answer(reader)).body for _ in range(count)]

    assert answers == [b"POST /%d x" % i for i in range(count)]


async def test_a_request_that_waits_holds_up_only_its_own_connection(served):
    slow_reader, slow = await served.connect()
    slow.write(POST % b"wait" + POST % b"next")
    await served.api.arrived.wait()

    assert (await http(served.server.address, "GET", "/other")).body == b"GET /other "
    served.api.gate.set()

    assert (await read_answer(slow_reader)).body == b"POST /wait x"
    assert (await read_answer(slow_reader)).body == b"POST /next x"


async def test_a_push_has_its_short_reply(served):
    answer = await http(served.server.address, "POST", "/push", b"x")

    assert (answer.status, answer.body) == (200, b'{"code":0,"message":""}')
    assert answer.header("Content-Length") == "23"


async def test_head_has_a_length_and_no_body(served):
    reader, writer = await served.connect()

    writer.write(b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n" + POST % b"y")
    answer = await read_answer(reader, "HEAD")

    assert answer.header("Content-Length") == str(len(b"HEAD /x "))
    assert (await read_answer(reader)).body == b"POST /y x"


@pytest.mark.parametrize(
    "request_", [b"GET /x HTTP/1.0\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"]
)
async def test_the_connection_is_closed_when_the_client_wants_it(served, request_):
    reader, writer = await served.connect()

    writer.write(request_)
    answer = await read_answer(reader)

    assert answer.header("Connection") == "close"
    assert await reader.read() == b""


async def test_a_client_that_half_closes_gets_its_answers(served):
    reader, writer = await served.connect()

    writer.write(POST % b"wait" + POST % b"b")
    writer.write_eof()
    await served.api.arrived.wait()
    served.api.gate.set()

    assert (await read_answer(reader)).body == b"POST /wait x"
    assert (await read_answer(reader)).body == b"POST /b x"
    assert await reader.read() == b""


async def test_a_client_that_asks_first_is_told_to_go_on(served):
    reader, writer = await served.connect()

    for i in range(2):
        writer.write(b"POST /%d HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n" % i)
        assert (await read_answer(reader)).status == 100
        writer.write(b"abc")
        assert (await read_answer(reader)).body == b"POST /%d abc" % i


async def test_a_client_that_asks_while_another_request_is_at_work_is_told_later(served):
    reader, writer = await served.connect()
    writer.write(POST % b"wait" + b"POST /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    await served.api.arrived.wait()
    served.api.gate.set()

    assert (await read_answer(reader)).body == b"POST /wait x"
    assert (await read_answer(reader)).status == 100
    writer.write(b"abc")

    assert (await read_answer(reader)).body == b"POST /b abc"


async def test_a_body_over_the_limit_is_refused_unread(served):
    reader, writer = await served.connect()

    writer.write(POST % b"a" + b"POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
    writer.write(b"z" * 1_000_000)  # a client that sends it all before it reads

    assert (await read_answer(reader)).body == b"POST /a x"
    refusal = await read_answer(reader)
    assert refusal.body == b"POST /big 1000000 > 1000"
    assert refusal.header("Connection") == "close"
    assert await reader.read() == b""
    assert served.api.seen == ["/a"]


@pytest.mark.parametrize("junk", [b"hello\r\n\r\n", b"\x16\x03\x01" + bytes(100) + b"\r\n\r\n", b"\0" * 2_000_000])
async def test_bytes_that_are_no_request_cost_their_connection(served, junk):
    reader, writer = await served.connect()

    writer.write(junk)
    answer = await read_answer(reader)

    assert answer.status in (400, 431)
    assert str(answer.status).encode() in answer.body
    assert await reader.read() == b""
    assert served.drops.nonzero() == {"logic.http_bad_request": 1}
    assert (await http(served.server.address, "GET", "/fine")).status == 200


async def test_a_bug_costs_its_connection_only(served, caplog):
    reader, writer = await served.connect()

    writer.write(POST % b"bug")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await read_answer(reader)

    assert "an http connection failed" in caplog.text
    assert (await http(served.server.address, "GET", "/fine")).status == 200


async def test_a_client_that_goes_while_it_waits_hurts_nobody(served):
    _, writer = await served.connect()
    writer.write(POST % b"wait" + POST % b"never")
    await served.api.arrived.wait()

    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await until(lambda: not served.server.connections)
    served.api.gate.set()
    await asyncio.sleep(0.01)

    assert served.api.seen == ["/wait"]


class TestLimits:
    @pytest.fixture
    def limits(self) -> HttpLimits:
        return HttpLimits(
            max_body_bytes=1000, request_timeout_s=0.5, reply_timeout_s=0.5, idle_timeout_s=0.5, linger_s=0.5,
            max_connections=2,
        )  # fmt: skip

    async def test_a_request_that_does_not_end_is_refused_in_time(self, served):
        reader, writer = await served.connect()
        writer.write(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx")

        answer = await asyncio.wait_for(read_answer(reader), 30)

        assert answer.status == 408
        assert await reader.read() == b""
        assert served.drops.nonzero() == {"logic.http_slow_request": 1}

    async def test_an_idle_connection_is_closed(self, served):
        reader, _ = await served.connect()

        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 30)

    async def test_empty_lines_do_not_keep_a_connection_open(self, served):
        _, writer = await served.connect()

        def still_here() -> bool:
            if not writer.transport.is_closing():  # uvloop's refuses to write then
                writer.write(b"\r\n")
            return bool(served.server.connections)

        await until(lambda: served.server.connections)
        await until(lambda: not still_here())

    async def test_a_client_that_does_not_hang_up_is_hung_up_on(self, served):
        reader, writer = await served.connect()
        writer.write(b"bad\r\n\r\n")
        await read_answer(reader)

        def still_here() -> bool:
            if not writer.transport.is_closing():  # uvloop's refuses to write then
                writer.write(b"more")
            return bool(served.server.connections)

        await until(lambda: not still_here())

    async def test_one_connection_too_many_is_closed(self, served):
        held = [await served.connect() for _ in range(2)]
        reader, _ = await served.connect()

        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 30)

        assert len(held) == 2
        assert served.drops.nonzero() == {"logic.http_connections": 1}

    async def test_a_client_that_does_not_read_is_dropped(self, served):
        _, writer = await served.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's

        writer.write(POST % b"big" * 10)

        await until(lambda: "logic.http_slow_reader" in served.drops.values and not served.server.connections)


class TestLastReply:
    @pytest.fixture
    def limits(self) -> HttpLimits:
        return HttpLimits(linger_s=0.01, reply_timeout_s=0.5)

    @pytest.fixture
    async def closing(self, served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that has asked for a big last reply and does not read yet; longer than it is lingered for."""
        reader, writer = await served.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's
        writer.write(b"GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        await served.api.arrived.wait()
        return reader, writer

    async def test_a_client_that_never_takes_it_is_dropped_and_counted(self, served, closing):
        await until(lambda: not served.server.connections)

        assert served.drops.nonzero() == {"logic.http_slow_reader": 1}

    class TestWithTime:
        @pytest.fixture
        def limits(self) -> HttpLimits:
            return HttpLimits(linger_s=0.01, reply_timeout_s=60)

        async def test_a_client_that_reads_slowly_gets_all_of_it(self, served, closing):
            reader, writer = closing
            await asyncio.sleep(0.1)
            writer.transport.resume_reading()  # type: ignore[attr-defined]  # a stream's

            answer = await read_answer(reader)

            assert len(answer.body) == 4_000_000
            assert await reader.read() == b""
            assert served.drops.nonzero() == {}


async def test_stop_lets_requests_end(served):
    reader, writer = await served.connect()
    idle_reader, _ = await served.connect()
    writer.write(POST % b"wait")
    await served.api.arrived.wait()

    stopping = asyncio.ensure_future(served.server.stop(60))
    await asyncio.sleep(0.01)
    served.api.gate.set()
    answer = await read_answer(reader)
    await stopping

    assert answer.body == b"POST /wait x"
    assert answer.header("Connection") == "close"
    assert await idle_reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await http(served.server.address, "GET", "/")


async def test_stop_does_not_wait_for_ever(served):
    reader, writer = await served.connect()
    writer.write(POST % b"wait")
    await served.api.arrived.wait()

    await asyncio.wait_for(served.server.stop(0.05), 30)

    assert served.server.connections == 0
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)


async def test_a_port_in_use_is_said(served, limits):
    port = int(served.server.address.rpartition(":")[2])
    second = HttpServer(served.api, host="127.0.0.1", port=port, limits=limits, drops=Counters())

    with pytest.raises(PortInUseError, match=f"logic http: address 127.0.0.1:{port} is in use"):
        await second.start()
    await second.stop()


async def test_an_address_of_another_machine_is_said(served, limits):
    other = HttpServer(served.api, host="192.0.2.1", port=0, limits=limits, drops=Counters())

    with pytest.raises(StartError, match=r"logic http: cannot listen on 192\.0\.2\.1:0"):
        await other.start()
