from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from imctl.cli.commands.push import Receivers, push
from imctl.cluster.inprocess import LocalCluster
from protocol.aio import Client
from protocol.bodies import AuthToken
from tests.imctl.cli.background import Background, FakeLogic

SESSIONS = (
    200,
    '{"code":0,"message":"","data":{"mids":{"1":{"k1":"comet-1","k2":"comet-2"},"2":{}},"keys":{"k":"c"}}}',
)


@pytest.fixture
def logic() -> Iterator[FakeLogic]:
    with Background(lambda: FakeLogic({"/imctl/sessions": SESSIONS})) as found:
        yield found


def test_a_push_says_how_many_connections_it_is_for(invoke, logic):
    result = invoke("push", "--mid", "1", "hi", "--target", logic.address)

    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith("accepted: 1 message, op 1000, 2 bytes, ")
    assert second == "  mid 1: 2 online connections (k1 on comet-1, k2 on comet-2)"
    assert result.stderr == ""
    assert logic.requests == [
        ("GET", "/imctl/sessions?mids=1", b""),
        ("POST", "/goim/push/mids?operation=1000&mids=1", b"hi"),
    ]


def test_nobody_online_is_a_warning_and_no_failure(invoke, logic):
    result = invoke("push", "--mid", "2", "--mid", "1", "hi", "--target", logic.address, "--json")

    assert result.exit_code == 0
    assert "warning: mid 2 has no online connection\nhint: imctl listen --mid 2\n" in result.stderr
    document = json.loads(result.stdout)
    assert document.pop("took_ms") >= 0
    assert document == {
        "accepted": True,
        "messages": 1,
        "op": 1000,
        "bytes": 2,
        "receivers": [
            {"mid": 2, "online": 0, "connections": {}},
            {"mid": 1, "online": 2, "connections": {"k1": "comet-1", "k2": "comet-2"}},
        ],
    }


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["--mid", "2", "--op", "1001"], "imctl listen --mid 2 --accepts 1001"),
        (["--key", "a b"], "imctl listen --key 'a b'"),
        (["--mid", "2", "--cluster", "b"], "imctl listen --mid 2 --cluster b"),
    ],
)
def test_the_hint_is_a_command_that_would_get_the_message(invoke, logic, args, hint):
    result = invoke("push", *args, "hi", "--target", logic.address)

    assert result.stderr.endswith(f"has no online connection\nhint: {hint}\n")


def test_every_kind_of_receiver_gets_its_request(invoke, logic):
    logic.answers["/goim/online/room"] = (200, '{"code":0,"message":"","data":{"房 间":3}}')

    result = invoke(
        *("push", "--key", "k", "--room", "live://房 间", "--all", "--speed", "5", "--op", "-7"),
        *("--target", f"http://{logic.address}/", "--", "-hi"),
    )

    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "  key k: 1 online connection (k on c)",
        "  room live://房 间: 3 online connections when last counted",
        "  everybody: 7 online connections when last counted",
    ]
    assert [request for request in logic.requests if request[0] == "POST"] == [
        ("POST", "/goim/push/keys?operation=-7&keys=k", b"-hi"),
        ("POST", "/goim/push/room?operation=-7&type=live&room=%E6%88%BF%20%E9%97%B4", b"-hi"),
        ("POST", "/goim/push/all?operation=-7&speed=5", b"-hi"),
    ]


def test_a_go_logic_does_not_tell_who_is_online(invoke):
    with Background(FakeLogic) as logic:
        result = invoke("push", "--mid", "1", "--key", "k", "hi", "--target", logic.address)
        again = invoke("push", "--mid", "1", "hi", "--target", logic.address, "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    assert "  mid 1: this logic does not tell who is online\n" in result.stdout
    assert json.loads(again.stdout)["receivers"] == [{"mid": 1, "online": None, "connections": {}}]


def test_a_message_that_is_kept_is_said_and_is_no_reason_to_warn(invoke, logic):
    logic.answers["/imctl/sessions"] = (200, '{"code":0,"message":"","data":{"mids":{"9":{}},"keys":{}}}')
    logic.answers["/imctl/offline"] = (200, '{"code":0,"message":"","data":{"messages":2}}')

    result = invoke("push", "--mid", "9", "hi", "--target", logic.address)
    as_json = json.loads(invoke("push", "--mid", "9", "hi", "--target", logic.address, "--json").stdout)

    assert result.stderr == ""
    assert result.stdout.splitlines()[1:] == ["  mid 9: 0 online connections, 2 messages kept"]
    assert as_json["receivers"] == [{"mid": 9, "online": 0, "waiting": 2, "connections": {}}]


def test_a_body_comes_from_a_file_or_stdin_byte_by_byte(invoke, logic, tmp_path, monkeypatch):
    path = tmp_path / "body"
    path.write_bytes(b"\xff\0\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xfe\n")))

    invoke("push", "--mid", "1", "--file", str(path), "--target", logic.address)
    invoke("push", "--mid", "1", "", "--target", logic.address)

    assert [body for method, _, body in logic.requests if method == "POST"] == [b"\xff\0\n", b""]


