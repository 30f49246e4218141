"""A client that does not read: whom it delays (nobody), what it misses (exactly what is counted)."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from imctl.comet.channel import Channel
from imctl.link.methods import BROADCAST_ROOM, PUSH_MSG
from protocol.frame import Frame
from protocol.pb import comet as pb
from protocol.pb.protocol import Proto
from protocol.raw import flatten, pack_batch
from tests.imctl.comet.raw import Raw, Rig, eventually

ROOM = "live://1"
LIMIT = 65536
KINDS = {"tcp": False, "ws": True, "tls": False, "wss": True}
BATCH = 3  # messages a push


def settings_for(certificate: tuple[Path, Path]) -> dict[str, Any]:
    cert, key = map(str, certificate)
    return {"tls_port": 0, "wss_port": 0, "tls_cert": cert, "tls_key": key, "write_buffer_bytes": LIMIT}


def client_tls(kind: str, certificate: tuple[Path, Path]) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=str(certificate[0])) if kind in ("tls", "wss") else None


def push(rig: Rig, number: int, size: int = 2000) -> None:
    """Push a batch of numbered messages to the room."""
    frames = [Frame(1, 1000, 0, b"%08d" % (number * BATCH + i) + bytes(size)) for i in range(BATCH)]
    proto = Proto(ver=1, op=9, body=pack_batch(frames))
    rig.call(BROADCAST_ROOM, pb.BroadcastRoomReq(roomID=ROOM, proto=proto))


def numbers(frames: list[Frame]) -> list[int]:
    return [int(inner.body[:8]) for frame in frames for inner in flatten(frame)]


async def read_messages(client: Raw, until: int) -> list[int]:
    """Read until message `until` has come; every frame on the way is whole."""
    seen: list[int] = []
    while not seen or seen[-1] != until:
        seen += numbers([await client.frame()])
    assert client.left == 0
    return seen


@pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
@pytest.mark.parametrize("kind", KINDS)
async def test_slow_client_misses_exactly_what_is_counted_and_delays_nobody(kind, certificate):
    async with Rig(**settings_for(certificate)) as rig:
        slow = await Raw.login(
            rig.address(kind), is_ws=KINDS[kind], key="slow", room_id=ROOM, rcvbuf=4096, limit=1024,
            tls=client_tls(kind, certificate),
        )  # fmt: skip
        async with slow, await Raw.login(rig.tcp, key="tcp", room_id=ROOM) as tcp:
            async with await Raw.login(rig.ws, is_ws=True, key="ws", room_id=ROOM) as ws:
                channel: Channel = rig.comet.sessions.hub.channels["slow"]
                pushes = 0
                while rig.drops.get("comet.slow_client", 0) < 30 * BATCH:
                    push(rig, pushes)
                    last = pushes * BATCH + BATCH - 1
                    # The others have each message before the next one is pushed.
                    assert await read_messages(tcp, last) == list(range(last - BATCH + 1, last + 1))
                    assert await read_messages(ws, last) == list(range(last - BATCH + 1, last + 1))
                    assert channel.transport.get_write_buffer_size() <= LIMIT + 100  # TLS adds its headers
                    pushes += 1
                    assert pushes < 2000

                dropped = rig.drops["comet.slow_client"]
                assert rig.drops == {"comet.slow_client": dropped}
                await read_what_waits(slow, channel)
                push(rig, 900_000)
                seen = await read_messages(slow, 900_000 * BATCH + BATCH - 1)
                assert rig.drops == {"comet.slow_client": dropped}

                mine = [number for number in seen if number < 900_000]
                assert mine == sorted(set(mine))
                assert len(mine) + dropped == pushes * BATCH
                # A push is taken or dropped as a whole.
                assert [number // BATCH for number in mine[::BATCH]] == [number // BATCH for number in mine[2::BATCH]]


async def read_what_waits(slow: Raw, channel: Channel) -> None:
    """Let the slow client read until nothing waits for it in the comet."""
    while channel.transport.get_write_buffer_size():
        slow.feed(await slow.read())


async def test_compat_answers_goims_error_for_a_full_client():
    async with Rig(compat_goim=True, write_buffer_bytes=LIMIT) as rig:
        slow = await Raw.login(rig.tcp, key="slow", accepts=(1000,), rcvbuf=4096, limit=1024)
        async with slow, await Raw.login(rig.tcp, key="fine", accepts=(1000,)) as fine:
            request = pb.PushMsgReq(keys=["slow", "fine"], protoOp=1000, proto=Proto(ver=1, op=1000, body=bytes(30000)))
            answers = []
            for _ in range(200):
                try:
                    rig.call(PUSH_MSG, request)
                except Exception as exc:
                    answers.append(str(exc))
                assert len((await fine.frame()).body) == 30000  # goim would skip it
                if answers:
                    break

            assert answers == ["signal channel full, msg dropped"]
            assert rig.drops == {"comet.slow_client": 1}


@pytest.mark.parametrize("kind", KINDS)
async def test_client_that_never_reads_again_ends_with_its_heartbeat_limit(kind, certificate, monkeypatch):
    monkeypatch.setattr("imctl.comet.sessions._LINGER_S", 0.2)
    async with Rig(**settings_for(certificate)) as rig:
        rig.logic.scale = 1e9 / 480e9  # of the fake logic's 480 s
        slow = await Raw.login(
            rig.address(kind), is_ws=KINDS[kind], key="slow", room_id=ROOM, rcvbuf=4096, limit=1024,
            tls=client_tls(kind, certificate),
        )  # fmt: skip
        async with slow:
            number = 0
            while "comet.slow_client" not in rig.drops:
                push(rig, number)
                number += 1
                if number % 20 == 0:
                    await asyncio.sleep(0)

            # The session ends with the limit, its socket a little later: what waits there is never taken.
            await eventually(lambda: rig.gauges["sessions"] == 0)
            await eventually(lambda: rig.gauges["connections"] == 0)
            assert rig.counters["closed.heartbeat_timeout"] == 1
            assert rig.counters["lingering_aborted"] == 1
            assert [request.key for request in rig.logic.named("Disconnect")] == ["slow"]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_client_gets_replies_and_pushes(kind, certificate):
    async with Rig(**settings_for(certificate)) as rig:
        tls = client_tls(kind, certificate)
        async with await Raw.login(rig.address(kind), is_ws=KINDS[kind], tls=tls, key="k", room_id=ROOM) as client:
            assert await client.heartbeat() == 1
            push(rig, 7, size=100_000)
            assert await read_messages(client, 23) == [21, 22, 23]
            await client.change_room("")
            push(rig, 8)
            await client.no_frame()
        assert rig.drops == {}


async def test_client_that_never_shakes_hands_is_closed(certificate):
    async with Rig(**settings_for(certificate), handshake_timeout_s=0.3) as rig:
        async with await Raw.connect(rig.address("tls")) as silent, await Raw.connect(rig.address("wss")) as garbage:
            garbage.write(b"no TLS at all\r\n\r\n")

            await garbage.read_to_end()
            await silent.read_to_end()

        async with await Raw.login(rig.tcp, key="k") as fine:
            await fine.no_frame()
        assert rig.gauges["connections"] <= 1
