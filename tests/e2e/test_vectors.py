"""The recorded dialogues of a real goim, replayed byte by byte against a running cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from imctl.cluster.inprocess import LocalCluster
from imctl.link.contract import PeerError
from protocol.decoder import FrameDecoder
from protocol.frame import Frame
from protocol.pb import logic as pb
from protocol.raw import flatten
from protocol.state import reply_to
from protocol.websocket import serialize_message
from tests.imctl.comet.raw import Raw, Rig, eventually, http_post
from tests.protocol.recordings import FOLDER, dialogues

__all__: list[str] = []

SCALE = 0.1
"""Recorded times are replayed at a tenth: the handshake timer of 8 s is 0.8 s here."""
LATE_S = 1.5
"""A timer ends a connection at most this much late on a busy machine; its own grain is 0.1 s."""

TIMED = ("handshake-timeout", "heartbeat-timeout")


def one_connection(file: str) -> list[Any]:
    return [
        pytest.param(one, id=one["name"]) for one in dialogues(file) if not any("conn" in step for step in one["steps"])
    ]


def several_connections(file: str) -> list[Any]:
    return [
        pytest.param(one, id=one["name"])
        for one in dialogues(file)
        if any("conn" in step for step in one["steps"]) and one["name"] not in NOT_REPLAYED
    ]


# --- where we differ, and why ------------------------------------------------

ANSWERED_IN_FULL = {
    "pipeline-30-heartbeats": 30,
    "pipeline-200-heartbeats-0": 200,
    "pipeline-200-heartbeats-1": 200,
    "pipeline-200-heartbeats-2": 200,
}
"""TCP: goim closes when more than 8 requests wait for their reply, or answers some; here all are answered."""

STILL_A_MEMBER = {102, 103}
"""change-room, sequence numbers of heartbeats: a client alone in a room that changes to the same room stays in it.
goim closes that room and answers 0 from then on."""

CLOSED_HERE = {"header-only-message-body-missing"}
"""WebSocket: a message shorter than its pack length closes, where goim reads memory that is not the message's."""

PONGS = {
    "pings-102": [b""] * 101,
    "heartbeat-timeout-ping-frames": [b"p0", b"p1", b"p2", b"p3"],
}
"""WebSocket: a pong leaves at once; in goim it waits for the next reply, which in these dialogues does not come."""

NOT_REPLAYED = {
    "redis-down": "a store that fails is replayed with a fake logic below: connect-error-*, receive-error",
    "room-name-not-utf8": "goim's comet then reports no room counts at all; see test_room_name_that_is_not_utf8",
    "heartbeat-count-before-and-after": "goim's counts lag by up to 20 s; see test_room_counts_are_the_members",
    "same-key-twice": "goim loses the session of the second connection; see test_same_key_twice",
}

DELIVERED_HERE = {"room-same-change-then-push"}
"""As change-room above: the push reaches the client, which is still a member."""


# --- one connection -----------------------------------------------------------


