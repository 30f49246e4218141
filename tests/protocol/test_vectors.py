"""Every byte that a goim cluster and its clients exchanged: decoded, serialized, cut everywhere, replayed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from protocol.bodies import parse_online, parse_token
from protocol.decoder import FrameDecoder
from protocol.errors import FrameLengthError, HeaderLengthError, RemoteError
from protocol.frame import MAX_BODY, Frame
from protocol.operation import Operation
from protocol.raw import flatten, pack_batch, wrap_batch
from protocol.state import Connection, State, reply_to
from protocol.websocket import ClientUpgrade, Message, MessageDecoder, ServerDecoder, serialize_message
from tests.protocol.recordings import CLIENT_MASK, CUTS, UPGRADE_KEY, Stream, dialogues, streams

TCP_SENT = streams("tcp-sessions", "send") + streams("tcp-pushes", "send")
TCP_RECEIVED = streams("tcp-sessions", "recv") + streams("tcp-pushes", "recv")
WS_SENT = streams("ws-sessions", "send") + streams("ws-pushes", "send")
WS_RECEIVED = streams("ws-sessions", "recv") + streams("ws-pushes", "recv")
for _tcp, _ws in ((TCP_SENT, WS_SENT), (TCP_RECEIVED, WS_RECEIVED)):
    # One dialogue has a client of each kind.
    _tcp += [stream for stream in _ws if stream.name == "tcp-and-ws-same-key-T"]
    _ws[:] = [stream for stream in _ws if stream.name != "tcp-and-ws-same-key-T"]

REFUSED = {
    "header-len-15": HeaderLengthError,
    "header-len-17": HeaderLengthError,
    "header-len-0": HeaderLengthError,
    "header-len-bad-before-auth": HeaderLengthError,
    "pack-len-min-int32": FrameLengthError,
    "pack-len-min-int32-plus-15": FrameLengthError,
    "pack-len-4113": FrameLengthError,
    "pack-len-max-int32": FrameLengthError,
    "pack-len-over-before-auth": FrameLengthError,
}
"""TCP dialogues in which the client breaks the framing, and goim closes."""

LENGTH_NOT_KEPT = {
    "pack-len-0",
    "pack-len-15",
    "pack-len-negative",
    "pack-len-min-int32-plus-16",
    "negative-pack-len-auth",
}
"""TCP dialogues with a pack length under 16, which means an empty body; written again it is 16."""

FORM_NOT_KEPT = {
    "unmasked-frame": "no mask",
    "fragmented": "a message in several frames",
    "lone-continuation": "opcode 0",
    "empty-first-fragment": "a message in several frames",
    "frame-rsv1": "refused",
    "frame-opcode-3": "refused",
    "frame-opcode-11": "refused",
    "frame-len16-form": "a longer length than needed",
    "frame-len64-form": "a longer length than needed",
}
"""WebSocket dialogues whose client writes frames in a form that we read but never write."""


NO_VIEW = {"upgrade-split", "pack-len-0", "pack-len-15"}
"""WebSocket dialogues that were recorded without a decoded view of every frame."""


def names(found: list[Stream]) -> Any:
    return pytest.mark.parametrize("stream", found, ids=[stream.name for stream in found])


def decode_tcp(pieces: Iterable[bytes], max_body: int | None) -> tuple[list[Frame], type[Exception] | None, int]:
    decoder, frames = FrameDecoder(max_body), []
    for piece in pieces:
        decoder.feed(piece)
        try:
            frames += iter(decoder.next_frame, None)
        except RemoteError as exc:
            return frames, type(exc), 0
    return frames, None, decoder.buffered


def decode_client_ws(pieces: Iterable[bytes]) -> tuple[list[Frame], type[Exception] | None, bool, bytes, bool, str]:
    decoder, frames, error = ServerDecoder(), [], None
    for piece in pieces:
        decoder.feed(piece)
        try:
            frames += iter(decoder.next_frame, None)
        except RemoteError as exc:
            error = type(exc)
    return frames, error, decoder.closing, decoder.take_output(), decoder.upgraded, decoder.cookie


def decode_server_ws(pieces: Iterable[bytes], key: bytes = UPGRADE_KEY) -> tuple[list[Message], int]:
    upgrade, decoder, messages = ClientUpgrade("x", key), MessageDecoder(), []
    upgraded = False
    for piece in pieces:
        rest: bytes | None = piece
        if not upgraded:
            rest = upgrade.feed(piece)
        if rest is not None:
            upgraded = True
            decoder.feed(rest)
            messages += iter(decoder.next_message, None)
    assert upgraded
    return messages, decoder.buffered


def assert_is_recorded(frames: Iterable[Frame], views: Iterable[dict[str, Any]]) -> None:
    """Compare frames with goim's own decoded view of them."""
    for frame, view in zip(frames, views, strict=True):
        assert (frame.ver, frame.op, frame.seq, len(frame.body)) == (
            view["ver"],
            view["op"],
            view["seq"],
            view["body_len"],
        )
        if "body_text" in view and "..." not in view["body_text"]:
            assert frame.body.decode() == view["body_text"]
        if "online" in view:
            assert parse_online(frame.body) == view["online"]


