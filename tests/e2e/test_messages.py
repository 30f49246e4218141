"""Kept messages against real processes: nothing that was accepted is missing, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from imctl.cli.logic_http import LogicHttp, LogicRefusedError
from imctl.errors import ImctlError
from imctl.messages.contract import Limits
from imctl.messages.factory import open_messages
from protocol.aio import Client, ConnectionClosedError
from protocol.bodies import AuthToken
from protocol.errors import WireError
from protocol.operation import MESSAGES_ACK
from protocol.push_api import Offline, PushMids
from tests.e2e.conftest import Imctl

MID = 7


def address(up: dict[str, Any], name: str, kind: str = "") -> str:
    nodes = [node for node in up["nodes"] if node["kind"] == kind or not kind]
    return next(node["addresses"][name] for node in nodes if node["addresses"].get(name))


async def push(logic: LogicHttp, body: str) -> bool:
    """Push to the user; return whether logic has accepted it."""
    try:
        await logic.call(PushMids(1000, (MID,)), body.encode())
    except ImctlError:
        return False
    return True


class Receiver:
    """A client that comes back whenever it is closed, acknowledges, and remembers every frame."""

    def __init__(self, tcp: str) -> None:
        self.host, _, port = tcp.rpartition(":")
        self.port = int(port)
        self.connections: list[list[tuple[int, str]]] = []
        self.changed = asyncio.Event()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, WireError, TimeoutError):
                token = AuthToken(mid=MID, accepts=(1000,))
                async with await Client.connect_tcp(self.host, self.port, token, timeout_s=5) as client:
                    self.connections.append([])
                    async for frame in client:
                        if frame.op == 1000:
                            self.connections[-1].append((frame.seq, frame.body.decode()))
                            self.changed.set()
                            if frame.seq % 20 == 0:
                                await client.send(MESSAGES_ACK, seq=frame.seq)
            await asyncio.sleep(0.02)

    @property
    def frames(self) -> list[tuple[int, str]]:
        return [frame for connection in self.connections for frame in connection]

    @property
    def messages(self) -> list[tuple[int, str]]:
        """Frames without those that repeat one: a comet that stalls on a busy machine is handed messages again."""
        return list(dict.fromkeys(self.frames))

    async def until(self, count: int, timeout_s: float = 90.0) -> None:
        """Wait until so many different messages have come."""
        async with asyncio.timeout(timeout_s):
            while len(self.messages) < count:
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def receiving(up: dict[str, Any]):
    receiver = Receiver(address(up, "tcp"))
    running = asyncio.create_task(receiver.run())
    try:
        yield receiver
    finally:
        running.cancel()
        await asyncio.wait((running,))


@contextlib.asynccontextmanager
async def receiving_after(first: Awaitable[None], up: dict[str, Any]):
    await first
    async with receiving(up) as receiver:
        yield receiver


async def test_a_thousand_messages_to_a_user_who_was_away_come_in_order_each_under_one_id(imctl: Imctl, tmp_path: Path):
    store = f"sqlite:///{tmp_path}/messages.db"
    up = imctl.json("up", "--any-port", "--messages", store, "--detach")
    assert up["messages"] == store
    async with LogicHttp(address(up, "logic.http")) as logic:

        async def publish(first: int) -> None:
            for number in range(first, 1000, 8):
                assert await push(logic, str(number))

        await asyncio.gather(*(publish(first) for first in range(8)))
        waiting = imctl.json("offline", "--mid", str(MID))
        async with receiving(up) as receiver:
            await receiver.until(1000)
            async with asyncio.timeout(90):
                while (await logic.call(Offline(MID)))["messages"]:  # noqa: ASYNC110  # nobody here is told
                    await asyncio.sleep(0.02)
    history = imctl.json("history", "--mid", str(MID), "--limit", "2")
    shown = imctl.run("offline", "--mid", str(MID))

    assert (waiting["messages"], waiting["last_id"], waiting["connections"]) == (1000, 1000, [])
    assert [seq for seq, _ in receiver.messages] == list(range(1, 1001))
    numbers = [int(body) for _, body in receiver.messages]
    assert sorted(numbers) == list(range(1000))
    for first in range(8):
        assert [number for number in numbers if number % 8 == first] == list(range(first, 1000, 8))
    assert [message["id"] for message in history["messages"]] == [999, 1000]
    assert shown.returncode == 0
    assert "nothing waits" in shown.stdout


@pytest.mark.parametrize(
    ("kind", "victim"),
    [
        ("sqlite", "core"),
        ("sqlite", "comet-1"),
        pytest.param("redis", "core", marks=pytest.mark.soak),
        pytest.param("redis", "logic-1", marks=pytest.mark.soak),
        pytest.param("redis", "job-1", marks=pytest.mark.soak),
    ],
)
async def test_nothing_is_missing_when_a_node_is_killed_and_repeats_have_their_id(
    imctl: Imctl, tmp_path: Path, kind: str, victim: str, request: pytest.FixtureRequest
):
    options = ["--any-port", "--detach"]
    if kind == "redis":
        redis = request.getfixturevalue("redis_url")
        options += ["--messages", f"{redis}?keep=all", "--store", redis]
        options += ["--bus", f"{redis}?lease_s=1", "--split"] if victim in ("logic-1", "job-1") else []
    else:
        options += ["--messages", f"sqlite:///{tmp_path}/messages.db?keep=all"]
    up = imctl.json("up", *options)
    http = address(up, "http", "logic") if victim in ("logic-1", "job-1") else address(up, "logic.http")
    [pid] = [node["pid"] for node in up["nodes"] if node["name"] == victim]
    accepted: list[str] = []
    logic = LogicHttp(http, timeout_s=5)

    async def publish(numbers: range) -> None:
        for number in numbers:
            # One that was refused may have been kept all the same: its repeat is another message to everybody.
            for attempt in range(1200):
                body = f"{number}.{attempt}"
                if await push(logic, body):
                    accepted.append(body)
                    break
                await asyncio.sleep(0.05)
            else:
                pytest.fail("logic did not come back")

    async with logic, receiving_after(publish(range(100)), up) as receiver:
        publishing = asyncio.create_task(publish(range(100, 300)))
        await receiver.until(120)
        os.kill(pid, signal.SIGKILL)
        await publishing
        async with asyncio.timeout(90):
            while not set(accepted) <= {body for _, body in receiver.frames}:
                receiver.changed.clear()
                await receiver.changed.wait()

    bodies = dict(receiver.frames)
    assert len(set(receiver.frames)) == len(bodies), "an id was given to two messages"
    assert sorted(bodies) == list(range(1, len(bodies) + 1))
    in_order = [bodies[seq] for seq in sorted(bodies)]
    assert [body for body in in_order if body in set(accepted)] == accepted
    for connection in receiver.connections:
        highest = 0
        for seq, _ in connection:
            assert seq <= highest + 1 or highest == 0, "a message was passed over"
            highest = max(highest, seq)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_two_logics_hand_every_message_to_every_connection_in_order(
    imctl: Imctl, tmp_path: Path, kind: str, redis_url: str
):
    messages = {"sqlite": f"sqlite:///{tmp_path}/messages.db", "redis": redis_url}[kind] + "?keep=all"
    shared = ("--bus", f"{redis_url}?lease_s=1", "--store", redis_url, "--messages", messages)
    up = imctl.json("up", "--logic", "2", "--comet", "2", *shared, "--any-port", "--detach")
    logics = [node["addresses"]["http"] for node in up["nodes"] if node["kind"] == "logic"]
    comets = [node["addresses"]["tcp"] for node in up["nodes"] if node["kind"] == "comet"]
    mids = range(1, 11)
    got: dict[tuple[int, str], list[tuple[int, str]]] = {(mid, comet): [] for mid in mids for comet in comets}
    complete = asyncio.Event()

    async def receive(mid: int, comet: str) -> None:
        host, _, port = comet.rpartition(":")
        async with await Client.connect_tcp(host, int(port), AuthToken(mid=mid, accepts=(1000,))) as client:
            connected.release()
            async for frame in client:
                if frame.op == 1000:
                    got[mid, comet].append((frame.seq, frame.body.decode()))
                    if comet == comets[0] and frame.seq % 10 == 0:
                        await client.send(MESSAGES_ACK, seq=frame.seq)
                if all(len(set(frames)) >= 100 for frames in got.values()):
                    complete.set()

    async def publish(mid: int) -> None:
        async with LogicHttp(logics[0]) as one, LogicHttp(logics[1]) as two:
            for number in range(100):
                await (one, two)[number % 2].call(PushMids(1000, (mid,)), str(number).encode())

    connected = asyncio.Semaphore(0)
    receivers = [asyncio.create_task(receive(mid, comet)) for mid, comet in got]
    for _ in receivers:
        await connected.acquire()
    async with LogicHttp(logics[0]) as logic, asyncio.timeout(90):
        for mid in mids:
            while len((await logic.call(Offline(mid)))["connections"]) < 2:  # noqa: ASYNC110  # nobody here is told
                await asyncio.sleep(0.02)
    await asyncio.gather(*map(publish, mids))
    async with asyncio.timeout(90):
        await complete.wait()
    for receiver in receivers:
        receiver.cancel()
    await asyncio.wait(receivers)

    for frames in got.values():
        assert list(dict.fromkeys(frames)) == [(number + 1, str(number)) for number in range(100)]


async def test_pushes_over_the_bus_are_kept_again_soon_after_their_comet_was_killed(imctl: Imctl, tmp_path: Path):
    up = imctl.json("up", "--any-port", "--messages", f"sqlite:///{tmp_path}/messages.db", "--detach")
    host, _, port = address(up, "tcp").rpartition(":")
    [pid] = [node["pid"] for node in up["nodes"] if node["name"] == "comet-1"]
    async with LogicHttp(address(up, "logic.http")) as logic:
        async with await Client.connect_tcp(host, int(port), AuthToken(mid=MID, accepts=(1000,))) as client:
            while not (await logic.call(Offline(MID)))["connections"]:  # noqa: ASYNC110  # nobody here is told
                await asyncio.sleep(0.02)
            assert await push(logic, "live")
            live = await client.receive(10)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ConnectionClosedError):
                await client.receive(10)
        await asyncio.sleep(1.0)  # for so long a comet is trusted without being asked
        for number in range(20):
            assert await push(logic, str(number))
        async with receiving(up) as receiver:
            await receiver.until(20)

    assert (live.seq, live.body) == (0, b"live")
    assert receiver.messages == [(number + 1, str(number)) for number in range(20)]


@pytest.mark.soak
async def test_a_full_store_refuses_pushes_loses_nothing_and_takes_again(imctl: Imctl, tmp_path: Path):
    store = f"sqlite:///{tmp_path}/messages.db"
    up = imctl.json("up", "--any-port", "--messages", f"{store}?max_file_bytes=200000&history=0", "--detach")
    async with LogicHttp(address(up, "logic.http")) as logic:
        count = 0
        while await push(logic, f"{count}" + "x" * 900):
            count += 1
        with pytest.raises(LogicRefusedError) as refused:
            await logic.call(PushMids(1000, (MID,)), b"x" * 900)
        async with receiving(up) as receiver:
            await receiver.until(count)
            async with asyncio.timeout(90):
                while (await logic.call(Offline(MID)))["messages"] >= 20:  # noqa: ASYNC110  # nobody here is told
                    await asyncio.sleep(0.02)
            taken_again = await push(logic, "again")
            await receiver.until(count + 1)

    assert refused.value.code == -500
    assert "is full" in refused.value.text
    assert count > 50
    assert taken_again
    assert [seq for seq, _ in receiver.messages] == list(range(1, count + 2))
    imctl.run("down")
    log = open_messages(store, Limits())
    assert (await log.queue(MID)).last_id == count + 1
    await log.close()
