from __future__ import annotations

import base64
import io
import json

import pytest
from rich.console import Console

from imctl.cli.commands.decode import DecodeTable
from imctl.cli.output import OutputClosedError
from imctl.decode import Kind, Row, Walk, walk
from protocol.frame import Frame
from protocol.raw import pack_batch, wrap_batch
from protocol.websocket import serialize_message
from tests.protocol.recordings import streams

HI = Frame(1, 1000, 0, b'{"test":1}')


def test_a_frame_is_shown_as_a_table(invoke):
    result = invoke("decode", "0000001a", "0010", "0001", "000003e8", "00000000", "7b2274657374223a317d")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "offset  bytes  ver  op    seq  body",
        '     0     26    1  1000    0  {"test":1}',
        "1 frame in 26 bytes of TCP, nothing wrong",
    ]


def test_containers_are_opened_and_indented(invoke):
    data = serialize_message(wrap_batch(pack_batch([HI, HI])))

    result = invoke("decode", data.hex(":"))

    assert result.stdout.splitlines()[1:] == [
        "     0     70  binary    1  9 raw     0  2 frames:",
        '    18     26            1    1000    0  {"test":1}',
        '    44     26            1    1000    0  {"test":1}',
        "3 frames in 70 bytes of WebSocket, nothing wrong",
    ]


def test_bad_bytes_are_explained_where_they_are(invoke):
    bad = bytes.fromhex("00000010001100010000000200000000")

    result = invoke("decode", (HI.pack() + bad + HI.pack() + b"\0").hex())

    assert result.exit_code == 1
    assert result.stdout.splitlines()[2:] == [
        "    26     16  bad: header length is 17; expected 16 (00 10) at offset 30",
        "               hint: comet closes the connection on this; frames begin again at offset 42",
        '    42     26    1  1000    0  {"test":1}',
        "    68      1  incomplete: 1 byte left, too few for a header; expected 16 bytes",
        "               hint: the input may have been cut here",
        "2 frames in 69 bytes of TCP, 2 problems",
    ]


def table_of(frames):
    """Return the table of some frames, and how many of them had been decoded at each write."""
    taken = []

    def items():
        for frame in frames:
            taken.append(frame)
            yield Row(Kind.FRAME, 10 * len(taken), 10, 0, frame.ver, frame.op, frame.seq, frame.body)

    class Out(io.StringIO):
        def write(self, text):
            writes.append((len(taken), text.count("\n")))
            return super().write(text)

    writes = []
    out = Out()
    DecodeTable("stdin, binary", Walk("tcp", 10 * len(frames), items())).render(Console(file=out))
    return out.getvalue(), writes


def test_many_rows_are_shown_while_the_rest_is_decoded():
    text, writes = table_of([HI] * 2500)

    assert [row for row in writes if row[1]] == [(1000, 1001), (2000, 1000), (2500, 500), (2500, 1)]
    assert text.endswith("2500 frames in 25000 bytes of TCP, nothing wrong\n")


def test_a_column_gets_wider_where_a_later_row_needs_it():
    text, _ = table_of([HI] * 1000 + [Frame(1, 1000, -(2**31), b"x")])

    lines = text.splitlines()
    assert lines[0] == "offset  bytes  ver  op    seq  body"
    assert lines[1001] == " 10010     10    1  1000  -2147483648  x"


def test_a_reader_that_has_seen_enough_ends_it_before_all_is_decoded():
    decoded = []

    def items():
        for number in range(1_000_000):
            decoded.append(number)
            yield Row(Kind.FRAME, 10 * number, 10, 0, 1, 1000, 0, b"hi")

    class Closed(io.StringIO):
        def write(self, text):
            raise OutputClosedError("stdout was closed by its reader")

    with pytest.raises(OutputClosedError):
        DecodeTable("stdin, binary", Walk("tcp", 10_000_000, items())).render(Console(file=Closed()))

    assert len(decoded) == 1000


def test_lines_are_cut_to_a_terminal_in_one_print_a_batch():
    console = Console(file=io.StringIO(), force_terminal=True, width=50, color_system=None)

    DecodeTable("stdin, binary", walk(Frame(1, 1000, 0, b"x" * 100).pack() * 2)).render(console)

    lines = console.file.getvalue().splitlines()
    assert len(lines) == 4
    assert all(len(line) == 55 and line.endswith("…") for line in lines[1:3])


def test_json_is_one_document(invoke):
    result = invoke("decode", "--json", "--ws", serialize_message(HI.pack()).hex() + "82")

    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["source"], document["ok"], document["transport"]) == ("argument, hex", False, "ws")
    assert [item["kind"] for item in document["items"]] == ["frame", "incomplete"]


@pytest.mark.parametrize(
    ("content", "form"),
    [(HI.pack(), "binary"), (HI.pack().hex(" ", 2).encode() + b"\n", "hex"), (base64.b64encode(HI.pack()), "base64")],
)
def test_a_file_is_read_in_any_form(invoke, tmp_path, content, form):
    path = tmp_path / "capture"
    path.write_bytes(content)

    document = json.loads(invoke("decode", str(path), "--json").stdout)

    assert (document["source"], document["frames"], document["ok"]) == (f"file, {form}", 1, True)


@pytest.mark.parametrize("args", [("-",), ()])
def test_stdin_is_read(invoke, monkeypatch, args):
    from typer.testing import CliRunner

    from imctl.cli.app import build_app

    result = CliRunner().invoke(build_app(), ["decode", *args, "--json"], input=HI.pack())

    assert json.loads(result.stdout)["source"] == "stdin, binary"


def test_a_terminal_is_not_waited_for(invoke, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("imctl.cli.context.sys", type("fake", (), {"stdin": Terminal()}))

    result = invoke("decode")

    assert result.exit_code == 2
    assert "nothing to decode: give hex, a file, or - for stdin" in result.stderr


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["001"], "3 hex digits, the last one is half a byte"),
        (["xyz?"], "'xyz?' is no file, not hex ('x' is no hex digit) and not base64"),
        ([""], "nothing to decode"),
        (["/"], "/: Is a directory"),
        (["a?", "--base64"], "the input is not base64"),
    ],
)
def test_wrong_use_exits_2_and_says_why(invoke, args, problem):
    result = invoke("decode", *args)

    assert result.exit_code == 2
    assert problem in result.stderr


def test_long_hex_is_no_file_name(invoke):
    assert invoke("decode", Frame(1, 1000, 0, bytes(4000)).pack().hex()).exit_code == 0


def test_both_directions_of_a_recorded_dialogue_are_shown(invoke, tmp_path):
    path = tmp_path / "dialogue"
    found = [
        stream for way in ("send", "recv") for stream in streams("ws-sessions", way) if stream.name == "fragmented"
    ]
    path.write_bytes(b"".join(stream.data for stream in found))

    result = invoke("decode", str(path))

    assert result.exit_code == 0
    for part in ("upgrade request", "upgrade response", "binary masked", "2 fragments", "ping", "online 0"):
        assert part in result.stdout
