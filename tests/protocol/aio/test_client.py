from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from protocol.aio import AuthRefusedError, Client, ConnectError, ConnectionClosedError, ReplyTimeoutError
from protocol.bodies import AuthToken, serialize_online
from protocol.errors import FrameLengthError, LocalError, RemoteError, UpgradeError, WireError
from protocol.frame import Frame
from protocol.operation import Operation
from protocol.websocket import serialize_message
from tests.protocol.aio.fake_comet import FakeComet

TOKEN = AuthToken(mid=1, key="k", room_id="live://1", accepts=(1000,))
HI = Frame(1, 1000, 0, b"hi")
YOU = Frame(1, 1000, 0, b"you")


async def connect(comet: FakeComet, token: AuthToken | bytes = TOKEN, **options: float | int | None) -> Client:
    make = Client.connect_ws if comet.ws else Client.connect_tcp
    return await make("127.0.0.1", comet.port, token, **options)


@pytest.fixture(params=["tcp", "ws"])
async def comet(request: pytest.FixtureRequest) -> AsyncIterator[FakeComet]:
    async with FakeComet(ws=request.param == "ws") as found:
        yield found


async def test_pushes_come_as_flat_frames_in_order(comet):
    async with await connect(comet) as client:
        comet.push(HI, YOU)
        comet.push(HI)

        assert [await client.receive(5) for _ in range(3)] == [HI, YOU, HI]

    assert comet.tokens == [TOKEN]


async def test_iteration_ends_when_this_side_closes_and_gives_what_came_before(comet):
    client = await connect(comet)
    comet.push(HI, YOU)
    first = await anext(client)
    await client.close()
    await client.close()

    assert [first] + [frame async for frame in client] == [HI, YOU]


async def test_iteration_fails_when_the_server_closes(comet):
    async with await connect(comet) as client:
        comet.push(HI)
        comet.drop()

        assert await anext(client) == HI
        with pytest.raises(ConnectionClosedError, match="connection closed: the server closed it"):
            await anext(client)
        with pytest.raises(ConnectionClosedError):
            await client.send(4)
        with pytest.raises(ConnectionClosedError):
            await client.request(4)


async def test_a_waiting_reader_and_a_waiting_request_learn_of_the_end(comet):
    async with await connect(comet) as client:
        comet.deaf = True
        async with asyncio.TaskGroup() as tasks:
            waits = [
                tasks.create_task(end_of(client.receive())),
                tasks.create_task(end_of(client.request(4))),
            ]
            await comet.wait_for(1, 4)
            comet.drop()

        assert [wait.result() for wait in waits] == ["connection closed: the server closed it"] * 2


async def end_of(coro):
    with pytest.raises(ConnectionClosedError) as caught:
        await coro
    return str(caught.value)


async def test_requests_get_their_own_answers(comet):
    async with await connect(comet) as client:
        comet.push(Frame(1, Operation.SUB_REPLY, 0, b"an application may push op 15"))

        assert await client.heartbeat() == client.online == 3
        await client.change_room("live://2")
        await client.subscribe([1001, 1002])
        await client.unsubscribe([1001])
        assert (await client.request(4, b"body")).body == b""
        assert (await client.request(Operation.AUTH, b"{}")).op == Operation.AUTH
        assert client.queued == 1

    assert [(frame.op, frame.body) for frame in comet.received[1:]] == [
        (2, b""),
        (12, b"live://2"),
        (14, b"1001,1002"),
        (16, b"1001"),
        (4, b"body"),
        (7, b"{}"),
    ]


async def test_what_comes_back_for_send_is_received(comet):
    async with await connect(comet) as client:
        seq = await client.send(1000, b"x")

        assert await client.receive(5) == Frame(1, 1000, seq)
        await client.send(4, ver=-3, seq=-4)
        assert await client.receive(5) == Frame(-3, 4, -4)


async def test_requests_can_overlap(comet):
    async with await connect(comet) as client:
        found = await asyncio.gather(*(client.request(1000 + n % 2) for n in range(50)))

    assert [frame.seq for frame in found] == [frame.seq for frame in comet.received[1:]]


async def test_heartbeats_go_by_themselves_and_are_not_received(comet):
    async with await connect(comet, heartbeat_s=0.01) as client:
        await comet.wait_for(3, Operation.HEARTBEAT)
        await client.request(4)  # the answers before this one are read by now

        assert (client.online, client.queued) == (3, 0)


async def test_a_server_that_answers_no_heartbeat_is_given_up(comet):
    async with await connect(comet, heartbeat_s=0.01) as client:
        comet.deaf = True

        with pytest.raises(ConnectionClosedError, match=r"no answer to a heartbeat within 0\.01 s"):
            await client.receive(5)


async def test_an_answer_that_waits_unread_when_the_next_heartbeat_is_due_is_in_time(comet):
    async with await connect(comet, heartbeat_s=60.0) as client:
        # As the timer of a process that stood still does it: nothing is read between the two.
        client._heartbeats.due()
        client._heartbeats.due()
        await comet.wait_for(1, Operation.HEARTBEAT)

        await client.request(4)
        assert client.online == 3


