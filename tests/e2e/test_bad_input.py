"""What a client does wrong costs its own connection, is counted, and reaches nobody else."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from imctl.cluster.inprocess import LocalCluster
from protocol.frame import pack_frame
from protocol.websocket import MAX_UPGRADE_BYTES, serialize_message
from tests.imctl.comet.raw import MASK, UPGRADE, Raw, auth, eventually, http_post

HANDSHAKE_S = 0.3
IMPATIENT = {"comet": {"handshake_timeout_s": HANDSHAKE_S}}
LOGIN = {"key": "offender", "room_id": "live://1", "accepts": (1000,)}


class Witnesses:
    """A cluster with a TCP and a WebSocket client in room live://1 that must notice nothing."""

    def __init__(self, cluster: LocalCluster, clients: list[Raw]) -> None:
        self.cluster = cluster
        self.clients = clients

    def stats(self, node: str = "comet-1") -> Any:
        return self.cluster.node(node).stats()

    def counter(self, name: str, node: str = "comet-1") -> int:
        return self.stats(node)["counters"].get(name, 0)

    async def still_receive(self) -> None:
        """Check that a push to the room reaches them, and that nothing else did meanwhile."""
        url = "/goim/push/room?operation=1000&type=live&room=1"
        status, _ = await http_post(self.cluster.http, url, b"still there?")
        assert status == 200
        for client in self.clients:
            frame = await client.frame()
            body = frame.body[16:] if client.is_ws else frame.body
            assert body == b"still there?"
            await client.no_frame()

    async def only_they_are_left(self) -> None:
        await eventually(lambda: self.stats()["gauges"]["connections"] == len(self.clients))
        assert self.stats()["gauges"]["sessions"] == len(self.clients)


@asynccontextmanager
async def witnesses(settings: dict[str, Any] | None = None) -> AsyncIterator[Witnesses]:
    async with (
        LocalCluster(settings=settings) as cluster,
        await Raw.login(cluster.tcp, key="w-tcp", mid=1, room_id="live://1") as tcp,
        await Raw.login(cluster.ws, is_ws=True, key="w-ws", mid=2, room_id="live://1") as ws,
    ):
        yield Witnesses(cluster, [tcp, ws])


def frame(pack_len: int, header_len: int = 16, op: int = 2) -> bytes:
    """Return a header that says what it should not."""
    return struct.pack(">ihhii", pack_len, header_len, 1, op, 1)


# --- frames -------------------------------------------------------------------

BAD_FRAMES = {
    "over-the-limit": (frame(4113), "closed.frame_length"),
    "largest": (frame(2**31 - 1), "closed.frame_length"),
    "wraps-below-zero": (frame(-(2**31)), "closed.frame_length"),
    "header-15": (frame(16, 15), "closed.header_length"),
    "header-0": (frame(16, 0), "closed.header_length"),
    "header-negative": (frame(16, -1), "closed.header_length"),
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "closed.frame_length"),
    "tls-hello": (bytes.fromhex("16030100f8010000f40303") + bytes(64), "closed.frame_length"),
}


@pytest.mark.parametrize("before_auth", [True, False], ids=["before-auth", "after-auth"])
@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_bad_frame_closes_its_own_connection(name, before_auth):
    data, counter = BAD_FRAMES[name]
    async with witnesses() as others:
        address = others.cluster.tcp
        async with await (Raw.connect(address) if before_auth else Raw.login(address, **LOGIN)) as offender:
            had = len(offender.data)
            offender.write(data)

            assert (await offender.read_to_end())[had:] == b""
            assert others.counter(counter) == 1
            await others.only_they_are_left()
            await others.still_receive()


@pytest.mark.parametrize("name", ["over-the-limit", "header-15"])
async def test_bad_frame_in_a_websocket_message_closes_its_own_connection(name):
    data, counter = BAD_FRAMES[name]
    async with witnesses() as others:
        async with await Raw.login(others.cluster.ws, is_ws=True, **LOGIN) as offender:
            offender.send(data)

            assert await offender.read_to_end()
            assert others.counter(counter) == 1
            await others.only_they_are_left()
            await others.still_receive()


async def test_negative_length_is_an_empty_body_on_tcp_and_closes_on_websocket():
    async with witnesses() as others:
        async with (
            await Raw.login(others.cluster.tcp, **LOGIN) as tcp,
            await Raw.login(others.cluster.ws, is_ws=True, key="offender-ws") as ws,
        ):
            tcp.write(frame(-1))
            assert (await tcp.frame()).op == 3
            ws.send(frame(-1))
            await ws.read_to_end()

            assert others.counter("closed.frame_length") == 1
            await tcp.no_frame()
        await others.only_they_are_left()
        await others.still_receive()


# --- before and during authentication -----------------------------------------


