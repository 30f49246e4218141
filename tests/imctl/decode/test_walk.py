from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.decode import Kind, Problem, Row, decode
from imctl.decode.items import body_text
from protocol.frame import Frame
from protocol.raw import pack_batch, wrap_batch
from protocol.websocket import ClientUpgrade, UpgradeRequest, serialize_message, serialize_upgrade_response
from tests.protocol.recordings import streams
from tests.protocol.strategies import frames

MASK = b"\x37\xfa\x21\x3d"
HI = Frame(1, 1000, 0, b"hi")
BAD = bytes.fromhex("00000010001100010000000200000000")
UPGRADE = ClientUpgrade("h", b"the sample nonce").request
RESPONSE = serialize_upgrade_response(UpgradeRequest("dGhlIHNhbXBsZSBub25jZQ==", ""))


def rows(data: bytes, **options: bool) -> list[Row]:
    return [item for item in decode(data, **options).items if isinstance(item, Row)]


def only_problem(data: bytes, **options: bool) -> Problem:
    [problem] = decode(data, **options).problems
    return problem


# Everything goim sent is understood


@pytest.mark.parametrize("transport", ["tcp", "ws"])
@pytest.mark.parametrize("kind", ["sessions", "pushes"])
def test_all_bytes_of_goim_are_found_right(transport, kind):
    for stream in streams(f"{transport}-{kind}", "recv"):
        report = decode(stream.data)

        wanted = "tcp" if stream.name == "tcp-and-ws-same-key-T" else transport
        assert (stream.name, report.transport, report.problems) == (stream.name, wanted, ())
        assert sum(row.size for row in rows(stream.data) if not row.depth) == len(stream.data)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_bytes_of_clients_are_explained_or_understood_to_the_last(transport):
    for stream in streams(f"{transport}-sessions", "send"):
        report = decode(stream.data, ws=None if len(stream.data) > 60 else transport == "ws")

        covered = 0
        for item in report.items:
            if not item.depth and item.size:
                assert item.offset == covered, stream.name
                covered += item.size
        assert covered == len(stream.data), stream.name
        if stream.name.startswith(("header-len", "upgrade-no-", "frame-rsv", "frame-opcode")):
            assert report.problems or stream.name == "upgrade-no-host" or "no-http" in stream.name


@given(st.binary(min_size=1, max_size=200), st.sampled_from([None, True, False]))
def test_any_bytes_are_explained_without_a_gap(data, ws):
    covered = 0
    for item in decode(data, ws=ws).items:
        if not item.depth and item.size:
            assert item.offset == covered
            covered += item.size
        assert item.to_json()["offset"] == item.offset
        assert "\x1b" not in (body_text(item) if isinstance(item, Row) else item.what + item.hint)
    assert covered == len(data)


@given(st.lists(frames, min_size=1))
def test_tcp_frames_are_rows(sent):
    data = pack_batch(sent)

    found = [Frame(row.ver, row.op, row.seq, row.body) for row in rows(data, ws=False) if not row.depth]

    assert found == sent


@given(st.lists(frames, min_size=1), st.booleans())
def test_websocket_frames_are_rows_with_containers_opened(sent, masked):
    data = serialize_message(wrap_batch(pack_batch(sent)), mask=MASK if masked else None)

    container, *inner = rows(data)

    assert (container.kind, container.op, container.depth) == (Kind.FRAME, 9, 0)
    assert container.ws == ("binary masked" if masked else "binary")
    found = [Frame(row.ver, row.op, row.seq, row.body) for row in inner]
    assert found == sent
    assert all(row.depth == 1 for row in inner)


# TCP


def test_a_bad_header_is_explained_and_frames_are_found_again():
    report = decode(HI.pack() + BAD + HI.pack())

    first, problem, last = report.items
    assert (first.offset, last.offset, report.frames) == (0, 34, 2)
    assert problem == Problem(
        18,
        16,
        "header length is 17",
        "16 (00 10) at offset 22",
        "comet closes the connection on this; frames begin again at offset 34",
    )


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"POST /goim/push/all HTTP/1.1\r\n", "this is HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "gRPC between nodes"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20), "this is TLS"),
        (bytes.fromhex("12000000100001000700000001000000") + b"{}", "little-endian"),
        (serialize_message(HI.pack()), "may be WebSocket"),
    ],
)
def test_bytes_of_another_kind_are_named(data, hint):
    assert hint in decode(data, ws=False).problems[0].hint


