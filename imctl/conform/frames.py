"""Framing: lengths, limits, cuts, and how many frames may be on their way."""

from __future__ import annotations

from imctl.conform.case import Case
from imctl.conform.connection import masked
from imctl.conform.dialogue import Dialogue, dialogue_cases, frame, header
from imctl.conform.lab import Lab
from protocol.bodies import AuthToken
from protocol.frame import HEADER_LEN, MAX_BODY
from protocol.operation import Operation

__all__ = ["CASES"]

_CODEC = "api/protocol/protocol.go"
_BODY = b"a" * MAX_BODY
_LIST = b",".join([b"1"] * (MAX_BODY // 2)) + b"1"
_MIN = -(2**31)
_ECHO = "op 1000 seq 2"

_DIALOGUES = [
    Dialogue(
        "header-len-15",
        "a header length other than 16 closes the connection, without a reply",
        lambda lab: [[header(HEADER_LEN + 3, header_len=15) + b"abc"]],
        "closed",
        source="header-len-15",
        ws="header-len-15",
    ),
    Dialogue(
        "header-len-17",
        "so does a longer one",
        lambda lab: [[header(HEADER_LEN + 3, header_len=17) + b"abc"]],
        "closed",
        source="header-len-17",
    ),
    Dialogue("header-len-0", "and none", lambda lab: [[header(16, header_len=0)]], "closed", source="header-len-0"),
    Dialogue(
        "pack-len-0",
        "a pack length of 0 is an empty body, and the next frame follows the header",
        lambda lab: [[header(0)], [header(0, seq=3), frame(1001, seq=4)]],
        "op 1000 seq 2; op 1000 seq 3; op 1001 seq 4",
        source="pack-len-0",
        ws="pack-len-0",
    ),
    Dialogue("pack-len-15", "as is 15", lambda lab: [[header(15)]], _ECHO, source="pack-len-15", ws="pack-len-15"),
    Dialogue("pack-len-16", "16 is an empty body", lambda lab: [[header(16)]], _ECHO, source="pack-len-16"),
    Dialogue("pack-len-17", "17 is a body of one byte", lambda lab: [[header(17) + b"Z"]], _ECHO, source="pack-len-17"),
    Dialogue(
        "pack-len-negative",
        "a negative pack length is an empty body over TCP, and closes over WebSocket",
        lambda lab: [[header(-1)]],
        _ECHO,
        expected_ws="closed",
        source="pack-len-negative",
        ws="pack-len-negative",
    ),
    Dialogue(
        "pack-len-min-plus-16",
        "down to the lowest that does not wrap around",
        lambda lab: [[header(_MIN + 16)]],
        _ECHO,
        source="pack-len-min-int32-plus-16",
    ),
    Dialogue(
        "pack-len-min-plus-15",
        "a pack length that wraps around closes",
        lambda lab: [[header(_MIN + 15)]],
        "closed",
        source="pack-len-min-int32-plus-15",
    ),
    Dialogue("pack-len-min", "as does the lowest", lambda lab: [[header(_MIN)]], "closed", source="pack-len-min-int32"),
    Dialogue(
        "pack-len-max", "and the highest", lambda lab: [[header(2**31 - 1)]], "closed", source="pack-len-max-int32"
    ),
    Dialogue(
        "pack-len-4113",
        "a body of 4097 bytes closes the connection",
        lambda lab: [[frame(1000, _BODY + b"a")]],
        "closed",
        source="pack-len-4113",
        ws="pack-len-4113",
    ),
    Dialogue(
        "body-4096",
        "a body of 4096 bytes is taken, and echoed in full where bodies are echoed",
        lambda lab: [[frame(1000, _BODY)], [frame(Operation.SUB, _LIST, seq=3)]],
        "op 1000 seq 2; op 15 seq 3 '1,1,1,1,1,1,1,1,'... 4096 bytes",
        source="body-4096",
        ws="body-4096",
    ),
    Dialogue(
        "one-write",
        "several frames in one write are answered in their order",
        lambda lab: [
            [
                frame(Operation.HEARTBEAT, seq=2),
                frame(Operation.SUB, b"7,8", seq=3),
                frame(1000, b"abc", seq=4),
                frame(Operation.CHANGE_ROOM, lab.room("n").encode(), seq=5),
            ]
        ],
        "op 3 seq 2 online 1; op 15 seq 3 '7,8'; op 1000 seq 4; op 13 seq 5 'conform://n'",
        token={"room": "m"},
        source="several-frames-one-write",
        ws="several-frames-one-write",
    ),
    Dialogue(
        "echo-bodies",
        "echoed bodies are right when several requests are under way",
        lambda lab: [
            [frame(Operation.CHANGE_ROOM, lab.room(f"room-{n}").encode(), seq=n) for n in range(6)],
        ],
        "; ".join(f"op 13 seq {n} 'conform://room-{n}'" for n in range(6)),
        source="pipeline-change-room-bodies",
        ws="-",
        file="internal/comet/server_websocket.go",
    ),
    Dialogue(
        "pipeline-7",
        "seven requests in one write are answered, all of them",
        lambda lab: [[frame(1000, b"abcdefgh", seq=n) for n in range(7)]],
        "; ".join(f"op 1000 seq {n}" for n in range(7)),
        source="pipeline-8",
        ws="-",
        file="internal/comet/ring.go",
    ),
]


async def _pipeline_30(lab: Lab) -> str:
    connection = await lab.login("tcp")
    connection.send(*(frame(Operation.HEARTBEAT, seq=n) for n in range(30)))
    seen = await connection.take(30)
    if "closed" in seen:
        return "cut by a close"
    wanted = [f"op 3 seq {n} online 0" for n in range(30)]
    return "30 replies in order" if seen == wanted else lab.seen(seen)


def _bytewise(part: str) -> Case:
    async def run(lab: Lab) -> str:
        connection = await lab.login(part)
        for data in (frame(Operation.HEARTBEAT, seq=2), frame(Operation.SUB, b"7,8", seq=3)):
            for byte in masked(data) if connection.is_ws else data:
                connection.write(bytes((byte,)))
                await connection.drain()
        return lab.seen(await connection.settle())

    return Case(
        f"{part}-frames.byte-by-byte",
        f"{part}-frames",
        "frames may come cut anywhere",
        f"{part}-sessions.jsonl: byte-by-byte",
        (part,),
        "op 3 seq 2 online 0; op 15 seq 3 '7,8'",
        run,
    )


async def _before_auth(lab: Lab, part: str, data: bytes) -> str:
    connection = await lab.connect(part)
    if connection.is_ws:
        await connection.upgrade()
    connection.send(data)
    return lab.seen(await connection.take())


def _first_frame(name: str, shows: str, recording: str, data: bytes) -> Case:
    async def run(lab: Lab) -> str:
        return await _before_auth(lab, "tcp", data)

    source = f"tcp-sessions.jsonl: {recording}"
    return Case(f"tcp-frames.{name}", "tcp-frames", shows, source, ("tcp",), "closed", run)


async def _half_close(lab: Lab) -> str:
    connection = await lab.login("tcp")
    connection.end_writing()
    return lab.seen(await connection.to_end())


async def _ver_seq(lab: Lab) -> str:
    connection = await lab.connect("tcp")
    token = AuthToken(mid=lab.mid(0), key=lab.key("a")).serialize()
    connection.send(frame(Operation.AUTH, token, ver=-2, seq=-7))
    seen = await connection.take()
    return lab.seen(seen + await connection.ask(frame(1000, b"x", ver=3, seq=-1), frame(2, ver=-32768, seq=2**31 - 1)))


CASES: list[Case] = [
    *dialogue_cases("frames", _DIALOGUES),
    Case(
        "tcp-frames.ver-seq-echo",
        "tcp-frames",
        "replies carry the version and sequence of the request, negative ones too",
        "tcp-sessions.jsonl: auth-ok-ver-seq-echo",
        ("tcp",),
        "op 8 ver -2 seq -7; op 1000 ver 3 seq -1; op 3 ver -32768 seq 2147483647 online 0",
        _ver_seq,
    ),
    _bytewise("tcp"),
    _bytewise("ws"),
    Case(
        "tcp-frames.pipeline-30",
        "tcp-frames",
        "30 requests in one write are answered",
        "tcp-sessions.jsonl: pipeline-30-heartbeats; internal/comet/ring.go",
        ("tcp",),
        "30 replies in order",
        _pipeline_30,
        accepted={"cut by a close": "goim closes when more than 8 requests wait for their reply"},
    ),
    _first_frame(
        "pack-len-before-auth",
        "the limits hold before auth too",
        "pack-len-over-before-auth",
        frame(Operation.AUTH, _BODY + b"a"),
    ),
    _first_frame(
        "header-len-before-auth", "so does the header length", "header-len-bad-before-auth", header(16, header_len=12)
    ),
    _first_frame(
        "negative-pack-len-auth",
        "an auth with a negative pack length has an empty body, which is refused",
        "negative-pack-len-auth",
        header(-1, op=Operation.AUTH),
    ),
    Case(
        "tcp-frames.half-close",
        "tcp-frames",
        "a client that ends its half is closed",
        "tcp-sessions.jsonl: half-close",
        ("tcp",),
        "closed",
        _half_close,
    ),
]