# TCP


@names(TCP_RECEIVED)
@pytest.mark.parametrize("cut", CUTS)
def test_what_goim_sends_over_tcp_decodes_and_serializes_to_the_same_bytes(stream, cut):
    frames, error, left = decode_tcp(cut(stream.data), None)

    assert (error, left) == (None, 0)
    assert pack_batch(frames) == stream.data
    assert_is_recorded(frames, [view for step in stream.steps for view in step["frames"]])


@names([stream for stream in TCP_SENT if stream.name not in REFUSED])
@pytest.mark.parametrize("cut", CUTS)
def test_what_clients_send_over_tcp_decodes_and_serializes_to_the_same_bytes(stream, cut):
    frames, error, left = decode_tcp(cut(stream.data), MAX_BODY)

    assert error is None
    assert left == 0 or stream.name == "handshake-timeout-partial"
    if stream.name not in LENGTH_NOT_KEPT:
        assert pack_batch(frames) + stream.data[len(stream.data) - left :] == stream.data


@names([stream for stream in TCP_SENT if stream.name in REFUSED])
@pytest.mark.parametrize("cut", CUTS)
def test_broken_tcp_framing_is_refused_after_the_frames_before_it(stream, cut):
    frames, error, _ = decode_tcp(cut(stream.data), MAX_BODY)

    assert error is REFUSED[stream.name]
    assert stream.data.startswith(pack_batch(frames))
    assert [frame.op for frame in frames] == ([] if "before-auth" in stream.name else [Operation.AUTH])


@names(TCP_SENT + TCP_RECEIVED)
def test_tcp_frames_are_equal_wherever_the_bytes_are_cut_in_two(stream):
    data, max_body = stream.data, MAX_BODY if stream in TCP_SENT else None
    expected = decode_tcp([data], max_body)

    assert all(decode_tcp([data[:cut], data[cut:]], max_body) == expected for cut in range(1, len(data)))


# WebSocket

# Its key is not base64 of 16 bytes, so no client of ours can have sent it; the replay has it.
WS_RECEIVED = [stream for stream in WS_RECEIVED if stream.name != "upgrade-short-key"]


@names(WS_RECEIVED)
@pytest.mark.parametrize("cut", CUTS)
def test_what_goim_sends_over_websocket_decodes_and_serializes_to_the_same_bytes(stream, cut):
    messages, left = decode_server_ws(cut(stream.data))
    response = stream.data[: stream.data.index(b"\r\n\r\n") + 4]

    again = b"".join(serialize_message(message.payload, opcode=message.opcode) for message in messages)

    assert left == 0
    assert response + again == stream.data