@pytest.mark.parametrize(
    ("data", "what", "expected"),
    [
        (b"\0", "1 byte left, too few for a header", "16 bytes"),
        (HI.pack()[:15], "15 bytes left, too few for a header", "16 bytes"),
        (HI.pack()[:-1], "frame of pack length 18, and 17 bytes are here", "1 bytes more"),
    ],
)
def test_an_incomplete_end_is_explained(data, what, expected):
    problem = only_problem(HI.pack() + data, ws=False)

    assert (problem.offset, problem.size, problem.incomplete) == (18, len(data), True)
    assert (problem.what, problem.expected) == (what, expected)


def test_a_client_frame_over_the_limit_is_named_even_when_cut():
    problem = only_problem(Frame(1, 7, 1, bytes(4097)).pack()[:100])

    assert problem.hint == "comet takes at most 4112 from a client and closes"
    assert rows(Frame(1, 14, 1, b"1" + bytes(4096)).pack())[0].note.startswith("body over 4096 bytes")


def test_a_length_that_reaches_over_the_next_frame_is_explained():
    wrong = bytes([0, 0, 0, 100]) + HI.pack()[4:]

    problem = only_problem(wrong + HI.pack())

    assert (problem.offset, problem.size) == (0, 18)
    assert problem.what == "pack length 100 reaches over a frame that begins at offset 18"
    assert problem.hint.startswith("was it meant to be 18?")


def test_lengths_below_16_are_read_as_goim_reads_them():
    short = bytes.fromhex("ffffffff001000010000000200000000")

    first, second = rows(short + HI.pack(), ws=False)

    assert (first.body, first.note) == (b"", "pack length -1: goim reads it as an empty body")
    assert second.op == 1000
    assert (
        only_problem(bytes.fromhex("80000000001000010000000200000000")).what
        == "pack length -2147483648 is not possible"
    )


@pytest.mark.parametrize(
    ("op", "body", "note"),
    [
        (7, b'{"mid":"1"}', "auth token: mid is '1' (string), expected an integer of 64 bits"),
        (14, b"1, 2", "operation list: element ' 2' is not a decimal int32"),
        (3, b"abc", "heartbeat reply: is 3 bytes, expected 4"),
        (12, b"\xff", "room: not UTF-8"),
        (9, b"no frames", "op 9 of an application: its body is no frames"),
        (9, HI.pack(), "over TCP comet sends the frames of a container without it"),
        (7, b"{}", ""),
    ],
)
def test_what_is_odd_in_a_body_is_noted(op, body, note):
    assert rows(Frame(1, op, 1, body).pack())[0].note == note


@pytest.mark.parametrize(
    ("op", "body", "shown"),
    [
        (1000, b'{ "a" : [1, "\xc3\xa9"] }', '{"a":[1,"é"]}'),
        (1000, b"{broken", "{broken"),
        (1000, "two\nlines\u202e".encode(), "two\\nlines\\u202e"),
        (1000, "\U0001f469\u200d\U0001f4bb".encode(), "\U0001f469\\u200d\U0001f4bb"),
        (1000, '{"a":"\u009b31m"}'.encode(), '{"a":"\\x9b31m"}'),
        (1000, b"two\nlines", "two\\nlines"),
        (1000, b"\x1b[31mred\t", "\\x1b[31mred\\t"),
        (1000, b"bell\x07", "hex 62656c6c 07"),
        (1000, "\u009b31m".encode(), "hex c29b3331 6d"),
        (3, (258).to_bytes(4, "big"), "online 258"),
        (1000, b"", ""),
    ],
)
def test_bodies_are_shown_in_one_safe_line(op, body, shown):
    assert body_text(rows(Frame(1, op, 1, body).pack())[0]) == shown


# WebSocket


def test_a_dialogue_of_both_directions_is_read():
    auth, reply = Frame(1, 7, 1, b"{}").pack(), Frame(1, 8, 1).pack()
    data = UPGRADE + RESPONSE + serialize_message(auth, mask=MASK) + serialize_message(reply)
    data += serialize_message(b"p", opcode=9) + serialize_message(
        (1000).to_bytes(2, "big") + b"bye", opcode=8, mask=MASK
    )

    report = decode(data)

    assert (report.transport, report.problems, report.frames) == ("ws", (), 2)
    assert [row.kind.name for row in rows(data)] == [
        *("UPGRADE_REQUEST", "UPGRADE_RESPONSE", "FRAME", "FRAME", "PING", "CLOSE"),
    ]
    assert [body_text(row) for row in rows(data)][-2:] == ["p", "code 1000 bye"]
    assert body_text(rows(data)[0]) == "GET /sub HTTP/1.1"