async def test_a_full_queue_stops_reading_and_loses_nothing(comet):
    sent = [Frame(1, 1000, 0, bytes(2000) + n.to_bytes(4, "big")) for n in range(2000)]
    async with await connect(comet, queue_frames=10, timeout_s=1.0, heartbeat_s=0.01) as client:
        for frame in sent:
            comet.push(frame)
        with pytest.raises(ReplyTimeoutError, match="no answer to op 4000 .* received frames wait to be taken"):
            await client.request(4000)
        assert client.queued < 500

        assert [await client.receive(5) for _ in sent] == sent
        assert (await client.receive(5)).op == 4000


async def test_an_unanswered_request_times_out(comet):
    async with await connect(comet, timeout_s=1.0) as client:
        comet.deaf = True

        with pytest.raises(ReplyTimeoutError, match=r"no answer to change_room within 1 s$"):
            await client.change_room("live://1")
        with pytest.raises(TimeoutError):
            await client.receive(0.01)


async def test_a_refused_token_is_told_apart(comet):
    comet.refuse = True

    with pytest.raises(AuthRefusedError, match="auth refused: the server closed it"):
        await connect(comet, b"not json")


async def test_no_answer_to_auth_times_out(comet):
    comet.silent = True

    with pytest.raises(ReplyTimeoutError, match=r"no answer to auth within 0\.05 s"):
        await connect(comet, timeout_s=0.05)


async def test_only_one_task_may_receive(comet):
    async with await connect(comet) as client:
        waiting = asyncio.ensure_future(client.receive())
        await asyncio.sleep(0)

        with pytest.raises(LocalError, match="another task"):
            await client.receive()
        comet.push(HI)
        assert await waiting == HI


@pytest.mark.parametrize("make", [Client.connect_tcp, Client.connect_ws])
async def test_nobody_listening_is_a_connect_error(make):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take the port
        port = taken.getsockname()[1]

        with pytest.raises(ConnectError, match=f"cannot connect to 127.0.0.1:{port}: "):
            await make("127.0.0.1", port, TOKEN)


async def test_an_upgrade_that_is_closed_or_wrong_is_an_upgrade_error():
    async with FakeComet() as tcp:
        with pytest.raises(UpgradeError, match="no answer to the upgrade: connection closed"):
            await Client.connect_ws("127.0.0.1", tcp.port, TOKEN)


async def answer_with(data: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(data)
        await reader.read()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("make", "error"), [(Client.connect_tcp, FrameLengthError), (Client.connect_ws, UpgradeError)], ids=["tcp", "ws"]
)
async def test_a_server_of_another_kind_is_an_error_of_its_bytes(make, error):
    server = await answer_with(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    async with server:
        with pytest.raises(error):
            await make("127.0.0.1", server.sockets[0].getsockname()[1], TOKEN)
        server.close()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (bytes.fromhex("00000010001100010000000200000000"), "header length is 17"),
        (bytes.fromhex("7fffffff001000010000000200000000"), "is over the limit"),
    ],
)
async def test_broken_bytes_close_the_connection_and_say_why(data, error):
    async with FakeComet() as comet, await connect(comet) as client:
        comet.push(HI)
        comet.write(data)

        assert await client.receive(5) == HI
        with pytest.raises(ConnectionClosedError, match=error):
            await client.receive(5)


@pytest.mark.parametrize(
    ("payload", "opcode", "problem"),
    [
        (b"short", 2, "message of 5 bytes is not whole frames from byte 0 on"),
        (Frame(1, 9, 0, b"no frames").pack(), 2, "batch is broken at offset 0"),
        ((1001).to_bytes(2, "big") + b"bye", 8, "the server sent close code 1001"),
        (b"", 8, "close code 1005"),
        (b"", 5, "opcode 5 is reserved"),
    ],
)
async def test_broken_messages_close_the_connection_and_say_why(payload, opcode, problem):
    async with FakeComet(ws=True) as comet, await connect(comet) as client:
        comet.write(serialize_message(payload, opcode=opcode))

        with pytest.raises(ConnectionClosedError, match=problem):
            await client.receive(5)


async def test_pings_are_answered_and_a_bare_op_9_passes():
    async with FakeComet(ws=True) as comet, await connect(comet) as client:
        comet.write(serialize_message(b"hello", opcode=9))
        comet.write(serialize_message(b"", opcode=10))

        assert (await client.request(Operation.RAW, b"raw")).body == b""
        comet.push(Frame(1, Operation.RAW, 0, b"op 9 of an application"))
        assert (await client.receive(5)).body == b"op 9 of an application"


async def test_a_cookie_is_sent():
    async with FakeComet(ws=True) as comet:
        async with await Client.connect_ws("127.0.0.1", comet.port, TOKEN, cookie="sid=1"):
            pass

        assert comet.cookie == "sid=1"


async def test_a_count_that_is_none_does_no_harm(comet):
    async with await connect(comet, heartbeat_s=0.01) as client:
        push = Frame(1, Operation.HEARTBEAT_REPLY, 0, serialize_online(9))
        comet.push(push)

        assert await client.receive(5) == push


def test_errors_are_wire_errors():
    assert issubclass(ReplyTimeoutError, TimeoutError)
    assert issubclass(ConnectError, WireError)
    assert issubclass(AuthRefusedError, RemoteError)