@names(WS_RECEIVED)
def test_websocket_messages_of_goim_hold_the_recorded_frames(stream):
    messages, _ = decode_server_ws([stream.data])
    views = [view for step in stream.steps for view in step.get("ws", [])]

    for message, view in zip(messages, views, strict=True):
        assert (message.opcode, len(message.payload)) == (view["opcode"], view["payload_len"])
        frames, error, left = decode_tcp([message.payload], None) if message.opcode == 2 else ([], None, 0)
        assert (error, left) == (None, 0)
        assert_is_recorded(frames, view.get("frames", []))
        if "inner_frames" in view:
            inner = flatten(frames[0])
            assert_is_recorded(inner, view["inner_frames"])
            assert wrap_batch(pack_batch(inner)) == message.payload


@names(WS_SENT)
@pytest.mark.parametrize("cut", CUTS)
def test_upgrade_and_frames_of_websocket_clients_are_read(stream, cut):
    frames, error, closing, output, upgraded, cookie = decode_client_ws(cut(stream.data))

    views = [view for step in stream.steps for item in step.get("ws", []) for view in item.get("frames", [])]
    known = {(view["ver"], view["op"], view["seq"]) for view in views}
    assert {
        (frame.ver, frame.op, frame.seq) for frame in frames
    } <= known or stream.name in FORM_NOT_KEPT.keys() | NO_VIEW
    assert cookie == ("SID=1" if stream.name == "upgrade-subprotocol-extension" else "")
    if upgraded:
        assert output.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    else:
        assert (frames, closing, output) == ([], False, b"")
        assert error is not None or not stream.name.startswith("upgrade-")


@names([stream for stream in WS_SENT if stream.name not in FORM_NOT_KEPT and not stream.name.startswith("upgrade-")])
def test_what_websocket_clients_send_serializes_to_the_same_bytes(stream):
    upgrade = ClientUpgrade("127.0.0.1:3102", UPGRADE_KEY)
    head, end, behind = stream.data.partition(b"\r\n\r\n")
    decoder = MessageDecoder()
    decoder.feed(behind)

    messages = list(iter(decoder.next_message, None))

    assert head + end == upgrade.request
    again = [serialize_message(message.payload, opcode=message.opcode, mask=CLIENT_MASK) for message in messages]
    assert b"".join(again) + behind[len(behind) - decoder.buffered :] == behind


@names(WS_SENT)
def test_websocket_input_means_the_same_wherever_it_is_cut_in_two(stream):
    data = stream.data
    expected = decode_client_ws([data])

    assert all(decode_client_ws([data[:cut], data[cut:]]) == expected for cut in range(1, len(data)))


@names(WS_RECEIVED)
def test_websocket_messages_of_goim_are_equal_wherever_they_are_cut_in_two(stream):
    data = stream.data
    expected = decode_server_ws([data])

    assert all(decode_server_ws([data[:cut], data[cut:]]) == expected for cut in range(1, len(data)))


# Replay: our side of the dialogue against goim's

NOT_REPLAYED = {
    "redis-down": "logic refuses because of its store",
    "same-key-twice": "the second connection closes the first",
    "tcp-and-ws-same-key": "the second connection closes the first",
}
TIMERS = ("handshake-timeout", "heartbeat-timeout")

DEVIATIONS = {
    "tcp pipeline-30-heartbeats": "goim's ring of 8 overflows; we answer all",
    "tcp pipeline-200-heartbeats-0": "as above",
    "tcp pipeline-200-heartbeats-1": "as above",
    "tcp pipeline-200-heartbeats-2": "as above",
    "ws pings-102": "goim holds pongs back and loses them with the connection; we answer at once",
    "ws header-only-message-body-missing": "goim fills the body with foreign memory; we close",
}
"""Where we do better than goim on purpose; everything else must be the same bytes."""


def replayed(name: str) -> list[Any]:
    return [
        pytest.param(dialogue, connection, id=f"{dialogue['name']}{'-' if connection else ''}{connection}")
        for dialogue in dialogues(f"{name}-sessions")
        if dialogue["name"] not in NOT_REPLAYED and not dialogue["name"].startswith(TIMERS)
        for connection in {step.get("conn", ""): None for step in dialogue["steps"]}
    ]


