from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from imctl.cli.commands.history import read_history
from imctl.cli.commands.offline import delete_queue, read_queue
from imctl.cli.logic_http import LogicHttp, LogicRefusedError
from imctl.cluster.inprocess import LocalCluster
from protocol.push_api import History, PushMids, PushRoom
from tests.imctl.cli.background import Background, FakeLogic

BINARY = base64.b64encode(b"\x00\xff").decode()
MESSAGES = [
    {"id": 9, "operation": 1000, "time_ms": 1_700_000_000_000, "body": "hi"},
    {"id": 10, "operation": 7, "time_ms": 1_700_000_001_000, "body_base64": BINARY},
]
QUEUE = {
    "mid": 1,
    "messages": 3,
    "bytes": 1500,
    "oldest_ms": 1_700_000_000_000,
    "last_id": 12,
    "connections": [{"key": "k", "server": "comet-1", "handed": 10}],
}


def answer(data: object) -> tuple[int, str]:
    return 200, json.dumps({"code": 0, "message": "", "data": data})


@pytest.fixture
def logic(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLogic]:
    monkeypatch.setenv("TZ", "UTC")
    answers = {"/imctl/history": answer({"messages": MESSAGES}), "/imctl/offline": answer(QUEUE)}
    with Background(lambda: FakeLogic(answers)) as found:
        yield found


def test_a_history_is_shown_a_line_a_push(invoke, logic):
    result = invoke("history", "--mid", "1", "--limit", "2", "--before", "11", "--target", logic.address)

    first, second = result.stdout.splitlines()
    assert first.split()[0] == "9"
    assert "hi" in first
    assert second.startswith("10  ")
    assert second.endswith("hex 00ff")
    assert [(method, target) for method, target, _ in logic.requests] == [
        ("GET", "/imctl/history?mid=1&limit=2&before=11")
    ]
    as_json = json.loads(invoke("history", "--mid", "1", "--target", logic.address, "--json").stdout)
    assert as_json == {"messages": MESSAGES}


def test_the_history_of_a_room_is_asked_for_by_its_key(invoke, logic):
    logic.answers["/imctl/history"] = answer({"messages": []})

    result = invoke("history", "--room", "live://1", "--target", logic.address)

    assert (result.exit_code, result.stdout) == (0, "nothing is kept\n")
    assert logic.requests[0][1] == "/imctl/history?room=live%3A%2F%2F1&limit=20&before=0"


@pytest.mark.parametrize("args", [(), ("--mid", "1", "--room", "live://1"), ("--room", "lobby"), ("--mid", "0")])
def test_a_history_is_of_one_user_or_one_room(invoke, logic, args):
    assert invoke("history", *args, "--target", logic.address).exit_code == 2
    assert logic.requests == []


def test_what_waits_is_shown(invoke, logic):
    result = invoke("offline", "--mid", "1", "--target", logic.address)

    first, second = result.stdout.splitlines()
    assert first.startswith("mid 1: 3 messages wait, 1.5 kB, ids 10 to 12, since 2023-11-1")
    assert second == "  k on comet-1: has been handed up to id 10"
    assert json.loads(invoke("offline", "--mid", "1", "--target", logic.address, "--json").stdout) == QUEUE


def test_a_single_message_is_one(invoke, logic):
    logic.answers["/imctl/offline"] = answer(QUEUE | {"messages": 1, "bytes": 5, "connections": []})

    shown = invoke("offline", "--mid", "1", "--target", logic.address).stdout

    assert shown.startswith("mid 1: 1 message waits, 5 B, id 12, since ")


def test_an_empty_queue_is_said(invoke, logic):
    logic.answers["/imctl/offline"] = answer(QUEUE | {"messages": 0, "bytes": 0, "oldest_ms": None, "connections": []})

    assert invoke("offline", "--mid", "1", "--target", logic.address).stdout == "mid 1: nothing waits\n"


def test_a_queue_is_deleted(invoke, logic):
    logic.answers["/imctl/offline"] = answer({"deleted": 3})

    result = invoke("offline", "--mid", "1", "--delete", "--target", logic.address)

    assert result.stdout == "mid 1: 3 waiting messages and the history are deleted\n"
    assert logic.requests == [("DELETE", "/imctl/offline?mid=1", b"")]


@pytest.mark.parametrize("args", [("history", "--mid", "1"), ("offline", "--mid", "1")])
def test_a_logic_that_keeps_nothing_and_a_go_logic_are_told(invoke, logic, args):
    text = "no hook keeps messages here; start it with --messages sqlite://"
    logic.answers[f"/imctl/{args[0]}"] = (200, json.dumps({"code": -500, "message": text}))
    refused = invoke(*args, "--target", logic.address)
    logic.answers[f"/imctl/{args[0]}"] = (404, "404 page not found")
    unknown = invoke(*args, "--target", logic.address)

    assert (refused.exit_code, unknown.exit_code) == (1, 1)
    assert text in refused.stderr
    assert f"does not serve /imctl/{args[0]}" in unknown.stderr


async def test_a_real_cluster_answers():
    async with LocalCluster(messages="memory://cli") as cluster:
        async with LogicHttp(cluster.http) as logic:
            await logic.call(PushMids(1000, (1, 2)), b"\xff")
            await logic.call(PushRoom(1000, "live", "1"), b"to the room")
        queue = await read_queue(cluster.http, 1)
        mine = await read_history(cluster.http, History(mid=1))
        room = await read_history(cluster.http, History(room="live://1"))
        deleted = await delete_queue(cluster.http, 1)

        assert (queue.messages, queue.bytes, queue.last_id, queue.connections) == (1, 1, 1, [])
        assert [(message["id"], message["body_base64"]) for message in mine.messages] == [(1, "/w==")]
        assert [message["body"] for message in room.messages] == ["to the room"]
        assert deleted.deleted == 1
        assert (await read_queue(cluster.http, 1)).messages == 0
        assert (await read_queue(cluster.http, 2)).messages == 1


async def test_a_real_cluster_without_a_store_says_so():
    async with LocalCluster() as cluster:
        with pytest.raises(LogicRefusedError, match="no hook keeps messages here"):
            await read_queue(cluster.http, 1)