def test_several_messages_are_pushed_by_a_schedule(invoke, logic):
    result = invoke(*["push", "--mid", "1", "hi", "--count", "5", "--rate", "500", "--json", "--target"], logic.address)

    document = json.loads(result.stdout)
    assert document["messages"] == 5
    assert document["took_ms"] >= 4 * 2 - 1  # a timer of uvloop may be a millisecond early
    # Four gaps between five messages: not over what was asked for, but for that millisecond.
    assert 0 < document["rate_per_s"] < 600
    assert sum(method == "POST" for method, _, _ in logic.requests) == 5


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ((200, '{"code":-500,"message":"bus is gone"}'), 1, "logic answered code -500: bus is gone"),
        ((200, '{"code":-400,"message":""}'), 1, "logic answered code -400: no reason given"),
        ((400, '{"code":-400,"message":"bad mids"}'), 1, "logic answered code -400: bad mids"),
        ((500, ""), 1, "HTTP status 500 and no body"),
        ((404, "404 page not found"), 1, "does not serve /goim/push/mids"),
        ((200, "<html>"), 4, "answered HTTP status 200, and not as a logic: reply is not goim's envelope"),
    ],
)
def test_what_logic_refuses_is_told(invoke, logic, answer, code, message):
    logic.answers["/goim/push/mids"] = answer

    result = invoke("push", "--mid", "1", "hi", "--target", logic.address)

    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("error: ")
    assert message in result.stderr


def test_a_failure_on_the_way_says_how_many_were_accepted(invoke, logic):
    ok, bad = (200, '{"code":0,"message":""}'), (200, '{"code":-500,"message":"full"}')
    logic.answers["/goim/push/mids"] = [ok, ok, bad]

    result = invoke("push", "--mid", "1", "hi", "--count", "9", "--target", logic.address, "--json")

    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["message"] == "2 of 9 messages were accepted, then logic answered code -500: full"


def test_without_a_cluster_it_exits_4(invoke):
    result = invoke("push", "--mid", "1", "hi")

    assert (result.exit_code, result.stderr.splitlines()[1]) == (4, "hint: imctl up")


def test_nobody_at_the_target_exits_4(invoke):
    result = invoke("push", "--mid", "1", "hi", "--target", "127.0.0.1:1")

    assert result.exit_code == 4
    assert "logic 127.0.0.1:1 cannot be reached: Connection refused" in result.stderr


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ("hi", "nobody to push to"),
        ("--mid 1", "give the message either as BODY or by --file"),
        ("--mid 1 hi --file x", "give the message either as BODY or by --file"),
        ("--mid 1 --file /no/such/file", "/no/such/file: No such file or directory"),
        ("--mid one hi", "--mid"),
        ("--mid 9223372036854775808 hi", "9223372036854775808 is no mid; expected a number of 64 bits"),
        ("--key= hi", "no connection has an empty key"),
        ("--mid 1 --speed 5 hi", "only a push to --all has one"),
        ("--mid 1 --rate 40 hi", "one message has no rate: add --count N"),
        ("--room 1 hi", "'1' is no room; expected TYPE://ID"),
        ("--all --op 0 hi", "goim takes no op 0"),
        ("--mid 1 --op 2147483648 hi", "--op"),
        ("--mid 1 --count 0 hi", "--count"),
        ("--mid 1 hi --target nowhere", "'nowhere' is no address; expected HOST:PORT"),
        ("--mid 1 hi --target h:65536", "'h:65536' is no address"),
    ],
)
def test_wrong_use_exits_2_and_says_why(invoke, args, problem):
    result = invoke("push", *args.split())

    assert result.exit_code == 2
    assert problem in result.stderr


async def test_a_push_reaches_the_clients_of_a_cluster():
    async with LocalCluster() as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        token = AuthToken(mid=1, key="k", room_id="live://1", accepts=(1000,))
        async with await Client.connect_tcp(host, int(port), token) as client:
            receivers = Receivers(mids=(1, 2), keys=("k",), rooms=(("live", "1"),), everybody=True)

            result = await push(cluster.http, receivers, 1000, b"hi", count=2)

            assert [receiver.online for receiver in result.receivers][:3] == [1, 0, 1]
            assert [(await client.receive(5)).body for _ in range(8)] == [b"hi"] * 8
