from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.cli.commands.encode import encode
from imctl.decode import Kind, Row, decode
from protocol.frame import Frame
from tests.protocol.strategies import frames

AUTH_HEX = "000000190010000100000007000000007b226d6964223a317d"
MASKS = st.none() | st.binary(min_size=4, max_size=4)


def rows(data: bytes, *, ws: bool) -> list[Row]:
    report = decode(data, ws=ws)
    assert report.problems == ()
    return [item for item in report.items if isinstance(item, Row)]


def frame_of(row: Row) -> Frame:
    assert row.kind is Kind.FRAME
    return Frame(row.ver, row.op, row.seq, row.body)


# An op 9 frame is a container, which is a test of its own.
PLAIN = frames.filter(lambda frame: frame.op != 9)


@given(st.lists(PLAIN, min_size=1, max_size=5), st.booleans(), MASKS)
def test_decode_finds_what_was_encoded(sent, ws, mask):
    encoded = encode(sent, ws=ws, mask=(lambda: mask) if mask is not None else None)

    found = rows(encoded.data, ws=ws)

    assert [frame_of(row) for row in found] == sent
    assert [row.size for row in found] == [len(piece) for piece in encoded.pieces]
    if ws:
        assert {row.ws for row in found} == {"binary masked" if mask is not None else "binary"}


@given(st.lists(PLAIN, min_size=1, max_size=5), MASKS)
def test_a_batch_is_one_message_over_websocket_and_bare_frames_over_tcp(sent, mask):
    over_ws = encode(sent, ws=True, batch=True, mask=(lambda: mask) if mask is not None else None)
    over_tcp = encode(sent, batch=True)

    container, *inner = rows(over_ws.data, ws=True)

    assert (container.op, container.inner, len(over_ws.pieces)) == (9, len(sent), 1)
    assert [(frame_of(row), row.depth) for row in inner] == [(frame, 1) for frame in sent]
    assert over_tcp.data == b"".join(frame.pack() for frame in sent)


def test_hex_is_a_line_a_frame(invoke):
    result = invoke("encode", "--op", "1000", "--body", "a", "--body", "b", "--ver", "-2", "--seq", "-3")

    assert result.exit_code == 0
    assert [bytes.fromhex(line) for line in result.stdout.splitlines()] == [
        Frame(-2, 1000, -3, body).pack() for body in (b"a", b"b")
    ]


@pytest.mark.parametrize("op", ["7", "auth", "AUTH"])
def test_an_operation_has_a_number_or_a_name(invoke, op):
    assert invoke("encode", "--op", op, "--body", '{"mid":1}').stdout == f"{AUTH_HEX}\n"


def test_without_a_body_it_is_empty(invoke):
    assert bytes.fromhex(invoke("encode", "--op", "2").stdout) == Frame(1, 2, 0).pack()


def test_what_is_printed_can_be_given_to_decode(invoke):
    printed = invoke("encode", "--op", "1000", "--body", "one", "--body", "two", "--ws", "--batch").stdout

    assert (
        invoke("decode", *printed.split()).stdout.splitlines()[-1] == "3 frames in 56 bytes of WebSocket, nothing wrong"
    )


def test_json_is_decodes_document_with_the_bytes(invoke):
    result = invoke("encode", "--op", "change-room", "--body", "live://2", "--ws", "--mask", "37fa213d", "--json")

    document = json.loads(result.stdout)
    data = bytes.fromhex(document.pop("hex"))
    assert data[:6].hex() == "829837fa213d"
    assert document == decode(data, ws=True).to_json()
    assert document["items"][0]["body_text"] == "live://2"


def test_base64_and_bodies_from_hex_and_files(invoke, tmp_path):
    (tmp_path / "body").write_bytes(b"\xff\n")

    from_hex = invoke("encode", "--op", "1", "--body-hex", "ff:0a", "--base64").stdout
    from_file = invoke("encode", "--op", "1", "--body-file", str(tmp_path / "body"), "--base64").stdout

    assert base64.b64decode(from_hex) == Frame(1, 1, 0, b"\xff\n").pack()
    assert from_file == from_hex


def test_raw_bytes_and_stdin_go_through_a_pipe():
    command = [sys.executable, "-m", "imctl", "encode", "--op", "1000", "--body-file", "-", "--raw"]

    ended = subprocess.run(command, input=b"\xff\x00\r\n", capture_output=True, timeout=100)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, Frame(1, 1000, 0, b"\xff\x00\r\n").pack(), b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_raw_bytes_that_cannot_be_written_exit_1():
    command = [sys.executable, "-m", "imctl", "encode", "--op", "1000", "--raw"]

    with open("/dev/full", "wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100)

    assert (ended.returncode, ended.stderr) == (1, "error: stdout cannot be written: No space left on device\n")


def test_random_masks_differ_and_a_given_one_does_not(invoke):
    args = ["encode", "--op", "1", "--ws", "--body", "a", "--body", "a", "--mask"]

    given_lines = invoke(*args, "01020304").stdout.splitlines()
    random_lines = {line for _ in range(20) for line in invoke(*args, "random").stdout.splitlines()}

    assert given_lines[0] == given_lines[1]
    assert len(random_lines) > 1


@pytest.mark.parametrize(
    ("args", "warning"),
    [
        ("--op 7 --body x", "warning: auth token: not JSON"),
        (
            "--op sub --body a --body b",
            "warning: operation list: element 'a' is not a decimal int32\nwarning: operation",
        ),
        ("--op 9 --body x --ws", "warning: 1 byte left, too few for a header; expected 16 bytes"),
        (f"--op 4 --body {'x' * 4097}", "warning: body over 4096 bytes: comet closes on it"),
    ],
)
def test_what_a_comet_would_refuse_is_encoded_with_a_warning(invoke, args, warning):
    result = invoke("encode", *args.split())

    assert (result.exit_code, result.stdout != "") == (0, True)
    assert result.stderr.startswith(warning)


def test_one_warning_is_enough_for_many_frames(invoke):
    result = invoke("encode", "--op", "7", "--body", "x", "--body", "x")

    assert result.stderr.count("warning:") == 1


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ("", "Missing option '--op'"),
        ("--op nope", "'nope' is no operation; expected a number, or one of handshake"),
        ("--op 2147483648", "operation 2147483648 does not fit into 32 bits"),
        ("--op 1 --ver 32768", "--ver"),
        ("--op 1 --seq x", "--seq"),
        ("--op 1 --body-hex 0g", "--body-hex: '0g' is not hex; expected pairs of hex digits"),
        ("--op 1 --body-hex 0", "--body-hex: '0' is not hex"),
        ("--op 1 --body a --body-hex 00", "only one of --body, --body-hex and --body-file"),
        ("--op 1 --body-file - --body-file -", "stdin can be read only once"),
        ("--op 1 --body-file no/such", "--body-file: no/such: No such file or directory"),
        ("--op 1 --mask 01020304", "--mask: only WebSocket messages have one: add --ws"),
        ("--op 1 --ws --mask 010203", "'010203' is no mask; expected four bytes as hex"),
        ("--op 1 --raw --base64", "only one of --json, --raw and --base64"),
        ("--op 1 --raw --json", "only one of --json, --raw and --base64"),
    ],
)
def test_wrong_use_exits_2_and_says_why(invoke, args, problem):
    result = invoke("encode", *args.split())

    assert result.exit_code == 2
    assert problem in result.stderr