def test_fragments_are_joined_with_controls_between():
    data = bytes([0x02, 10]) + HI.pack()[:10] + serialize_message(b"", opcode=9) + bytes([0x80, 8]) + HI.pack()[10:]

    found = rows(data, ws=True)

    assert [row.kind for row in found] == [Kind.FRAGMENT, Kind.PING, Kind.FRAGMENT, Kind.FRAME]
    assert (found[-1].offset, found[-1].size, found[-1].body, found[-1].ws) == (0, 0, b"hi", "2 fragments")


@pytest.mark.parametrize(
    ("data", "offset", "what"),
    [
        (b"GET /sub HTTP/1.1\r\nHost: x\r\n", 0, "an HTTP head without its end"),
        (UPGRADE.replace(b"/sub", b"/"), 0, "the path is '/', expected /sub"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", 0, "the upgrade was answered with 'HTTP/1.1 404 Not Found'"),
        (UPGRADE + b"\x82", len(UPGRADE), "1 bytes of a WebSocket frame's head"),
        (UPGRADE + b"\x82\xfe\0", len(UPGRADE), "3 bytes of a WebSocket frame's head"),
        (RESPONSE + b"\xc2\0", len(RESPONSE), "a reserved bit is set"),
        (RESPONSE + b"\x85\0", len(RESPONSE), "opcode 5 is reserved"),
        (RESPONSE + b"\x82\x10abc", len(RESPONSE), "WebSocket frame with 16 bytes of payload, and 3 are here"),
        (RESPONSE + b"\x82\x03abc", len(RESPONSE), "message of 3 bytes is shorter than a header"),
        (RESPONSE + serialize_message(BAD), len(RESPONSE), "header length is 17"),
        (RESPONSE + serialize_message(b"\xff" + HI.pack()[1:]), len(RESPONSE), "pack length -16777198 is not possible"),
        (RESPONSE + serialize_message(HI.pack()[:-1]), len(RESPONSE), "message of 17 bytes is shorter than its pack"),
    ],
)
def test_bad_websocket_bytes_are_explained(data, offset, what):
    problem = only_problem(data)

    assert (problem.offset, problem.what[: len(what)]) == (offset, what)
    assert problem.expected


def test_an_unfinished_message_is_explained():
    [problem] = decode(bytes([0x02, 10]) + HI.pack()[:10], ws=True).problems

    assert problem.what == "a message of 10 bytes so far has no last fragment"


def test_a_broken_container_shows_its_good_frames_and_the_bad_place():
    data = serialize_message(wrap_batch(HI.pack() + BAD))

    report = decode(data)

    assert [row.depth for row in rows(data)] == [0, 1]
    [problem] = report.problems
    assert (problem.offset, problem.depth, problem.what) == (2 + 16 + 18, 1, "header length is 17")


def test_op_9_of_a_client_is_no_container():
    [row] = rows(serialize_message(Frame(1, 9, 1, b"raw").pack(), mask=MASK))

    assert (row.inner, row.note) == (0, "op 9 from a client")


def test_bytes_behind_a_frame_and_long_client_frames_are_noted():
    assert "4 bytes after the frame" in rows(serialize_message(HI.pack() + b"more"))[0].note
    long = serialize_message(Frame(1, 1000, 0, bytes(9000)).pack(), mask=MASK)
    assert "over comet's read buffer of 8192 bytes" in rows(long)[0].note


def test_json_has_what_a_program_needs():
    report = decode(serialize_message(wrap_batch(HI.pack() + Frame(1, 3, 0, bytes(4)).pack())) + b"\x82")

    found = report.to_json()

    assert found["ok"] is False
    assert (found["transport"], found["bytes"], found["frames"]) == ("ws", 57, 3)
    container, push, beat, problem = found["items"]
    assert (container["name"], container["inner_frames"], container["ws"]) == ("raw", 2, "binary")
    assert push == {
        "kind": "frame",
        "offset": 18,
        "bytes": 18,
        "depth": 1,
        "ver": 1,
        "op": 1000,
        "name": "op 1000",
        "seq": 0,
        "body_len": 2,
        "body_text": "hi",
    }
    assert (beat["online"], beat["body_hex"]) == (0, "00000000")
    assert (problem["kind"], problem["offset"]) == ("incomplete", 56)
