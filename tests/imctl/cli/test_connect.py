from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from imctl.cli.app import build_app
from imctl.cli.dialogue import complete_line
from imctl.cli.printer import Printer
from protocol.aio import ConnectError
from protocol.bodies import AuthToken
from protocol.frame import Frame, pack_frame
from tests.imctl.cli.background import Background
from tests.protocol.aio.fake_comet import FakeComet

HI = Frame(1, 1000, 0, b"hi")
TIME = r"\d\d:\d\d:\d\d\.\d{3}"

Talk = Callable[..., Result]


@pytest.fixture
def talk(tmp_path, monkeypatch) -> Talk:
    """Run `imctl connect ...` with a script, to a comet."""
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    app = build_app()

    def connect(comet: FakeComet, script: str, *args: str) -> Result:
        words = ["connect", "--target", f"127.0.0.1:{comet.port}", "--heartbeat-every", "0s", *args]
        words += ["--ws"] if comet.ws else []
        return CliRunner().invoke(app, words, input=script)

    return connect


def frames_of(result: Result) -> list[tuple[str, int, int, str | None]]:
    """Return direction, operation, sequence and text of each line of --json."""
    lines = map(json.loads, result.stdout.splitlines())
    return [(line["direction"], line["op"], line["seq"], line.get("body")) for line in lines]


@pytest.mark.parametrize("ws", [False, True])
def test_every_frame_is_shown_both_ways(talk, ws):
    with Background(lambda: FakeComet(ws=ws, greeting=(HI,))) as comet:
        result = talk(
            comet, "wait 1000\nroom live://2\nwait 13\nbeat\nquit\nnot read any more\n", "--mid", "7", "--key", "k"
        )

    assert (result.exit_code, result.exception is None or isinstance(result.exception, SystemExit)) == (0, True)
    token = '{"mid":7,"key":"k","room_id":"","platform":"imctl","accepts":[1000]}'
    head, *lines = result.stdout.splitlines()
    assert head == "time              op                    ver  seq  body"
    assert [re.sub(TIME, "T", line) for line in lines] == [
        f"T ->    7 auth                 1    1  {token}",
        "T <-    8 auth_reply           1    1",
        "T <- 1000                      1    0  hi",
        "T ->   12 change_room          1    2  live://2",
        "T <-   13 change_room_reply    1    2  live://2",
        "T ->    2 heartbeat            1    3",
        "T <-    3 heartbeat_reply      1    3  online 3",
    ]
    where = f"127.0.0.1:{comet.port} over {'WebSocket' if ws else 'TCP'}"
    assert result.stderr == f"connected to {where}: mid 7, key k, accepts 1000\nclosed: 3 sent, 4 received\n"


def test_json_is_a_line_a_frame(talk):
    with Background(lambda: FakeComet(greeting=(Frame(2, 1001, -3, b"\xff"),))) as comet:
        result = talk(comet, "wait 1001\nbeat\n", "--json", "--quiet")

    auth, _, push, beat, reply = map(json.loads, result.stdout.splitlines())
    times = [line.pop("time") for line in (auth, push, beat, reply)]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]", time) for time in times)
    assert push == {
        "direction": "received",
        "op": 1001,
        "name": "op 1001",
        "ver": 2,
        "seq": -3,
        "bytes": 1,
        "body_hex": "ff",
    }
    assert (beat["direction"], beat["name"], beat["body"]) == ("sent", "heartbeat", "")
    assert (reply["direction"], reply["name"], reply["online"]) == ("received", "heartbeat_reply", 3)
    assert result.stderr == ""


def test_each_command_sends_what_it_says(talk):
    script = """\
        # what follows a # is for people

        room live://1
        room
        sub 1001, 1002 1003
        unsub 1001
        unsub
        beat
        send 1004  two spaces, and more
        send change-room no room
        send 5
        sendhex 1005 ff 00
        ack 77
        """
    with Background(lambda: FakeComet()) as comet:
        result = talk(comet, script, "--room", "live://0")

    assert result.exit_code == 0, result.stderr
    assert comet.tokens[0].room_id == "live://0"
    assert [(frame.op, frame.seq, frame.body) for frame in comet.received[1:]] == [
        (12, 2, b"live://1"),
        (12, 3, b""),
        (14, 4, b"1001,1002,1003"),
        (16, 5, b"1001"),
        (16, 6, b"1000,1002,1003"),
        (2, 7, b""),
        (1004, 8, b" two spaces, and more"),
        (12, 9, b"no room"),
        (5, 10, b""),
        (1005, 11, b"\xff\x00"),
        (100, 77, b""),
    ]


