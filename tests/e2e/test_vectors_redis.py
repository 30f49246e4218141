"""What goim's logic does in Redis, step by step: the same steps with our cluster on a real Redis."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.asyncio import Redis

from imctl.cluster.inprocess import LocalCluster
from imctl.link.methods import HEARTBEAT, RENEW_ONLINE
from protocol.pb import logic as pb
from tests.conftest import RedisServer
from tests.imctl.comet.raw import Raw, eventually, http_post
from tests.vectors.lines import line_params, recording, redis_recording

RECORDED = redis_recording()
COMMANDS = {entry["what"]: entry for entry in RECORDED["monitor"]}

REMOVALS = ("disconnect: ",)
"""goim deletes whatever is there. Here a key is looked at first, so that a client that has moved keeps its session."""
LOOKS = {"WATCH", "UNWATCH", "MGET", "MULTI", "EXEC", "HGET"}

REPORT = "online renew (one RenewOnline RPC): HSET + EXPIRE per non-empty field, in any order"
"""Here the fields without a room are deleted too, and the hash gets its TTL once."""

LOAD = "online load by logic, every 10 s: HGET of 64 fields"
"""Here they are read by one HGETALL."""
LOAD_NOTHING = "online load, nothing stored for that comet: DEL after the 64 HGET"
"""goim deletes what is not there. Here only a report that is too old is deleted."""


@dataclass(slots=True)
class Seen:
    """What the steps did.

    Args:
        commands: Of logic, by the `what` of the recorded step.
        states: Keys by `what`: {key: (type, TTL in ms, value)}.
        answers: Of HTTP requests: status and body, by target.
    """

    commands: dict[str, list[list[str]]] = field(default_factory=dict)
    states: dict[str, dict[str, tuple[str, int, Any]]] = field(default_factory=dict)
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    online: dict[str, str] = field(default_factory=dict)
    online_ttl_ms: int = 0


class Steps:
    """The recorded steps, done to a cluster."""

    def __init__(self, cluster: LocalCluster, client: Redis, monitor: Any, seen: Seen) -> None:
        self.cluster, self.client, self.monitor, self.seen = cluster, client, monitor, seen
        self.logic: Any = cluster.node("logic")

    async def step(self, what: str, act: Callable[[], Awaitable[object]]) -> None:
        """Act, and note the commands that this caused."""
        assert what in COMMANDS
        await self.client.echo("begin")
        await act()
        await self.client.echo("end")
        found: list[list[str]] = []
        while (command := await self.command()) != ["ECHO", "begin"]:
            pass
        while (command := await self.command()) != ["ECHO", "end"]:
            if command[0] not in ("PING", "CLIENT", "SELECT", "HELLO"):
                found.append(command)
        self.seen.commands[what] = found

    async def command(self) -> list[str]:
        async with asyncio.timeout(10):
            return shlex.split((await self.monitor.next_command())["command"])

    async def state(self, number: int) -> None:
        found = {}
        for name in sorted(await self.client.keys("*_*")):
            if name.startswith(("key_", "mid_")):
                kind = await self.client.type(name)
                value = await (self.client.get(name) if kind == "string" else self.client.hgetall(name))
                found[name] = (kind, await self.client.pttl(name), value)
        self.seen.states[RECORDED["states"][number]["what"]] = found

    async def rpc(self, method: Any, request: Any) -> Any:
        reply = self.logic.handlers[method](request)
        return await reply if asyncio.isfuture(reply) or asyncio.iscoroutine(reply) else reply

    async def http(self, target: str, method: str = "POST") -> None:
        status, body = await http_post(self.cluster.http, target, b"x", method)
        self.seen.answers[target] = (status, json.loads(body))

    async def disconnect(self, client: Raw) -> None:
        before = self.logic.stats()["counters"].get("disconnects", 0)
        await client.close()
        await eventually(lambda: self.logic.stats()["counters"].get("disconnects", 0) > before)

    async def sessions(self) -> None:
        tcp = self.cluster.tcp
        clients: list[Raw] = []

        def connect(mid: int, key: str) -> Callable[[], Awaitable[object]]:
            async def act() -> None:
                clients.append(await Raw.login(tcp, mid=mid, key=key, accepts=(1000,)))

            return act

        def heartbeat(mid: int, key: str) -> Callable[[], Awaitable[object]]:
            return lambda: self.rpc(HEARTBEAT, pb.HeartbeatReq(mid=mid, key=key, server="comet-a"))

        def push(target: str) -> Callable[[], Awaitable[object]]:
            return lambda: self.http(f"/goim/push/{target}")

        await self.step("connect: mid 301, key r-1", connect(301, "r-1"))
        await self.state(0)
        await self.step("connect: second key r-2 of mid 301", connect(301, "r-2"))
        await self.state(1)
        await self.step("connect: mid 0, key r-0", connect(0, "r-0"))
        await self.state(2)
        await asyncio.sleep(0.02)
        await self.state(3)
        await self.step("client heartbeat (op 2) soon after connect: no redis command", clients[0].heartbeat)
        await self.step("logic Heartbeat RPC mid 301 key r-1 (mapping present)", heartbeat(301, "r-1"))
        await self.state(4)
        await self.step("logic Heartbeat RPC mid 0 key r-0", heartbeat(0, "r-0"))
        await self.step("logic Heartbeat RPC mid 302 key r-gone (no mapping: it is written)", heartbeat(302, "r-gone"))
        await self.client.delete("key_r-2")
        await self.step(
            "logic Heartbeat RPC mid 301 key r-2 after key_r-2 was deleted by hand (mid_301 present)",
            heartbeat(301, "r-2"),
        )
        await self.step(
            "POST push/mids mids=301,302,999 (999 offline)", push("mids?operation=1000&mids=301&mids=302&mids=999")
        )
        await self.step("POST push/mids without mids", push("mids?operation=1000"))
        await self.step("POST push/keys keys=r-1,r-2,nobody", push("keys?operation=1000&keys=r-1&keys=r-2&keys=nobody"))
        await self.step("POST push/keys without keys", push("keys?operation=1000"))
        await self.step("POST push/room: no redis command", push("room?operation=1000&type=live&room=1"))
        await self.step("POST push/all: no redis command", push("all?operation=1000"))
        await self.step("GET online/top, online/room, online/total: no redis command", self.online_requests)
        await self.step("disconnect: mid 301 key r-2", lambda: self.disconnect(clients[1]))
        await self.state(5)
        await self.step("disconnect: mid 301 key r-1 (last key of the mid)", lambda: self.disconnect(clients[0]))
        await self.step("disconnect: mid 0 key r-0", lambda: self.disconnect(clients[2]))
        await self.state(6)

    async def online_requests(self) -> None:
        for target in ("top?type=live&limit=5", "room?type=live&rooms=1000", "total"):
            await self.http(f"/goim/online/{target}", "GET")

    async def online(self) -> None:
        rooms = {
            room: count
            for text in RECORDED["online"]["value"].values()
            for room, count in json.loads(text)["room_count"].items()
        }
        report = pb.OnlineReq(server="comet-a", roomCount=rooms)
        await self.step(LOAD_NOTHING, self.logic._online.rebuild)
        await self.step(REPORT, lambda: self.rpc(RENEW_ONLINE, report))
        await self.step(LOAD, self.logic._online.rebuild)
        self.seen.online = await self.client.hgetall("ol_comet-a")
        self.seen.online_ttl_ms = await self.client.pttl("ol_comet-a")
        for entry in RECORDED["http_while_online"]:
            await self.http(entry["request"]["url"], "GET")
        await self.rpc(RENEW_ONLINE, pb.OnlineReq(server="comet-a"))
        await self.logic._online.rebuild()
        await self.http(RECORDED["online_after_all_left"]["http"]["request"]["url"], "GET")
        self.seen.answers["after all left"] = (len(await self.client.hgetall("ol_comet-a")), None)


async def play(url: str) -> Seen:
    never = 3600.0
    settings = {
        "comet": {"hostname": "comet-a", "renew_online_s": never, "online_delay_s": never},
        "logic": {"online_every_s": never},
    }
    seen = Seen()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(LocalCluster(store=url, compat_goim=True, settings=settings))
        client = Redis.from_url(url, decode_responses=True, protocol=2, single_connection_client=True)
        stack.push_async_callback(client.aclose)
        watcher = Redis.from_url(url, decode_responses=True, protocol=2)
        stack.push_async_callback(watcher.aclose)
        monitor = await stack.enter_async_context(watcher.monitor())
        steps = Steps(cluster, client, monitor, seen)
        await steps.sessions()
        await client.delete("ol_comet-a")
        await steps.online()
    return seen


@pytest.fixture(scope="module")
def seen(redis_server: RedisServer) -> Seen:
    """All steps, done once."""
    redis_server.flush()
    return asyncio.run(play(redis_server.url))


def recorded_commands(entry: dict[str, Any]) -> list[list[str]]:
    if entry["what"] == REPORT:  # its long values are cut
        return [[command["cmd"].split('"')[1]] for command in entry["commands"]]
    return [shlex.split(command["cmd"]) for command in entry["commands"]]


@pytest.mark.parametrize("entry", line_params("redis.monitor", entries=RECORDED["monitor"]))
def test_commands(seen, entry):
    what = entry["what"]
    ours, theirs = seen.commands[what], recorded_commands(entry)
    if what.startswith(REMOVALS):
        assert [command for command in ours if command[0] not in LOOKS] == theirs
    elif what == REPORT:
        # Keys and values of a report vary with the rooms of the moment; see test_report.
        assert {command[0] for command in theirs} == {"HSET", "EXPIRE"}
        assert {command[0] for command in ours} == {"HSET", "HDEL", "EXPIRE"}
        assert [command for command in ours if command[0] == "EXPIRE"] == [["EXPIRE", "ol_comet-a", "1800"]]
        assert {command[2] for command in ours if command[0] == "HSET"} == set(RECORDED["online"]["value"])
    elif what == LOAD:
        assert [command[:2] for command in theirs] == [["HGET", "ol_comet-a"]] * 64
        assert ours == [["HGETALL", "ol_comet-a"]]
    elif what == LOAD_NOTHING:
        assert theirs == [["DEL", "ol_comet-a"]]
        assert ours == [["HGETALL", "ol_comet-a"]]
    else:
        assert ours == theirs
    if "http" in entry:
        target, response = entry["http"]["request"]["url"], entry["http"]["response"]
        assert seen.answers[target] == (response["status"], json.loads(response["body"]))


@pytest.mark.parametrize("entry", line_params("redis.states", entries=RECORDED["states"]))
def test_states(seen, entry):
    ours = seen.states[entry["what"]]

    assert {name: (kind, value) for name, (kind, _, value) in ours.items()} == {
        name: (key["type"], key["value"]) for name, key in entry["keys"].items()
    }
    # As recorded, up to the seconds that the steps took there.
    assert all(1_790_000 < ttl_ms <= 1_800_000 for _, ttl_ms, _ in ours.values())


def test_a_refresh_sets_the_time_to_live_of_one_key_and_its_user(seen):
    before, after = (seen.states[RECORDED["states"][number]["what"]] for number in (3, 4))
    joined = seen.states[RECORDED["states"][2]["what"]]

    assert all(before[name][1] < joined[name][1] for name in before)
    assert all(after[name][1] > before[name][1] for name in ("key_r-1", "mid_301"))
    assert all(after[name][1] <= before[name][1] for name in ("key_r-2", "key_r-0"))


@recording("redis", "online")
def test_report(seen):
    recorded = {slot: json.loads(text) for slot, text in RECORDED["online"]["value"].items()}

    ours = {slot: json.loads(text) for slot, text in seen.online.items()}

    assert {slot: part["room_count"] for slot, part in ours.items()} == {
        slot: part["room_count"] for slot, part in recorded.items()
    }
    assert {part["server"] for part in ours.values()} == {part["server"] for part in recorded.values()}
    assert all(list(part) == ["server", "room_count", "updated"] for part in ours.values())
    assert 1_790_000 < seen.online_ttl_ms <= 1_800_000


@pytest.mark.parametrize(
    "entry",
    line_params(
        "redis.http_while_online", lambda entry: entry["request"]["url"], entries=RECORDED["http_while_online"]
    ),
)
def test_room_counts_over_http(seen, entry):
    status, ours = seen.answers[entry["request"]["url"]]
    theirs = json.loads(entry["response"]["body"])

    assert status == entry["response"]["status"]
    if "/online/total" in entry["request"]["url"]:
        # Counted by the comet, whose clients have left by now.
        assert list(ours["data"]) == list(theirs["data"])
    elif "/online/top" in entry["request"]["url"]:
        # Rooms of one size come in any order, and a limit may cut among them.
        assert [room["count"] for room in ours["data"]] == [room["count"] for room in theirs["data"]]
        if "limit=200" in entry["request"]["url"]:
            assert sorted(room["room_id"] for room in ours["data"]) == sorted(
                room["room_id"] for room in theirs["data"]
            )
    else:
        assert ours == theirs


@recording("redis", "online_after_all_left")
def test_counts_end_with_the_last_member(seen):
    recorded = RECORDED["online_after_all_left"]
    assert json.loads(recorded["http"]["response"]["body"])["data"] == {"1000": 4, "1001": 1}

    # goim leaves the fields until their time to live ends, so the rooms stay full.
    assert seen.answers[recorded["http"]["request"]["url"]][1]["data"] == {"1000": 0, "1001": 0}
    assert seen.answers["after all left"][0] <= 1
