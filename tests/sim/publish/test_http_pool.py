import asyncio
import contextlib

import pytest

from sim.publish.http_pool import Answer, HttpPool
from tests.ports import free_port
from tests.sim.kit import ScriptedLogic, until


@contextlib.asynccontextmanager
async def scripted(serve):
    """A server that handles each connection by `await serve(reader, writer)`, and the pool to it."""
    tasks = set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    pool = HttpPool(*server.sockets[0].getsockname(), limit=2, timeout_s=5.0)
    try:
        yield pool
    finally:
        await pool.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()


def answering(*answers):
    """Answer the requests of each connection with these bytes, then close it."""

    async def serve(reader, writer):
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


async def test_a_request_is_what_a_server_of_http_expects():
    requests = []

    async def serve(reader, writer):
        requests.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        await reader.read()

    async with scripted(serve) as pool:
        answer = await pool.post("/goim/push/mids?operation=1000&mids=1", b"hi", {"X-Mark": "7"})

    assert answer == Answer(200, b"done")
    [line, host, *rest] = requests[0].decode().split("\r\n")
    assert line == "POST /goim/push/mids?operation=1000&mids=1 HTTP/1.1"
    assert host.startswith("Host: 127.0.0.1:")
    assert rest == ["Content-Length: 2", "X-Mark: 7", "", "hi"]


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Answer(200, b"")),
        (b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nbad", Answer(500, b"bad")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", Answer(200, b"abc")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", Answer(200, b"x")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", Answer(200, b"until the end")),
        (b"HTTP/1.1 204 None\r\n\r\n", Answer(204, b"")),
    ],
    ids=["empty", "status", "chunked", "continue first", "without a length", "no content"],
)
async def test_every_way_to_send_an_answer_is_read(sent, answer):
    async with scripted(answering(sent)) as pool:
        assert await pool.post("/", b"") == answer


async def test_an_answer_may_come_a_byte_at_a_time():
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await reader.read()

    async with scripted(serve) as pool:
        assert await pool.post("/", b"") == Answer(200, b"ok")


async def test_connections_are_kept_and_no_more_are_opened_than_are_needed_or_allowed():
    held = asyncio.Event()
    under_way = 0
    most = 0

    async def answer(path, body):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await held.wait()
        under_way -= 1
        return 200, body

    async with ScriptedLogic(answer) as logic:
        pool = HttpPool(*logic.address, limit=3, timeout_s=5.0)
        answers = [pool.post("/", str(number).encode()) for number in range(10)]
        await until(lambda: under_way == 3)
        held.set()
        bodies = [answer.body for answer in await asyncio.gather(*answers)]
        one_by_one = [await pool.post("/", b"x") for _ in range(5)]
        connections = len(logic.tasks)
        await pool.close()

    assert bodies == [str(number).encode() for number in range(10)]
    assert one_by_one == [Answer(200, b"x")] * 5
    assert (most, connections) == (3, 3)


@pytest.mark.parametrize(
    ("sent", "error", "text"),
    [
        (b"", ConnectionResetError, "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ConnectionResetError, "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionResetError, "closed without an answer"),
        (b"SSH-2.0-other\r\n", ValueError, "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_100_000, ValueError, "over 1048576 bytes"),
    ],
    ids=["none", "half a body", "half a head", "not HTTP", "too long"],
)
async def test_an_answer_that_is_none_costs_its_own_request_only(sent, error, text):
    answers = iter([sent, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(answers))
        await writer.drain()

    async with scripted(serve) as pool:
        with pytest.raises(error, match=text):
            await pool.post("/", b"")

        assert await pool.post("/", b"") == Answer(200, b"ok")


async def test_a_second_answer_in_the_same_bytes_is_not_taken_for_the_next_request():
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"

    async with scripted(answering(one + b"1" + one + b"2", one + b"3")) as pool:
        first = await pool.post("/", b"")
        second = await pool.post("/", b"")

    assert (first.body, second.body) == (b"1", b"3")


async def test_bytes_that_nobody_asked_for_close_the_connection():
    closed = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        asked.set()
        await go_on.wait()
        writer.write(b"more")
        await reader.read()
        closed.set()

    asked, go_on = asyncio.Event(), asyncio.Event()
    async with scripted(serve) as pool:
        await pool.post("/", b"")
        go_on.set()

        await asyncio.wait_for(closed.wait(), 5)


async def test_a_request_without_an_answer_ends_in_time_and_its_connection_is_not_used_again():
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        if connections == 1:
            await reader.read()  # ends when the other side has closed
            return
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with scripted(serve) as pool:
        pool._timeout_s = 0.05
        with pytest.raises(TimeoutError):
            await pool.post("/", b"")
        pool._timeout_s = 5.0

        assert await pool.post("/", b"") == Answer(200, b"")
        assert connections == 2


async def test_nobody_there_is_an_error_of_every_request():
    gone = HttpPool("127.0.0.1", free_port(), limit=1, timeout_s=5.0)

    answers = await asyncio.gather(*(gone.post("/", b"") for _ in range(3)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [ConnectionRefusedError] * 3
    await gone.close()


async def test_closing_ends_what_is_under_way_and_what_waits():
    reached = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        reached.set()
        await reader.read()

    async with scripted(serve) as pool:
        answers = [pool.post("/", b"") for _ in range(3)]
        await reached.wait()
        await pool.close()

        found = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 5)

    assert all(isinstance(answer, ConnectionError) for answer in found)


async def test_a_connection_that_is_given_up_as_soon_as_it_is_made_is_forgotten():
    class GivenUp(HttpPool):
        def is_made(self, connection):
            super().is_made(connection)
            for task in self._tasks:
                task.cancel()

    async with scripted(answering()) as pool:
        given_up = GivenUp(pool._host, pool._port, limit=1, timeout_s=5.0)

        with pytest.raises(ConnectionError):
            await given_up.post("/", b"")

        await asyncio.wait_for(given_up.close(), 5)
