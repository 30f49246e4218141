"""What comet does with each operation after auth: echoes, heartbeats, rooms and subscriptions, without any push."""

from __future__ import annotations

from imctl.conform.case import Case
from imctl.conform.dialogue import Dialogue, dialogue_cases, frame
from imctl.conform.lab import Lab
from protocol.bodies import AuthToken
from protocol.operation import Operation

__all__ = ["CASES"]

_FILE = "internal/comet/operation.go"
_INT32 = 2**31
_RESERVED = (0, 1, 5, 6, 8, 10, 11, 13, 15, 17, 18)
_ROOM, _SUB, _UNSUB, _BEAT = Operation.CHANGE_ROOM, Operation.SUB, Operation.UNSUB, Operation.HEARTBEAT


def _each(*frames: bytes) -> list[list[bytes]]:
    """Return each frame as a write of its own."""
    return [[one] for one in frames]


_DIALOGUES = [
    Dialogue(
        "business-op",
        "an operation of the application is answered by the same one without a body",
        lambda lab: _each(frame(1000, b'{"test":1}', ver=3, seq=30), frame(1000, ver=3, seq=31)),
        "op 1000 ver 3 seq 30; op 1000 ver 3 seq 31",
        source="unknown-op-echo",
        ws="ops",
    ),
    Dialogue(
        "op-4",
        "op 4 is answered by op 4, not 5",
        lambda lab: _each(frame(4, b"hello", seq=32)),
        "op 4 seq 32",
        source="unknown-op-echo",
        ws="ops",
    ),
    Dialogue(
        "reserved-ops",
        "reserved operations are answered as any other",
        lambda lab: _each(*(frame(op, b"x", seq=100 + op) for op in _RESERVED)),
        "; ".join(f"op {op} seq {100 + op}" for op in _RESERVED),
        source="unknown-op-echo",
        ws="-",
        file=_FILE,
    ),
    Dialogue(
        "any-op",
        "any int32 is an operation",
        lambda lab: _each(*(frame(op, b"x", seq=44) for op in (-1, _INT32 - 1, -_INT32))),
        f"op -1 seq 44; op {_INT32 - 1} seq 44; op {-_INT32} seq 44",
        source="unknown-op-echo",
        ws="ops",
    ),
    Dialogue(
        "op-3",
        "op 3 from a client is answered as a heartbeat reply",
        lambda lab: _each(frame(3, b"zz", seq=5)),
        "op 3 seq 5 online 0",
        source="op3-from-client",
        ws="ops",
    ),
    Dialogue(
        "op-9",
        "op 9 from a client: nothing comes back over TCP, an empty op 9 over WebSocket",
        lambda lab: _each(frame(9, b"zz", seq=5), frame(_BEAT, seq=6)),
        "op 3 seq 6 online 0",
        expected_ws="op 9 seq 5; op 3 seq 6 online 0",
        source="op9-from-client",
        ws="ops",
    ),
    Dialogue(
        "second-auth",
        "a second op 7 is an operation as any other",
        lambda lab: _each(
            frame(Operation.AUTH, AuthToken(mid=1, key=lab.key("b")).serialize(), seq=9), frame(_BEAT, seq=10)
        ),
        "op 7 seq 9; op 3 seq 10 online 0",
        source="second-auth",
        ws="ops",
    ),
    Dialogue(
        "heartbeat",
        "a heartbeat is answered by op 3 with the members of the room, none without a room; its body is ignored",
        lambda lab: _each(frame(_BEAT, seq=2), frame(_BEAT, b"ignored body", ver=5, seq=61)),
        "op 3 seq 2 online 0; op 3 ver 5 seq 61 online 0",
        source="heartbeat-no-room",
        ws="ops",
    ),
    Dialogue(
        "heartbeat-room",
        "alone in the room of its token a client is told of one",
        lambda lab: _each(frame(_BEAT, seq=2)),
        "op 3 seq 2 online 1",
        token={"room": "a"},
        source="auth-mid-zero",
        ws="-",
        file="internal/comet/room.go",
    ),
    Dialogue(
        "change-room",
        "op 12 changes the room, and its body comes back",
        lambda lab: _each(
            frame(_ROOM, lab.room("1").encode(), seq=10),
            frame(_BEAT, seq=100),
            frame(_ROOM, lab.room("2").encode(), seq=11),
            frame(_BEAT, seq=101),
        ),
        "op 13 seq 10 'conform://1'; op 3 seq 100 online 1; op 13 seq 11 'conform://2'; op 3 seq 101 online 1",
        source="change-room",
        ws="ops",
    ),
    Dialogue(
        "leave-room",
        "op 12 without a body leaves; the last count is told again",
        lambda lab: _each(
            frame(_ROOM, lab.room("1").encode(), seq=4), frame(_BEAT, seq=5), frame(_ROOM, seq=6), frame(_BEAT, seq=7)
        ),
        "op 13 seq 4 'conform://1'; op 3 seq 5 online 1; op 13 seq 6; op 3 seq 7 online 1",
        accepted={
            "op 13 seq 4 'conform://1'; op 3 seq 5 online 1; op 13 seq 6; op 3 seq 7 online 0": (
                "tells 0 after leaving, where goim tells the last count again"
            )
        },
        source="change-room",
        ws="ops",
    ),
    Dialogue(
        "same-room",
        "a client alone in a room that changes to the same one stays in it",
        lambda lab: _each(frame(_ROOM, lab.room("2").encode(), seq=12), frame(_BEAT, seq=102)),
        "op 13 seq 12 'conform://2'; op 3 seq 102 online 1",
        accepted={
            "op 13 seq 12 'conform://2'; op 3 seq 102 online 0": (
                "goim drops the room and tells the client that all is well; it is then in no room"
            )
        },
        token={"room": "2"},
        source="change-room",
        ws="-",
        file="internal/comet/bucket.go ChangeRoom",
    ),
    Dialogue(
        "room-names",
        "a room may have any name: without a scheme, not ASCII",
        lambda lab: _each(
            frame(_ROOM, f"no-scheme-{lab.tag}".encode(), seq=14),
            frame(_BEAT, seq=104),
            frame(_ROOM, f"直播://房间-{lab.tag}".encode(), seq=15),
            frame(_BEAT, seq=105),
        ),
        "op 13 seq 14 'no-scheme'; op 3 seq 104 online 1; op 13 seq 15 '直播://房间'; op 3 seq 105 online 1",
        source="change-room",
        ws="-",
        file=_FILE,
    ),
    Dialogue(
        "room-not-utf8",
        "a room name that is not UTF-8 comes back, and the client stays where it is",
        lambda lab: _each(frame(_ROOM, b"\xff\xfe", seq=16), frame(_BEAT, seq=106), frame(_ROOM, seq=17)),
        "op 13 seq 16 0xfffe; op 3 seq 106 online 0; op 13 seq 17",
        accepted={
            "op 13 seq 16 0xfffe; op 3 seq 106 online 1; op 13 seq 17": (
                "goim joins it, and the room counts of that comet stop until the client leaves"
            )
        },
        risky=True,
        source="room-name-not-utf8",
        ws="-",
        file=_FILE,
    ),
    Dialogue(
        "sub",
        "op 14 answers with its body, whether it could read it or not",
        lambda lab: _each(
            *(
                frame(_SUB, body, seq=20 + number)
                for number, body in enumerate(
                    (b"1000,1001", b"", b"1000, 1001", b"abc", b"99999999999", b"-5", b"[1,2]")
                )
            )
        ),
        "op 15 seq 20 '1000,1001'; op 15 seq 21; op 15 seq 22 '1000, 1001'; op 15 seq 23 'abc'; "
        "op 15 seq 24 '99999999999'; op 15 seq 25 '-5'; op 15 seq 26 '[1,2]'",
        source="sub-unsub",
        ws="ops",
    ),
    Dialogue(
        "unsub",
        "so does op 16",
        lambda lab: _each(frame(_UNSUB, b"1000", seq=27), frame(_UNSUB, seq=28), frame(_UNSUB, b"x", seq=29)),
        "op 17 seq 27 '1000'; op 17 seq 28; op 17 seq 29 'x'",
        source="sub-unsub",
        ws="ops",
    ),
]


def _two_in_room(part: str) -> Case:
    async def run(lab: Lab) -> str:
        first = await lab.login(part, "a", room_id=lab.room("r"))
        second = await lab.login(part, "b", room_id=lab.room("r"))
        seen = await first.ask(frame(_BEAT, seq=2)) + await second.ask(frame(_BEAT, seq=2))
        return lab.seen(seen)

    return Case(
        f"{part}-ops.two-members",
        f"{part}-ops",
        "two members of a room are told of two at once",
        "tcp-sessions.jsonl: heartbeat-count-before-and-after",
        (part,),
        "op 3 seq 2 online 2; op 3 seq 2 online 2",
        run,
        accepted={
            "op 3 seq 2 online 1; op 3 seq 2 online 1": "goim counts one of 32 buckets until logic has told the sum"
        },
    )


CASES: list[Case] = [*dialogue_cases("ops", _DIALOGUES), _two_in_room("tcp"), _two_in_room("ws")]
