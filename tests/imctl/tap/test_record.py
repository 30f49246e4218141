from __future__ import annotations

import io
from pathlib import Path

import pytest

from imctl.decode import Problem, Row
from imctl.decode.traffic import Began, Ended, Event, Seen, Side
from imctl.pcap import Capture
from imctl.tap import Accepted, FileThread, Finished, Gone, Left, Passed, Recorder, Refused, TapEvent, Understanding
from protocol.frame import Frame
from protocol.websocket import ClientUpgrade, serialize_message

AUTH, HI = Frame(1, 7, 1, b'{"mid":1}'), Frame(1, 1000, 0, b"hi" * 40000)
SMALL = Frame(1, 1000, 0, b"hi")
T0 = 1_700_000_000_000_000_123


def connection(number: int, *said: tuple[Side, bytes], end: list[TapEvent] | None = None) -> list[TapEvent]:
    begin = Accepted(T0, number, ("127.0.0.1", 50000 + number), ("127.0.0.1", 3101))
    data = [Passed(T0 + 1000 * i, number, side, part) for i, (side, part) in enumerate(said, 1)]
    last = T0 + 10**9
    return [begin, *data, *(end if end is not None else [Gone(last, number, Side.CLIENT, False)])]


def understood(events: list[TapEvent]) -> list[Event]:
    understanding = Understanding()
    return [seen for event in events for seen in understanding.take(event)]


def recorded(events: list[TapEvent]) -> list[Event]:
    file = io.BytesIO()
    recorder = Recorder(file)
    for event in events:
        recorder.take(event)
    file.seek(0)
    capture = Capture(file)
    return [*capture.events(), *capture.finish()]


TCP = [(Side.CLIENT, AUTH.pack()), (Side.COMET, Frame(1, 8, 1).pack() + HI.pack())]
WS = [
    (Side.CLIENT, ClientUpgrade("h", b"the sample nonce").request),
    (Side.CLIENT, serialize_message(AUTH.pack(), mask=b"abcd")),
    (Side.COMET, serialize_message(SMALL.pack())),
]
HALF = [Finished(T0 + 5000, 1, Side.COMET), Gone(T0 + 10**9, 1, Side.COMET, False)]


@pytest.mark.parametrize(
    "events",
    [
        connection(1, *TCP),
        connection(1, *WS),
        connection(1, *TCP, end=HALF),
        connection(1, (Side.CLIENT, AUTH.pack() + b"\0\0\0\x10\0\x11" + bytes(10))),
        connection(1, *TCP, end=[Gone(T0 + 10**9, 1, Side.COMET, True)]),
        connection(1, *TCP, end=[Gone(T0 + 10**9, 1, Side.CLIENT, True)]),
        [*connection(1, *TCP), *connection(2, *WS)],
    ],
    ids=["TCP", "WebSocket", "half", "bad bytes", "reset by comet", "reset by client", "two"],
)
def test_what_is_read_back_is_what_was_shown(events):
    assert recorded(events) == understood(events)


def test_what_was_left_out_is_missing_in_the_file():
    said = connection(1, *TCP)
    said[3:3] = [Left(T0 + 3000, 1, Side.COMET, 36), Passed(T0 + 4000, 1, Side.COMET, SMALL.pack())]

    events = recorded(said)

    problems = [event.item for event in events if isinstance(event, Seen) and isinstance(event.item, Problem)]
    assert [problem.what for problem in problems] == ["36 bytes are not in the capture"]
    assert [event.item.op for event in events if isinstance(event, Seen) and isinstance(event.item, Row)][-1] == 1000


def test_what_was_left_out_is_told_where_it_is_shown():
    *_, gap, ended = understood([*connection(1, *TCP)[:-1], Left(T0, 1, Side.COMET, 36), Gone(T0, 1, None, False)])

    assert isinstance(gap, Seen)
    assert isinstance(gap.item, Problem)
    assert gap.item.what == "36 bytes were passed on and are not shown"
    assert isinstance(ended, Ended)
    assert (ended.why, ended.from_comet) == ("closed by imctl tap", 16 + len(HI.pack()) + 36)


def test_a_comet_that_was_not_reached_is_told():
    began, ended = understood([Refused(T0, 4, ("127.0.0.1", 5), "10.0.0.1:3101", "Connection refused")])

    assert isinstance(began, Began)
    assert (began.peers.number, began.peers.comet) == (4, "10.0.0.1:3101")
    assert isinstance(ended, Ended)
    assert ended.why == "the comet was not reached: Connection refused"


def test_events_of_a_connection_that_is_not_known_are_nothing():
    events: list[TapEvent] = [Passed(T0, 9, Side.CLIENT, b"x"), Gone(T0, 9, None, False)]

    assert understood(events) == recorded([*events, *connection(1)])[:0] == []


def test_a_file_is_written_behind(tmp_path: Path):
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as raw:
        file = FileThread(raw)
        for number in range(100):
            file.write(bytes([number]) * 1000)
        assert file.ready()
        file.close(10)

    assert path.read_bytes() == b"".join(bytes([number]) * 1000 for number in range(100))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_file_that_cannot_be_written_is_an_error():
    with open("/dev/full", "wb", buffering=0) as raw:
        file = FileThread(raw)
        file.write(b"x")

        with pytest.raises(OSError, match="No space left"):
            file.close(10)
        with pytest.raises(OSError, match="No space left"):
            file.ready()
