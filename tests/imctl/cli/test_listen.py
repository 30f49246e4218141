from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from imctl.cli.commands.listen import Listener
from imctl.cli.commands.push import Receivers, push
from imctl.cli.logic_http import LogicHttp
from imctl.cli.printer import Printer
from imctl.cluster.inprocess import LocalCluster
from protocol.aio import ConnectError, ReplyTimeoutError
from protocol.bodies import AuthToken
from protocol.frame import Frame
from protocol.push_api import Offline, PushMids
from tests.imctl.cli.background import Background
from tests.imctl.cli.said import Said
from tests.protocol.aio.fake_comet import FakeComet

HI = Frame(1, 1000, 0, b"hi")
BINARY = Frame(2, 1001, -3, b"\xff\x00")


def greeter(*frames: Frame, **options: bool) -> Callable[[], FakeComet]:
    return lambda: FakeComet(greeting=frames, **options)


def target(comet: FakeComet) -> str:
    return f"127.0.0.1:{comet.port}"


@pytest.mark.parametrize("ws", [False, True])
def test_messages_are_printed_until_there_are_enough(invoke, ws):
    with Background(greeter(HI, BINARY, HI, ws=ws)) as comet:
        args = ["listen", "--mid", "7", "--key", "k", "--room", "live://1", "--accepts", "1000, 1001", "-n", "2"]
        result = invoke(*args, "--target", target(comet), *(["--ws"] if ws else []))

    assert result.exit_code == 0
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}  1000      2  hi\n\d\d:\d\d:\d\d\.\d{3}  1001      2  hex ff00\n", result.stdout
    )
    transport = "WebSocket" if ws else "TCP"
    assert result.stderr == (
        f"listening on {target(comet)} over {transport}: mid 7, key k, room live://1, accepts 1000,1001\n"
    )
    assert comet.tokens == [AuthToken(7, "k", "live://1", "imctl", (1000, 1001))]


def test_json_is_a_line_a_message(invoke):
    with Background(greeter(HI, BINARY)) as comet:
        result = invoke("listen", "-n", "2", "--json", "--quiet", "--target", target(comet))

    first, second = map(json.loads, result.stdout.splitlines())
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]", first.pop("time"))
    assert first == {"op": 1000, "ver": 1, "seq": 0, "bytes": 2, "body": "hi"}
    assert (second["body_hex"], "body" in second, second["seq"]) == ("ff00", False, -3)
    assert result.stderr == ""


def test_a_key_is_made_up_and_told(invoke):
    with Background(greeter(HI)) as comet:
        result = invoke("listen", "-n", "1", "--target", target(comet))

    [token] = comet.tokens
    assert re.fullmatch("imctl-[0-9a-f]{12}", token.key)
    assert f"mid 0, key {token.key}, accepts 1000" in result.stderr


def test_too_few_messages_in_time_exit_27(invoke):
    with Background(greeter(HI)) as comet:
        result = invoke("listen", "-n", "2", "--timeout", "200ms", "--target", target(comet), "--json")

    assert result.exit_code == 27
    assert "error: 1 of 2 messages within 0.2 s" in result.stderr
    assert json.loads(result.stdout.splitlines()[1])["error"]["kind"] == "TimedOutError"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (ReplyTimeoutError("auth", 1.0), "no answer to auth from comet 127.0.0.1:1\nhint: does a logic run?"),
        (ReplyTimeoutError("upgrade", 1.0), "no answer to upgrade from comet 127.0.0.1:1"),
        (ConnectError("127.0.0.1:1", "no connection within 1 s"), "no connection to comet 127.0.0.1:1"),
    ],
)
def test_a_time_limit_that_comes_before_the_connection_says_what_was_missing(invoke, monkeypatch, problem, said):
    limits_s = []

    async def connect_tcp(host, port, token, *, timeout_s):
        limits_s.append(timeout_s)
        raise problem from TimeoutError()

    monkeypatch.setattr("protocol.aio.Client.connect_tcp", connect_tcp)

    result = invoke("listen", "-n", "1", "--timeout", "4s", "--reconnect", "--target", "127.0.0.1:1")

    assert result.exit_code == 27
    assert f"error: 0 of 1 messages within 4 s: {said}" in result.stderr
    assert [0 < limit_s <= 4.0 for limit_s in limits_s] == [True]


def test_without_a_time_limit_an_auth_that_is_not_answered_exits_4(invoke, monkeypatch):
    async def connect_tcp(host, port, token, *, timeout_s):
        raise ReplyTimeoutError("auth", timeout_s) from TimeoutError()

    monkeypatch.setattr("protocol.aio.Client.connect_tcp", connect_tcp)

    result = invoke("listen", "--target", "127.0.0.1:1")

    assert (result.exit_code, result.stderr.splitlines()[0]) == (4, "error: comet: no answer to auth within 5 s")