async def test_frames_before_auth_are_ignored_and_counted():
    async with witnesses() as others:
        async with await Raw.connect(others.cluster.tcp) as offender:
            offender.write(pack_frame(2) + pack_frame(1000, b"garbage") + pack_frame(12, b"live://1") + auth(key="x"))

            assert (await offender.frame()).op == 8  # nothing came back for those before
            await offender.no_frame()
        await eventually(lambda: others.counter("ignored_before_auth") == 3)
        await others.only_they_are_left()
        await others.still_receive()


@pytest.mark.parametrize(
    "token", [b"", b"{", b"not json", b"[]", b'{"mid":"1"}', b"\xff\xfe", b"[" * 2000, b'{"accepts":[1e3]}']
)
@pytest.mark.parametrize("is_ws", [False, True], ids=["tcp", "ws"])
async def test_bad_token_is_refused(token, is_ws):
    async with witnesses() as others:
        address = others.cluster.ws if is_ws else others.cluster.tcp
        async with await Raw.connect(address, is_ws=is_ws) as offender:
            offender.send(pack_frame(7, token))

            assert await offender.read_to_end() == b""
            assert (others.counter("refused_auth"), others.counter("closed.auth_refused")) == (1, 1)
            assert others.stats("logic")["drops"] == {"logic.bad_token": 1}
            await others.only_they_are_left()
            await others.still_receive()


SILENT: dict[str, Callable[[LocalCluster], Awaitable[Raw]]] = {
    "tcp": lambda cluster: Raw.connect(cluster.tcp),
    "ws-no-upgrade": lambda cluster: Raw.connect(cluster.ws, is_ws=True, upgrade=False),
    "ws-no-auth": lambda cluster: Raw.connect(cluster.ws, is_ws=True),
}


@pytest.mark.parametrize("how", SILENT)
async def test_no_auth_within_the_handshake_time(how):
    async with witnesses(IMPATIENT) as others:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with await SILENT[how](others.cluster) as offender:
            await offender.read_to_end()

            assert HANDSHAKE_S - 0.02 < loop.time() - begin < HANDSHAKE_S + 5
            assert others.counter("closed.handshake_timeout") == 1
            await others.only_they_are_left()
            await others.still_receive()


async def test_chatter_does_not_stretch_the_handshake_time():
    async with witnesses(IMPATIENT) as others:
        async with await Raw.connect(others.cluster.tcp) as offender:
            # What is unread when the comet closes makes a reset of its end, after which there is no eof to read.
            while not offender.reader.at_eof() and not offender.writer.is_closing():
                offender.write(pack_frame(2))
                await asyncio.sleep(0.02)
        assert others.counter("closed.handshake_timeout") == 1
        await eventually(lambda: others.counter("ignored_before_auth") > 5)
        await others.still_receive()


# --- clients that are only half there ------------------------------------------


@pytest.mark.parametrize("authenticated", [False, True])
async def test_client_that_vanished_with_a_reset_leaves_nothing(authenticated):
    async with witnesses() as others:
        offender = await (Raw.login(others.cluster.tcp, **LOGIN) if authenticated else Raw.connect(others.cluster.tcp))
        offender.abort()

        await others.only_they_are_left()
        await others.still_receive()
        assert others.counter("disconnected") == authenticated
        assert others.counter("closed.client_reset") == 1


async def test_client_without_heartbeats_is_closed():
    settings = {"comet": {}, "logic": {"heartbeat_s": 0.15, "heartbeat_max": 2}}
    async with LocalCluster(settings=settings) as cluster:
        async with await Raw.login(cluster.tcp, **LOGIN) as offender, await Raw.login(cluster.tcp, key="beats") as fine:
            while not offender.reader.at_eof():
                await fine.heartbeat()
                await asyncio.sleep(0.02)

            await fine.no_frame()
            stats: Any = cluster.node("comet-1").stats()
            assert stats["counters"]["closed.heartbeat_timeout"] == 1
            assert stats["gauges"]["sessions"] == 1
            assert "live://1" not in (await online(cluster))


async def online(cluster: LocalCluster) -> str:
    return (await http_post(cluster.http, "/goim/online/top?type=live&limit=9", method="GET"))[1].decode()


async def test_half_closed_client_ends_both_ways():
    async with witnesses() as others:
        async with await Raw.login(others.cluster.tcp, **LOGIN) as offender:
            offender.writer.write_eof()

            await offender.read_to_end()
            assert others.counter("closed.client_eof") == 1
            await others.only_they_are_left()
            await others.still_receive()


# --- WebSocket ------------------------------------------------------------------


async def test_text_and_fragmented_frames_are_taken_as_goim_takes_them():
    async with witnesses() as others:
        async with await Raw.login(others.cluster.ws, is_ws=True, key="odd") as odd:
            odd.write(serialize_message(pack_frame(2, seq=5), opcode=1, mask=MASK))
            assert (await odd.frame()).seq == 5

            message = pack_frame(14, b"7,8", seq=6)
            first = serialize_message(message[:9], mask=MASK)
            odd.write(bytes((first[0] & 0x7F,)) + first[1:])
            odd.write(serialize_message(b"between", opcode=9, mask=MASK))
            odd.write(serialize_message(message[9:], opcode=0, mask=MASK))
            reply = await odd.frame()
            assert (reply.op, reply.body) == (15, b"7,8")
            await others.still_receive()