@pytest.mark.parametrize("ws", [False, True])
def test_raw_bytes_are_shown_as_the_frames_they_are_or_as_bytes(talk, ws):
    frames = pack_frame(1000, b"x", ver=3, seq=9).hex(" ")
    with Background(lambda: FakeComet(ws=ws)) as comet:
        # Over TCP the comet waits for the rest; a WebSocket message as short as that is a fault.
        limit = "60s" if ws else "50ms"
        result = talk(comet, f"raw {frames}\nwait 1000\nraw 0000 0010\nwait 1001 {limit}\n", "--json")

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["direction"], line["op"], line["ver"], line["seq"]) for line in lines[2:4]] == [
        ("sent", 1000, 3, 9),
        ("received", 1000, 3, 9),
    ]
    assert (lines[4]["direction"], lines[4]["raw_hex"], lines[4]["bytes"]) == ("sent", "00000010", 4)
    assert result.exit_code == (4 if ws else 27)


def test_raw_bytes_are_a_line_for_people_too(talk):
    with Background(lambda: FakeComet()) as comet:
        result = talk(comet, "raw 0000001100\n")

    assert re.fullmatch(f"{TIME} ->  raw                              hex 00000011 00", result.stdout.splitlines()[-1])


def test_a_wait_takes_each_frame_once_and_also_one_that_has_come_already(talk):
    with Background(lambda: FakeComet()) as comet:
        enough = talk(comet, "beat\nbeat\nroom live://1\nwait 13\nwait heartbeat-reply\nwait 3\n")
        too_few = talk(comet, "beat\nbeat\nwait 3\nwait 3\nwait 3 50ms\n")

    assert enough.exit_code == 0
    assert too_few.exit_code == 27
    assert "error: line 5: no op 3 heartbeat_reply within 0.05 s" in too_few.stderr


def test_a_wait_in_vain_is_a_line_of_json_too(talk):
    with Background(lambda: FakeComet()) as comet:
        result = talk(comet, "wait 1000 10ms\n", "--json")

    assert json.loads(result.stdout.splitlines()[-1])["error"] == {
        "kind": "TimedOutError",
        "message": "line 1: no op 1000 within 0.01 s",
        "hint": "",
        "exit": 27,
    }


def test_heartbeats_are_sent_as_often_as_told(monkeypatch, talk):
    given = {}

    async def connect_tcp(host, port, token, **options):
        given.update(options)
        raise ConnectError(f"{host}:{port}", "not here")

    monkeypatch.setattr("protocol.aio.Client.connect_tcp", connect_tcp)
    with Background(lambda: FakeComet()) as comet:
        talk(comet, "")
        never = given["heartbeat_s"]
        talk(comet, "", "--heartbeat-every", "1m")

    assert (never, given["heartbeat_s"]) == (None, 60.0)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rooms live://1", "'rooms' is no command; is room meant?"),
        ("xyz", "'xyz' is no command; expected one of room, sub, unsub, "),
        ("room nope", "room [ROOM]: 'nope' is no room; expected TYPE://ID"),
        ("sub", "sub OPS: no operation is given; expected such as 1001,1002"),
        ("sub a", "sub OPS: element 'a' is not a decimal int32; expected such as 1000,1001"),
        ("beat now", "beat: takes nothing, and 'now' came"),
        ("send", "send OP [BODY]: an operation is missing"),
        ("send authh", "send OP [BODY]: 'authh' is no operation; is auth meant?"),
        ("sendhex 1 xx", "sendhex OP HEX: 'xx' is not hex"),
        ("ack", "ack SEQ: '' is no sequence; expected a number of 32 bits"),
        ("ack 2147483648", "ack SEQ: '2147483648' is no sequence"),
        ("raw", "raw HEX: no bytes are given; `imctl encode` prints those of a frame"),
        ("wait", "wait OP [TIME]: an operation is missing"),
        ("wait 3 5", "wait OP [TIME]: '5' is not a duration; expected such as 500ms"),
        ("sleep", "sleep TIME: '' is not a duration"),
    ],
)
def test_a_wrong_line_ends_a_script_with_2_and_its_number(talk, line, problem):
    with Background(lambda: FakeComet()) as comet:
        result = talk(comet, f"# first\n{line}\nbeat\n", "--quiet")

    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: line 2: {problem}")
    assert result.stderr.endswith("\nhint: echo help | imctl connect\n")
    assert [frame.op for frame in comet.received] == [7]