def test_a_time_limit_while_reconnecting_says_what_failed_last(invoke):
    result = invoke("listen", "--reconnect", "--timeout", "50ms", "--target", "127.0.0.1:1")

    assert result.exit_code == 27
    assert "error: 0 messages within 0.05 s: " in result.stderr


def test_a_room_that_nobody_can_push_to_is_refused(invoke):
    result = invoke("listen", "--room", "nope", "--target", "127.0.0.1:1")

    assert result.exit_code == 2
    assert "'nope' is no room; expected TYPE://ID" in result.stderr


def test_text_that_a_terminal_would_act_on_is_shown_as_text(invoke):
    with Background(greeter(Frame(1, 1000, 0, b"a\tb\n\x1b[31mred"))) as comet:
        result = invoke("listen", "-n", "1", "--target", target(comet))

    assert result.stdout.endswith("  1000     12  a\\tb\\n\\x1b[31mred\n")


def test_a_comet_that_goes_away_exits_4(invoke):
    with Background(greeter(HI, one_shot=True)) as comet:
        result = invoke("listen", "--target", target(comet))

    assert result.exit_code == 4
    assert "comet: connection closed: the server closed it\nhint: --reconnect" in result.stderr
    assert "hi" in result.stdout


def test_with_reconnect_it_connects_again(invoke):
    with Background(greeter(HI, one_shot=True)) as comet:
        result = invoke("listen", "--reconnect", "-n", "3", "--target", target(comet))

    assert result.exit_code == 0
    assert len(comet.tokens) == 3
    assert result.stderr.count("; connecting again in 0.1 s\nconnected again to") == 2


def test_a_refused_client_exits_1(invoke):
    with Background(lambda: FakeComet(refuse=True)) as comet:
        result = invoke("listen", "--reconnect", "--target", target(comet))

    assert result.exit_code == 1
    assert "auth refused: the server closed it" in result.stderr


def test_nobody_at_the_target_exits_4(invoke):
    result = invoke("listen", "--target", "127.0.0.1:1")

    assert result.exit_code == 4
    assert "cannot connect to 127.0.0.1:1: " in result.stderr


def test_a_comet_of_the_other_transport_is_told(invoke):
    with Background(greeter(HI)) as comet:
        result = invoke("listen", "--ws", "--target", target(comet))

    assert result.exit_code == 4
    assert "no answer to the upgrade" in result.stderr


def test_without_a_cluster_it_exits_4(invoke):
    assert invoke("listen").exit_code == 4


@pytest.mark.parametrize("args", ["--accepts a,b", "-n 0", "--timeout 5", "--target nowhere", "--mid x"])
def test_wrong_use_exits_2(invoke, args):
    assert invoke("listen", *args.split()).exit_code == 2


def test_ctrl_c_ends_it_with_130():
    with Background(greeter(HI)) as comet:
        command = [sys.executable, "-m", "imctl", "listen", "--target", target(comet)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().endswith("hi\n")
            process.send_signal(signal.SIGINT)
            rest, said = process.communicate(timeout=20)

    assert (process.returncode, rest) == (130, "")
    assert "Traceback" not in said


@pytest.mark.parametrize("ws", [False, True])
async def test_what_is_pushed_to_a_cluster_is_printed(ws):
    out, said = io.StringIO(), Said()
    printer = Printer(json=True, stdout=out, stderr=said)
    async with LocalCluster() as cluster:
        host, _, port = (cluster.ws if ws else cluster.tcp).rpartition(":")
        token = AuthToken(mid=1, key="k", room_id="live://1", accepts=(1000,))
        listener = Listener(lambda: (host, int(port)), token, printer, ws=ws, count=2)
        listening = asyncio.create_task(listener.listen(10))
        async with asyncio.timeout(10):
            await said.written.wait()
        await push(cluster.http, Receivers(mids=(1,)), 1000, b"to a user")
        await push(cluster.http, Receivers(rooms=(("live", "1"),)), 1002, b"to a room")
        await listening

    assert {json.loads(line)["body"] for line in out.getvalue().splitlines()} == {"to a user", "to a room"}


@pytest.mark.parametrize("ws", [False, True])
async def test_kept_messages_are_acknowledged_when_asked_to(ws):
    printed = io.StringIO()
    async with LocalCluster(messages=f"memory://listen-{ws}") as cluster:
        async with LogicHttp(cluster.http) as logic:
            for body in (b"a", b"b"):
                await logic.call(PushMids(1000, (7,)), body)
            host, _, port = (cluster.ws if ws else cluster.tcp).rpartition(":")
            listener = Listener(
                lambda: (host, int(port)),
                AuthToken(7, accepts=(1000,)),
                Printer(json=True, stdout=printed, stderr=io.StringIO()),
                ws=ws,
                count=2,
                ack=True,
            )
            await listener.listen(20)
            left = await logic.call(Offline(7))

    assert [(json.loads(line)["seq"], json.loads(line)["body"]) for line in printed.getvalue().splitlines()] == [
        (1, "a"),
        (2, "b"),
    ]
    assert left["messages"] == 0