def replay(steps: list[dict[str, Any]], *, ws: bool) -> tuple[bytes, bool]:
    """Play comet to recorded input; return what it answers and whether it closes.

    Room counts come from the cluster and not from the connection, so they are
    taken from the recording.
    """
    decoder = ServerDecoder() if ws else FrameDecoder(MAX_BODY)
    connection, output, closed = Connection(decoder), b"", False
    views = [view for step in steps if step.get("recv") for view in frames_in(step)]
    counts = iter([view["online"] for view in views if "online" in view])
    for step in steps:
        closed = closed or step.get("note") == "client shuts down writing"
        if not step.get("send"):
            continue
        connection.receive(bytes.fromhex(step["send"]))
        if isinstance(decoder, ServerDecoder):
            output += decoder.take_output()
            closed = closed or decoder.closing
        try:
            while (request := connection.next_request()) is not None:
                if connection.state is State.AUTHENTICATING:
                    parse_token(request.body)
                    answer = connection.authenticated(request)
                else:
                    beat = request.op in (Operation.HEARTBEAT, Operation.HEARTBEAT_REPLY)
                    answer = reply_to(request, online=next(counts, 0) if beat else 0, container=not ws)
                output += serialize_message(answer) if ws and answer else answer
        except RemoteError:
            connection.close()
            closed = True
    return output, closed


def frames_in(step: dict[str, Any]) -> list[dict[str, Any]]:
    return step.get("frames") or [view for message in step.get("ws", []) for view in message.get("frames", [])]


@pytest.mark.parametrize(
    ("transport", "dialogue", "connection"),
    [
        pytest.param(transport, *param.values, id=f"{transport}-{param.id}")
        for transport in ("tcp", "ws")
        for param in replayed(transport)
    ],
)
def test_comet_side_answers_a_recorded_dialogue_with_goims_bytes(transport, dialogue, connection):
    steps = [step for step in dialogue["steps"] if step.get("conn", "") == connection]
    expected = b"".join(bytes.fromhex(step["recv"]) for step in steps if step.get("recv"))
    expected_closed = any(step.get("closed") for step in steps)

    output, closed = replay(steps, ws=transport == "ws")

    if f"{transport} {dialogue['name']}" in DEVIATIONS:
        assert (output, closed) != (expected, expected_closed), "no deviation any more: take it from the list"
    else:
        assert (output, closed) == (expected, expected_closed)


@pytest.mark.parametrize(("name", "beats"), [("pipeline-30-heartbeats", 30), ("pipeline-200-heartbeats-0", 200)])
def test_every_request_of_a_long_pipeline_is_answered(name, beats):
    [dialogue] = [dialogue for dialogue in dialogues("tcp-sessions") if dialogue["name"] == name]

    output, closed = replay(dialogue["steps"], ws=False)

    assert not closed
    assert [frame.op for frame in decode_tcp([output], None)[0]] == [Operation.AUTH_REPLY] + [
        Operation.HEARTBEAT_REPLY
    ] * beats


def test_a_message_without_its_body_closes_and_leaks_nothing():
    [dialogue] = [d for d in dialogues("ws-sessions") if d["name"] == "header-only-message-body-missing"]

    output, closed = replay(dialogue["steps"], ws=True)

    assert closed
    assert output.endswith(serialize_message(Frame(1, Operation.AUTH_REPLY, 1).pack()))


@pytest.mark.parametrize(
    ("step", "body"),
    [
        pytest.param(after, frame.body, id=dialogue["name"])
        for dialogue in dialogues("tcp-sessions")
        if dialogue["name"].startswith("auth-")
        for before, after in zip(dialogue["steps"][2:], dialogue["steps"][3:], strict=False)
        if "redis at this moment: HGETALL mid_" in after.get("note", "") and "recv" in before
        for frame in decode_tcp([bytes.fromhex(dialogue["steps"][1]["send"])], None)[0]
    ],
)
def test_tokens_mean_what_goim_stored(step, body):
    token = parse_token(body)

    mid = step["note"].rpartition("_")[2]
    if step["redis"]:
        assert (str(token.mid), token.key) == (mid, step["redis"][0]) or not token.key