def test_help_lists_every_command_on_stderr_also_when_quiet(talk):
    with Background(lambda: FakeComet()) as comet:
        result = talk(comet, "help\n", "--quiet", "--json")

    assert [line.split()[0] for line in result.stderr.splitlines()] == [
        *("room", "sub", "unsub", "beat", "send", "sendhex", "ack", "raw", "wait", "sleep", "help", "quit")
    ]
    assert max(map(len, result.stderr.splitlines())) < 80
    assert len(frames_of(result)) == 2


def test_without_anything_to_accept_unsub_has_nothing_to_do(talk):
    with Background(lambda: FakeComet()) as comet:
        result = talk(comet, "unsub\n", "--accepts", "")

    assert (result.exit_code, "nothing is accepted" in result.stderr) == (2, True)


def test_a_connection_that_the_comet_closes_exits_4(talk):
    with Background(lambda: FakeComet(greeting=(HI,), one_shot=True)) as comet:
        result = talk(comet, "wait 1000\nwait 1001\n")

    assert result.exit_code == 4
    assert result.stderr.endswith(
        "error: comet: connection closed: the server closed it\nhint: the comet's log has the reason\n"
    )
    assert result.stdout.endswith("  hi\n")


def test_a_refused_client_exits_1_after_its_auth_was_shown(talk):
    with Background(lambda: FakeComet(refuse=True)) as comet:
        result = talk(comet, "beat\n", "--json")

    auth, error = map(json.loads, result.stdout.splitlines())
    assert (result.exit_code, auth["op"], error["error"]["kind"]) == (1, 7, "AuthRefusedError")


def test_nobody_at_the_target_and_no_cluster_exit_4(invoke):
    nobody = invoke("connect", "--target", "127.0.0.1:1")

    assert nobody.exit_code == invoke("connect").exit_code == 4
    assert nobody.stderr.endswith("hint: does a comet listen there?\n")


@pytest.mark.parametrize("args", ["--room nope", "--accepts a", "--heartbeat-every 5", "--target nowhere", "--mid x"])
def test_wrong_use_exits_2(invoke, args):
    assert invoke("connect", *args.split()).exit_code == 2


def test_the_options_are_who_the_client_is(talk):
    with Background(lambda: FakeComet()) as comet:
        talk(comet, "", "--mid", "7", "--room", "live://1", "--accepts", "1, 2")

    [token] = comet.tokens
    assert re.fullmatch("imctl-[0-9a-f]{12}", token.key)
    assert token == AuthToken(7, token.key, "live://1", "imctl", (1, 2))


def test_a_frame_that_cannot_be_shown_ends_it(talk, monkeypatch):
    from imctl.cli.output import OutputClosedError

    shown = []

    def line(self, value):
        shown.append(value)
        raise OutputClosedError("stdout was closed by its reader")

    monkeypatch.setattr(Printer, "line", line)
    with Background(lambda: FakeComet(greeting=(HI,))) as comet:
        result = talk(comet, "wait 1001\n")

    assert (result.exit_code, len(shown)) == (141, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_130(number):
    with Background(lambda: FakeComet(greeting=(HI,))) as comet:
        command = [sys.executable, "-m", "imctl", "connect", "--target", f"127.0.0.1:{comet.port}", "--json"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **pipes, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("sleep 1h\n")
            process.stdin.flush()
            for _ in range(3):
                process.stdout.readline()
            process.send_signal(number)
            rest, said = process.communicate(timeout=60)

    assert (process.returncode, rest) == (130, "")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s", ["sub", "send", "sendhex", "sleep"]),
        ("send ch", ["change_room", "change_room_reply"]),
        ("wait aut", ["auth", "auth_reply"]),
        ("room a", []),
        ("send auth a", []),
    ],
)
def test_tab_offers_commands_and_then_operations(text, words):
    assert complete_line(text) == words