BAD_WEBSOCKET = {
    "reserved-bit": bytes((0xC2, 0x80)) + MASK,
    "reserved-opcode": bytes((0x83, 0x80)) + MASK,
    "over-8192": serialize_message(bytes(8193), mask=MASK),
    "length-of-2**63": bytes((0x82, 0xFF)) + (2**63).to_bytes(8, "big") + MASK,
    "message-of-15-bytes": serialize_message(bytes(15), mask=MASK),
    "body-missing": serialize_message(frame(20), mask=MASK),
    "102-pings": serialize_message(b"", opcode=9, mask=MASK) * 102,
    "endless-fragments": bytes((0x02, 0x80)) + MASK + (bytes((0x00, 0x80)) + MASK) * 101,
}


@pytest.mark.parametrize("name", BAD_WEBSOCKET)
async def test_bad_websocket_frame_closes_its_own_connection(name):
    async with witnesses() as others:
        async with await Raw.login(others.cluster.ws, is_ws=True, **LOGIN) as offender:
            offender.write(BAD_WEBSOCKET[name])

            await offender.read_to_end()
            assert others.counter("closed.websocket") == 1
            await others.only_they_are_left()
            await others.still_receive()


BAD_UPGRADES = {
    "huge-header": UPGRADE.replace(b"Host: x", b"X: " + b"x" * MAX_UPGRADE_BYTES),
    "endless-header": b"GET /sub HTTP/1.1\r\nX: " + b"x" * (MAX_UPGRADE_BYTES + 64),
    "wrong-path": UPGRADE.replace(b"/sub", b"/"),
    "post": UPGRADE.replace(b"GET", b"POST"),
    "version-8": UPGRADE.replace(b"Version: 13", b"Version: 8"),
    "no-key": UPGRADE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    "garbage": b"GARBAGE\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_UPGRADES)
async def test_bad_upgrade_is_closed_without_an_answer(name):
    async with witnesses() as others:
        async with await Raw.connect(others.cluster.ws, is_ws=True, upgrade=False) as offender:
            offender.write(BAD_UPGRADES[name])

            assert await offender.read_to_end() == b""
            assert others.counter("closed.upgrade") == 1
            await others.only_they_are_left()
            await others.still_receive()


# --- requests of an authenticated client ------------------------------------------


async def test_unknown_operations_go_to_logic_and_are_echoed():
    async with witnesses() as others:
        async with await Raw.login(others.cluster.tcp, **LOGIN) as client:
            for op in (99, -1, 2**31 - 1, 6, 0):
                client.request(op, b"x", seq=op % 1000)
                reply = await client.frame()
                assert (reply.op, reply.seq, reply.body) == (op, op % 1000, b"")

            assert others.counter("received") == 5
            assert others.stats("logic")["counters"]["received"] == 5
            await others.clients[0].no_frame()
        await others.still_receive()


async def test_bad_operation_lists_and_rooms_are_echoed_without_effect_and_counted():
    async with witnesses() as others:
        async with await Raw.login(others.cluster.tcp, **LOGIN) as client:
            for op, body in ((14, b"1,x"), (14, b"1, 2"), (16, b"99999999999"), (12, b"\xff\xfe")):
                client.request(op, body)
                reply = await client.frame()
                assert (reply.op, reply.body) == (op + 1, body)

            assert (others.counter("bad_operations"), others.counter("bad_room")) == (3, 1)
            url = "/goim/push/keys?operation=1000&keys=offender"
            await http_post(others.cluster.http, url, b"for you")
            assert (await client.frame()).body == b"for you"
        await others.still_receive()


# --- logic's HTTP API ---------------------------------------------------------------


async def test_http_body_over_the_limit_is_refused_and_counted():
    async with witnesses() as others:
        url = "/goim/push/room?operation=1000&type=live&room=1"
        for size in (1_000_001, 1 << 20):
            status, answer = await http_post(others.cluster.http, url, bytes(size))
            assert (status, json.loads(answer)["code"]) == (200, -500)
            assert str(size) in json.loads(answer)["message"]

        assert others.stats("logic")["drops"] == {"logic.too_large": 2}
        await others.still_receive()


async def test_http_body_at_the_limit_is_delivered_whole():
    async with witnesses() as others:
        body = bytes(range(250)) * 3990  # 997,500: under 1,000,000 with its envelope
        url = "/goim/push/room?operation=1000&type=live&room=1"
        status, answer = await http_post(others.cluster.http, url, body)

        assert (status, json.loads(answer)["code"]) == (200, 0)
        tcp, ws = others.clients
        assert (await tcp.frame()).body == body
        assert (await ws.frame()).body[16:] == body
        await others.still_receive()
