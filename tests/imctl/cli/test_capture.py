"""`imctl decode --pcap`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imctl.cli.app import build_app
from protocol.frame import Frame
from tests.imctl.pcap.build import dialogue, pcap

HI = Frame(1, 1000, 0, b"hi")
SAID = [(">", Frame(1, 7, 1, b'{"mid":1}').pack()), ("<", Frame(1, 8, 1).pack() + HI.pack())]
BEAT = [(">", Frame(1, 2, 5).pack()), ("<", Frame(1, 3, 5, b"\0\0\0\2").pack())]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "capture"


def test_frames_of_both_ways_are_shown_in_time_order(invoke, file):
    file.write_bytes(pcap(dialogue(*SAID)))

    result = invoke("decode", "--pcap", str(file))

    head, *lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert head == "time             conn  client          way  bytes  ver  op              seq  body"
    assert [line[9:] for line in lines[:-1]] == [
        "000007     1  10.0.0.1:40000  begin  10.0.0.1:40000 to 10.0.0.2:3101",
        '000007     1  10.0.0.1:40000  -->       25    1  7 auth            1  {"mid":1}',
        "000007     1  10.0.0.1:40000  <--       16    1  8 auth_reply      1",
        "000007     1  10.0.0.1:40000  <--       18    1  1000              0  hi",
        "000007     1  10.0.0.1:40000  end    closed by the client after 7.000 s; "
        "25 bytes to the comet, 34 to the client",
    ]
    assert lines[-1] == "1 connection, 3 frames, nothing wrong in 9 packets"


def test_json_is_a_line_an_event_and_a_summary(invoke, file):
    file.write_bytes(pcap(dialogue(*SAID)))

    *events, summary = map(json.loads, invoke("decode", "--json", "--pcap", str(file)).stdout.splitlines())

    assert [event["kind"] for event in events] == ["begin", "frame", "frame", "frame", "end"]
    assert summary == {
        "kind": "summary",
        "ok": True,
        "packets": 9,
        "connections": 1,
        "frames": 3,
        "shown": 3,
        "problems": 0,
        "repeated_segments": 0,
        "unread_packets": {},
        "other_connections": {},
    }


def test_operations_and_heartbeats_can_be_chosen(invoke, file):
    file.write_bytes(pcap(dialogue(*SAID, *BEAT)))

    def ops(*options: str) -> list[int]:
        lines = invoke("decode", "--json", "--pcap", str(file), *options).stdout.splitlines()
        return [event["op"] for event in map(json.loads, lines) if event["kind"] == "frame"]

    assert ops("--op", "7,1000") == [7, 1000]
    assert ops("--no-heartbeats") == [7, 8, 1000]


def test_stdin_is_read():
    result = CliRunner().invoke(build_app(), ["decode", "--pcap", "-"], input=pcap(dialogue(*SAID)))

    assert result.exit_code == 0
    assert "3 frames" in result.stdout


def test_bad_bytes_are_explained_at_their_place_and_exit_1(invoke, file):
    bad = bytes.fromhex("0000001000110001000003e800000000")
    file.write_bytes(pcap(dialogue(("<", HI.pack() + bad + HI.pack()))))

    result = invoke("decode", "--pcap", str(file))

    assert result.exit_code == 1
    assert "<--    bad at offset 18: header length is 17; expected 16 (00 10) at offset 22" in result.stdout
    assert "frames begin again at offset 34" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 connection, 2 frames, 1 problem in 8 packets"


def test_a_truncated_file_shows_what_is_there_and_says_so(invoke, file):
    file.write_bytes(pcap(dialogue(*SAID))[:-5])

    result = invoke("decode", "--pcap", str(file))

    assert result.exit_code == 1
    assert "  1000  " in result.stdout
    assert "of the file: the file ends after 35 of 40 bytes of a packet" in result.stdout
    assert "hint: the capture was cut here, or is still being written" in result.stdout


def test_damage_is_in_the_summary(invoke, file):
    file.write_bytes(pcap(dialogue(*SAID))[:-5])

    summary = json.loads(invoke("decode", "--json", "--pcap", str(file)).stdout.splitlines()[-1])

    assert (summary["ok"], summary["frames"]) == (False, 3)
    assert "the file ends after 35 of 40 bytes" in summary["damage"]["what"]


def test_a_capture_without_goim_says_what_is_in_it(invoke, file):
    file.write_bytes(pcap([*dialogue((">", b"GET / HTTP/1.1\r\n\r\n"), comet=("10.0.0.2", 80)), b"\x20" + bytes(40)]))

    result = invoke("decode", "--pcap", str(file))

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "not read: 1 packet, not TCP",
        "not goim: 1 connection, of servers on port 80",
        "no connection of goim; hint: --port tells a comet's port if it is another than 3101 and 3102",
        "0 connections, 0 frames, nothing wrong in 9 packets",
    ]


def test_a_file_of_another_kind_is_named(invoke, file):
    file.write_bytes(HI.pack())

    result = invoke("decode", "--pcap", str(file))

    assert result.exit_code == 1
    assert "it begins with 00 00 00 12; expected pcap or pcapng" in result.stdout


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--pcap", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["--pcap", "/"], "/: Is a directory"),
        (["--pcap", "x", "0010"], "--pcap takes its file alone"),
        (["--pcap", "x", "--ws"], "--pcap takes its file alone"),
        (["0010", "--port", "3101"], "--port, --op and --no-heartbeats belong to --pcap"),
        (["--pcap", "x", "--port", "70000"], "less than or equal to 65535"),
    ],
)
def test_wrong_use_exits_2_and_says_why(invoke, args, problem):
    result = invoke("decode", *args)

    assert result.exit_code == 2
    assert problem in result.stderr
