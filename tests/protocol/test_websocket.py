"""The WebSocket part of the wire, with the `websockets` library as its oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame as OracleFrame
from websockets.frames import Opcode
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.uri import parse_uri

from protocol.errors import FrameLengthError, HeaderLengthError, RemoteError, UpgradeError, WebSocketError
from protocol.frame import Frame
from protocol.websocket import (
    MAX_UPGRADE_BYTES,
    ClientUpgrade,
    Message,
    MessageDecoder,
    ServerDecoder,
    UpgradeRequest,
    accept_key,
    parse_upgrade,
    serialize_message,
    serialize_upgrade_response,
)
from tests.protocol.strategies import bodies, cut, frames, pieces

MASK = b"\x37\xfa\x21\x3d"
KEY = b"the sample nonce"
BEAT = Frame(1, 2, 3)
UPGRADE = ClientUpgrade("127.0.0.1:3102", KEY).request

masks = st.none() | st.binary(min_size=4, max_size=4)


def read_by_oracle(data: bytes, *, mask: bool) -> OracleFrame:
    reader = StreamReader()
    reader.feed_data(data)
    steps = OracleFrame.parse(reader.read_exact, mask=mask)
    with pytest.raises(StopIteration) as done:
        next(steps)
    return done.value.value


def messages_of(chunks: list[bytes], **limits: int) -> tuple[list[Message], str]:
    decoder, found = MessageDecoder(**limits), []
    for chunk in chunks:
        decoder.feed(chunk)
        try:
            found += iter(decoder.next_message, None)
        except WebSocketError as exc:
            return found, str(exc)
    return found, f"{decoder.buffered} bytes left"


def frames_of(decoder: ServerDecoder, *chunks: bytes) -> list[Frame]:
    found = []
    for chunk in chunks:
        decoder.feed(chunk)
        found += iter(decoder.next_frame, None)
    return found


def upgraded() -> ServerDecoder:
    decoder = ServerDecoder()
    decoder.feed(UPGRADE)
    decoder.take_output()
    return decoder


def sent(payload: bytes, opcode: int = 2) -> bytes:
    return serialize_message(payload, opcode=opcode, mask=MASK)


# Frames


@given(st.binary(max_size=300) | st.sampled_from([bytes(size) for size in (125, 126, 65535, 65536)]), masks)
def test_the_oracle_reads_our_frames_and_we_read_its(payload, mask):
    ours = serialize_message(payload, mask=mask)
    its = OracleFrame(Opcode.BINARY, payload).serialize(mask=mask is not None)

    read = read_by_oracle(ours, mask=mask is not None)

    assert (read.opcode, read.data, read.fin) == (Opcode.BINARY, payload, True)
    assert messages_of([its]) == ([Message(2, payload)], "0 bytes left")
    assert mask is not None or ours == its


@pytest.mark.parametrize("opcode", [1, 8, 9, 10])
def test_the_oracle_reads_our_other_opcodes(opcode):
    assert read_by_oracle(serialize_message(b"\x03\xe8", opcode=opcode), mask=False).opcode == opcode


@given(st.lists(st.tuples(bodies, st.sampled_from([1, 2, 9, 10]), masks)), pieces)
def test_messages_do_not_depend_on_the_cut(wanted, sizes):
    data = b"".join(serialize_message(payload, opcode=opcode, mask=mask) for payload, opcode, mask in wanted)

    assert messages_of(cut(data, sizes)) == (
        [Message(opcode, payload) for payload, opcode, _ in wanted],
        "0 bytes left",
    )


@given(st.binary(max_size=120), pieces)
def test_any_bytes_give_messages_or_an_error_whatever_the_cut(data, sizes):
    limits = {"max_payload": 40, "max_message": 60, "max_controls": 3}

    assert messages_of(cut(data, sizes), **limits) == messages_of([data], **limits)


def test_fragments_become_one_message_with_controls_between():
    ping = serialize_message(b"p", opcode=9)
    parts = bytes([0x02, 3]) + b"one" + ping + bytes([0x00, 3]) + b"two" + bytes([0x80, 0])

    assert messages_of([parts])[0] == [Message(9, b"p"), Message(2, b"onetwo")]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (bytes([0xC2, 0]), "a reserved bit is set"),
        (bytes([0x83, 0]), "opcode 3 is reserved"),
        (bytes([0x8B, 0]), "opcode 11 is reserved"),
        (serialize_message(bytes(41)), "frame payload of 41 bytes is over the limit of 40"),
        (bytes([0x82, 127]) + b"\xff" * 8, f"frame payload of {2**64 - 1} bytes is over the limit of 40"),
        ((bytes([0x02, 35]) + bytes(35)) * 2, "message is over the limit of 60 bytes"),
        (serialize_message(b"", opcode=9) * 4, "more than 3 frames without a complete message"),
        (bytes([0x02, 0]) * 4, "more than 3 frames without a complete message"),
    ],
)
def test_broken_frames_and_limits_say_what_is_wrong(data, problem):
    assert messages_of([data], max_payload=40, max_message=60, max_controls=3)[1] == problem


def test_a_complete_message_starts_the_count_of_controls_anew():
    three = serialize_message(b"", opcode=9) * 3 + serialize_message(b"x")

    assert len(messages_of([three * 3], max_controls=3)[0]) == 12


def test_many_messages_in_one_read_cost_no_copy_of_the_rest_each():
    data = serialize_message(b"x" * 30) * 30_000

    assert len(messages_of([data])[0]) == 30_000


# Upgrade


def test_the_oracle_takes_our_upgrade_and_we_take_its():
    server, client = ServerProtocol(), ClientProtocol(parse_uri("ws://127.0.0.1:3102/sub"))
    upgrade = ClientUpgrade("127.0.0.1:3102", KEY)

    server.receive_data(upgrade.request)
    [request] = server.events_received()
    server.send_response(server.accept(request))
    assert upgrade.feed(b"".join(server.data_to_send())) == b""

    client.send_request(client.connect())
    decoder = ServerDecoder()
    decoder.feed(b"".join(client.data_to_send()))
    client.receive_data(decoder.take_output())
    assert client.handshake_exc is None
    client.send_binary(BEAT.pack())
    assert frames_of(decoder, b"".join(client.data_to_send())) == [BEAT]


def test_the_accept_key_is_that_of_the_rfc():
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("GET", "POST", "the method is 'POST', expected GET"),
        ("/sub", "/sub?x=1", "the path is '/sub\\?x=1', expected /sub"),
        (" HTTP/1.1", "", "the request line is not METHOD PATH VERSION"),
        ("Version: 13", "Version: 8", "Sec-WebSocket-Version is not 13"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket", "Upgrade is not websocket"),
        ("Connection: Upgrade", "Connection: close", "Connection has no upgrade"),
        ("Key: dGhl", "Key:\r\nX: dGhl", "Sec-WebSocket-Key is missing"),
        ("Host: 127.0.0.1:3102", "Host", "header line 'Host' is not NAME: VALUE"),
        ("Host: ", ": ", "header line ': 127.0.0.1:3102' is not NAME: VALUE"),
    ],
)
def test_a_refused_upgrade_says_why(old, new, problem):
    decoder = ServerDecoder()

    decoder.feed(UPGRADE.decode().replace(old, new, 1).encode())

    with pytest.raises(UpgradeError, match=problem):
        decoder.next_frame()
    assert decoder.take_output() == b""


def test_an_upgrade_is_read_as_goim_reads_it():
    head = b"GET /sub \nUPGRADE:  WebSocket\nconnection: keep-alive, Upgrade\nsec-websocket-key: abc"
    head += b"\nSec-WebSocket-Version: 13\nCookie: a=b"

    assert parse_upgrade(head) == UpgradeRequest("abc", "a=b")


@given(st.binary(max_size=200).map(lambda data: data + b"\r\n\r\n"), pieces)
def test_garbage_for_an_upgrade_is_an_upgrade_error_whatever_the_cut(data, sizes):
    decoder = ServerDecoder()

    for piece in cut(data, sizes):
        decoder.feed(piece)

    with pytest.raises(UpgradeError):
        decoder.next_frame()


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("step", [1 << 20, 997])
def test_the_limit_of_a_request_does_not_depend_on_the_cut(extra, step):
    head = UPGRADE[:-4]
    fill = MAX_UPGRADE_BYTES - len(head) - len("\r\nX: ") + extra
    data = head + b"\r\nX: " + b"x" * fill + b"\r\n\r\n"
    decoder, error = ServerDecoder(), None

    try:
        frames_of(decoder, *(data[at : at + step] for at in range(0, len(data), step)))
    except UpgradeError as exc:
        error = str(exc)

    assert (decoder.upgraded, error) == (
        (True, None) if not extra else (False, f"the request is over the limit of {MAX_UPGRADE_BYTES} bytes")
    )


def test_a_client_checks_the_response():
    good = serialize_upgrade_response(UpgradeRequest("dGhlIHNhbXBsZSBub25jZQ==", ""))

    assert ClientUpgrade("h", KEY).feed(good + b"more") == b"more"
    assert ClientUpgrade("h", KEY).feed(good[:-1]) is None
    with pytest.raises(UpgradeError, match="Accept does not match"):
        ClientUpgrade("h", b"another key 1234").feed(good)
    with pytest.raises(UpgradeError, match="'HTTP/1.1 404 Not Found', expected a 101"):
        ClientUpgrade("h", KEY).feed(b"HTTP/1.1 404 Not Found\r\n\r\n")
    with pytest.raises(UpgradeError, match="the response is over the limit"):
        ClientUpgrade("h", KEY).feed(b"x" * (MAX_UPGRADE_BYTES + 4))


def test_a_client_can_send_a_cookie():
    decoder = ServerDecoder()

    decoder.feed(ClientUpgrade("h", KEY, cookie="sid=1").request)

    assert decoder.cookie == "sid=1"


# A comet's view


@given(st.lists(frames), pieces)
def test_frames_of_a_client_do_not_depend_on_the_cut(wanted, sizes):
    data = UPGRADE + b"".join(sent(frame.pack()) for frame in wanted)

    assert frames_of(ServerDecoder(), *cut(data, sizes)) == wanted


@given(st.lists(st.binary(max_size=40) | frames.map(lambda frame: sent(frame.pack()))).map(b"".join), pieces)
def test_what_comet_makes_of_any_bytes_does_not_depend_on_the_cut(data, sizes):
    def outcome(chunks: list[bytes]) -> tuple[list[Frame], str, bytes, bool]:
        decoder, found, error = upgraded(), [], ""
        try:
            for chunk in chunks:
                decoder.feed(chunk)
                found += iter(decoder.next_frame, None)
        except RemoteError as exc:
            error = repr(exc)
        return found, error, decoder.take_output(), decoder.closing

    assert outcome(cut(data, sizes)) == outcome([data])


def test_pings_are_answered_and_pongs_ignored():
    decoder = upgraded()

    assert frames_of(decoder, sent(b"hello", 9) + sent(b"", 10) + sent(BEAT.pack())) == [BEAT]
    assert decoder.take_output() == serialize_message(b"hello", opcode=10)
    assert decoder.take_output() == b""


def test_text_and_unmasked_frames_are_taken_and_bytes_after_the_frame_ignored():
    decoder = upgraded()

    assert frames_of(decoder, sent(BEAT.pack(), 1), serialize_message(BEAT.pack() + b"more")) == [BEAT, BEAT]


def test_a_close_frame_ends_reading_after_the_frames_before_it():
    decoder = upgraded()

    assert frames_of(decoder, sent(BEAT.pack()) + sent(b"", 8) + sent(BEAT.pack())) == [BEAT]
    assert decoder.closing


@pytest.mark.parametrize(
    ("payload", "error", "problem"),
    [
        (b"x" * 15, WebSocketError, "message of 15 bytes is shorter than a header"),
        (Frame(1, 2, 3, b"body").pack()[:-1], WebSocketError, "shorter than its pack length 20"),
        (bytes.fromhex("ffffffff001000010000000200000000"), FrameLengthError, "frame length -1 is not possible"),
        (bytes.fromhex("00001011001000010000000200000000"), FrameLengthError, "4113 is over the limit of 4112"),
        (bytes.fromhex("00000010001100010000000200000000"), HeaderLengthError, "header length is 17"),
    ],
)
def test_a_bad_message_is_refused_after_the_frames_before_it(payload, error, problem):
    decoder = upgraded()
    decoder.feed(sent(BEAT.pack()) + sent(payload) + sent(BEAT.pack()))

    assert decoder.next_frame() == BEAT
    with pytest.raises(error, match=problem):
        decoder.next_frame()


def test_buffered_counts_what_is_held():
    decoder = ServerDecoder()
    decoder.feed(UPGRADE[:10])
    assert decoder.buffered == 10

    decoder.feed(UPGRADE[10:] + sent(BEAT.pack()) + b"\x82")
    assert decoder.buffered == 1