def adapted(steps: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the steps with what we answer where that differs."""
    if name in ANSWERED_IN_FULL:
        asked = next(i for i, step in enumerate(steps[2:], 2) if "send" in step)
        sent = FrameDecoder()
        sent.feed(bytes.fromhex(steps[asked]["send"]))
        answers = [reply_to(frame) for frame in iter(sent.next_frame, None)]
        assert len(answers) == ANSWERED_IN_FULL[name]
        return [*steps[: asked + 1], {"recv": b"".join(answers).hex()}, {"note": "client closes"}]
    if name == "change-room":
        return [
            {**step, "recv": step["recv"][:-2] + "01"}
            if "recv" in step and step["frames"][0]["op"] == 3 and step["frames"][0]["seq"] in STILL_A_MEMBER
            else step
            for step in steps
        ]
    if name in CLOSED_HERE:
        bad = next(i for i, step in enumerate(steps[4:], 4) if "send" in step)
        return [*steps[: bad + 1], {"closed": "eof"}]
    if name in PONGS:
        closed = next(i for i, step in enumerate(steps) if "closed" in step)
        return [
            *steps[:closed],
            {"recv": b"".join(serialize_message(pong, opcode=10) for pong in PONGS[name]).hex()},
            *steps[closed:],
        ]
    return steps


async def replay_one(steps: list[dict[str, Any]], address: str, *, scale: float = 0.0) -> tuple[bytes, str, float]:
    """Send what was sent, each time after what was received before it; return bytes, how it ended, and when in ms."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    wanted = 0
    async with await Raw.connect(address, is_ws=False) as client:
        for step in steps:
            if scale:
                await asyncio.sleep(begin + step["t_ms"] / 1000 * scale - loop.time() if "send" in step else 0)
            if "send" in step and not client.closed:
                client.write(bytes.fromhex(step["send"]))
            elif "recv" in step:
                wanted += len(step["recv"]) // 2
                await client.read_total(wanted)
            elif "closed" in step:
                await client.read_to_end()
            elif step.get("note") in ("client closes", "client shuts down writing"):
                # The server ends both ways too, and what it had to say comes first.
                client.writer.write_eof()
        ended_ms = 0.0
        if not client.closed:
            await client.read_to_end()
        ended_ms = (loop.time() - begin) * 1000
        return client.data, client.closed, ended_ms


def received(steps: list[dict[str, Any]]) -> bytes:
    return b"".join(bytes.fromhex(step["recv"]) for step in steps if "recv" in step)


@pytest.mark.parametrize("dialogue", [d for d in one_connection("tcp-sessions") if not d.id.startswith(TIMED)])
async def test_tcp_dialogue(dialogue):
    steps = adapted(dialogue["steps"], dialogue["name"])
    async with LocalCluster() as cluster:
        data, closed, _ = await replay_one(steps, cluster.tcp)

    assert data == received(steps)
    assert closed == "eof"


@pytest.mark.parametrize("dialogue", [d for d in one_connection("ws-sessions") if not d.id.startswith(TIMED)])
async def test_ws_dialogue(dialogue):
    steps = adapted(dialogue["steps"], dialogue["name"])
    async with LocalCluster() as cluster:
        data, closed, _ = await replay_one(steps, cluster.ws)

    assert data == received(steps)
    # A reset where bytes of the client were left unread, as in the recording.
    assert closed in {step["closed"] for step in steps if "closed" in step} | {"eof"}


@pytest.mark.parametrize(
    ("file", "dialogue"),
    [
        pytest.param(file, d.values[0], id=f"{file[:3].strip('-')}-{d.id}")
        for file in ("tcp-sessions", "ws-sessions")
        for d in one_connection(file)
        if d.id.startswith(TIMED)
    ],
)
async def test_timer_ends_the_connection(file, dialogue):
    settings = {
        "comet": {"handshake_timeout_s": 8 * SCALE},
        "logic": {"heartbeat_s": 2 * SCALE, "heartbeat_max": 2},
    }
    async with LocalCluster(settings=settings) as cluster:
        address = cluster.tcp if file == "tcp-sessions" else cluster.ws
        steps = adapted(dialogue["steps"], dialogue["name"])
        data, closed, ended_ms = await replay_one(steps, address, scale=SCALE)
        stats = cluster.node("comet-1").stats()

    assert data == received(steps)
    assert closed == "eof"
    recorded_ms = dialogue["steps"][-1]["t_ms"] * SCALE
    assert recorded_ms - 30 < ended_ms < recorded_ms + LATE_S * 1000
    why = "closed.heartbeat_timeout" if dialogue["name"].startswith("heartbeat") else "closed.handshake_timeout"
    assert stats["counters"][why] == 1


# --- several connections ------------------------------------------------------


class Player:
    """Replays a dialogue of several connections; what each client's application saw is in `seen`."""

    def __init__(self, cluster: LocalCluster, *, is_ws: bool) -> None:
        self.cluster = cluster
        self.is_ws = is_ws
        self.clients: dict[str, Raw] = {}
        self.seen: dict[str, list[Frame]] = {}

    async def play(self, dialogue: dict[str, Any]) -> None:
        wanted: dict[str, list[Frame]] = {}
        for step in dialogue["steps"]:
            conn = step.get("conn", "")
            if step.get("note") == "connect":
                is_ws = conn == "W" or (self.is_ws and conn != "T")
                address = self.cluster.ws if is_ws else self.cluster.tcp
                self.clients[conn] = await Raw.connect(address, is_ws=is_ws, upgrade=False)
                self.seen[conn] = []
            if "send" in step:
                self.clients[conn].write(bytes.fromhex(step["send"]))
            if "recv" in step:
                wanted[conn] = self.expected(dialogue, conn, until=step)
                await self.catch_up(conn, len(wanted[conn]))
            if "closed" in step:
                await self.clients[conn].read_to_end()
            if isinstance(step.get("http"), dict):
                # 25 requests are recorded as their first and last one.
                first = step.get("note", "").startswith("first of 25")
                last = step.get("note", "").startswith("last of 25")
                bodies = [b'{"n":%d}' % n for n in range(25)] if first else [] if last else [body_of(step)]
                for body in bodies:
                    await self.push(step["http"], body)

    async def push(self, http: dict[str, Any], body: bytes) -> None:
        request, response = http["request"], http["response"]
        status, answer = await http_post(self.cluster.http, request["url"], body, request["method"])
        assert (status, answer.decode()) == (response["status"], response["body"])

    def expected(self, dialogue: dict[str, Any], conn: str, until: dict[str, Any] | None = None) -> list[Frame]:
        """Return the frames that goim's client had received by a step."""
        data = b""
        for step in dialogue["steps"]:
            if step.get("conn") == conn and "recv" in step:
                data += bytes.fromhex(step["recv"])
            if step is until:
                break
        return application(data, is_ws=self.clients[conn].is_ws)

    async def catch_up(self, conn: str, count: int) -> None:
        client = self.clients[conn]
        while len(application(client.data, is_ws=client.is_ws)) < count:
            assert await client.read(), f"{conn} was closed"

    async def end(self) -> dict[str, list[Frame]]:
        """Let every client finish, and return what each saw."""
        for conn, client in self.clients.items():
            if not client.closed:
                client.writer.write_eof()
            await client.read_to_end()
            self.seen[conn] = application(client.data, is_ws=client.is_ws)
        return self.seen

    async def aclose(self) -> None:
        for client in self.clients.values():
            await client.close()


def body_of(step: dict[str, Any]) -> bytes:
    request = step["http"]["request"]
    return bytes.fromhex(request["body_hex"]) if "body_hex" in request else request.get("body", "").encode()


def application(data: bytes, *, is_ws: bool) -> list[Frame]:
    """Return the frames an application sees in what a client received, containers of WebSocket unwrapped."""
    client = Raw(None, None, is_ws=is_ws)  # decodes only
    if is_ws:
        _, _, data = data.partition(b"\r\n\r\n")
    client.feed(data)
    if not is_ws:
        return list(client.frames)
    return [inner for frame in client.frames for inner in flatten(frame)]


async def drain(cluster: LocalCluster) -> None:
    """Return when every push made before has been written: a later one by key and one by room have arrived."""
    async with await Raw.login(cluster.tcp, key="sentinel", room_id="sentinel://1", accepts=(99,)) as sentinel:
        for url in ("push/keys?operation=99&keys=sentinel", "push/room?operation=99&type=sentinel&room=1"):
            await http_post(cluster.http, f"/goim/{url}", b"s")
            assert (await sentinel.frame()).op == 99


@pytest.mark.parametrize("dialogue", several_connections("ws-sessions"))
async def test_ws_dialogue_of_several(dialogue):
    async with LocalCluster() as cluster:
        async with contextlib.aclosing(Player(cluster, is_ws=True)) as player:
            await player.play(dialogue)
            seen = await player.end()

            assert {conn: player.expected(dialogue, conn) for conn in seen} == seen


@pytest.mark.parametrize(
    ("file", "dialogue"),
    [
        pytest.param(file, d.values[0], id=f"{file[:3].strip('-')}-{d.id}")
        for file in ("tcp-pushes", "ws-pushes")
        for d in several_connections(file)
    ],
)
async def test_push(file, dialogue):
    async with LocalCluster() as cluster:
        async with contextlib.aclosing(Player(cluster, is_ws=file == "ws-pushes")) as player:
            await player.play(dialogue)
            await drain(cluster)
            seen = await player.end()

        for conn, frames in seen.items():
            expected = player.expected(dialogue, conn)
            if dialogue["name"] in DELIVERED_HERE:
                assert frames[: len(expected)] == expected
                assert [frame.op for frame in frames[len(expected) :]] == [1000]
                continue
            # Replies are in order among themselves, and so are pushes; goim lets a reply overtake a push.
            for is_push in (False, True):
                assert [f for f in frames if (f.seq == 0) is is_push] == [
                    f for f in expected if (f.seq == 0) is is_push
                ]
            if dialogue["name"] != "reply-and-push-together":
                assert frames == expected


# --- a comet alone, with a logic that misbehaves -------------------------------

# Not by splitlines(): a body in this file holds a Unicode line separator.
GRPC = [json.loads(line) for line in (FOLDER / "grpc.jsonl").read_text(encoding="utf-8").split("\n") if line]
SESSIONS = [one for one in GRPC if one["kind"] == "session" and one["name"] != "logic-killed"]

REFUSED_AT_ONCE = {"comet-without-logic"}
"""goim's comet waits for a logic until the handshake timer ends; here the client is refused at once."""


@pytest.mark.parametrize("link", ["local", "batched", "unary"])
@pytest.mark.parametrize("dialogue", SESSIONS, ids=[one["name"] for one in SESSIONS])
async def test_session_with_a_test_logic(dialogue, link):
    name = dialogue["name"]
    settings = {"handshake_timeout_s": 8 * SCALE, "renew_online_s": 10 * SCALE, "online_delay_s": 3 * SCALE}
    async with Rig(link="" if name == "comet-without-logic" else link, **settings) as rig:
        rig.logic.scale = SCALE
        rig.logic.rooms = {"live://many": 12345, "live://zero": 0}
        rig.logic.receive = slow_or_failing
        address = rig.ws if name.startswith("ws-") else rig.tcp
        data, closed, ended_ms = await replay_one(dialogue["steps"], address, scale=SCALE)
        counters = rig.counters

    assert data == received(dialogue["steps"])
    assert closed == "eof"
    recorded_ms = 0 if name in REFUSED_AT_ONCE else dialogue["steps"][-1]["t_ms"] * SCALE
    if "closed" in dialogue["steps"][-1]:
        assert recorded_ms - 30 < ended_ms < recorded_ms + LATE_S * 1000
    if name in REFUSED_AT_ONCE or "connect-error" in name:
        assert (counters["refused_auth"], counters["closed.auth_refused"]) == (1, 1)
    if name.startswith("receive-error"):
        assert counters["receive_errors"] == 1


def slow_or_failing(request: Any) -> Any:
    """Answer Receive as the test logic of the recording did."""
    if request.proto.op == 2001:
        raise PeerError("refused by the test", 13)
    if request.proto.op == 2002:
        return answer_later()
    return pb.ReceiveReply()


async def answer_later() -> Any:
    await asyncio.sleep(2 * SCALE)
    return pb.ReceiveReply()


@pytest.mark.parametrize("link", ["local", "batched", "unary"])
async def test_logic_killed(link):
    dialogue = next(one for one in GRPC if one.get("name") == "logic-killed")
    async with Rig(link=link) as rig:
        async with await Raw.login(rig.tcp, key="before"):
            await rig.stop_logic()
            for conn in "AB":
                steps = [step for step in dialogue["steps"] if step["conn"] == conn]
                data, closed, ended_ms = await replay_one(steps, rig.tcp)

                assert (data, closed) == (b"", "eof")
                assert ended_ms < LATE_S * 1000


# --- what is not replayed, shown in our own way --------------------------------


async def test_room_counts_are_the_members():
    settings = {"comet": {"online_delay_s": 0.05, "renew_online_s": 0.1}}
    async with LocalCluster(comets=2, settings=settings) as cluster:
        one, two = cluster.tcp_all
        async with (
            await Raw.login(one, key="a", room_id="live://hb") as a,
            await Raw.login(one, key="b", room_id="live://hb") as b,
            await Raw.login(two, key="c", room_id="live://hb") as c,
        ):
            for client in (a, b, c):
                await until_online(client, 3)
            await c.change_room("live://other")
            await until_online(a, 2)
            await until_online(c, 1)
            await c.change_room("")

            # The last count is told for as long as the client is in no room.
            assert [await c.heartbeat(), await c.heartbeat()] == [1, 1]
            status, body = await http_post(cluster.http, "/goim/online/room?type=live&rooms=hb", method="GET")
            assert (status, json.loads(body)["data"]) == (200, {"hb": 2})


async def until_online(client: Raw, count: int) -> None:
    async with asyncio.timeout(10):
        while await client.heartbeat() != count:
            pass


async def test_same_key_twice():
    async with LocalCluster() as cluster:
        async with await Raw.login(cluster.tcp, mid=90, key="k-same", room_id="live://s", accepts=(1000,)) as old:
            async with await Raw.login(cluster.tcp, mid=90, key="k-same", room_id="live://s", accepts=(1000,)) as new:
                assert await old.read_to_end() == bytes.fromhex("00000010001000010000000800000001")
                assert await new.heartbeat() == 1

                for url in ("keys?operation=1000&keys=k-same", "mids?operation=1000&mids=90"):
                    await http_post(cluster.http, f"/goim/push/{url}", b'{"x":1}')
                    assert (await new.frame()).body == b'{"x":1}'
        comet = cluster.node("comet-1")
        await eventually(lambda: comet.stats()["counters"]["disconnected"] == 1)
        assert comet.stats()["counters"]["replaced"] == 1


async def test_room_name_that_is_not_utf8():
    async with LocalCluster(settings={"comet": {"online_delay_s": 0.05}}) as cluster:
        async with (
            await Raw.login(cluster.tcp, key="a", room_id="live://1") as a,
            await Raw.login(cluster.tcp, key="b", room_id="live://1") as b,
        ):
            await until_online(b, 2)
            a.request(12, b"\xff\xfe")

            assert (await a.frame()).body == b"\xff\xfe"
            assert await a.heartbeat() == 2  # it stays where it is
            await a.change_room("")
            await until_online(b, 1)  # and room counts go on
        assert cluster.node("comet-1").stats()["counters"]["bad_room"] == 1
