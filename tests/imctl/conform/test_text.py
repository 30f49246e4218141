from __future__ import annotations

import pytest

from imctl.conform.text import body_text, frame_text, frame_texts, joined
from protocol.frame import Frame, pack_frame
from protocol.raw import pack_batch

INNER = Frame(1, 1000, 0, b"x")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"hi", "'hi'"),
        ("房间".encode(), "'房间'"),
        (b"\xff\0", "0xff00"),
        (b"\n", "'\\n'"),
        (b"a" * 60, repr("a" * 60)),
        (b"a" * 61, "'aaaaaaaaaaaaaaaa'... 61 bytes"),
        (b"\xff" * 61, f"0x{'ff' * 16}... 61 bytes"),
    ],
)
def test_a_body_is_short_and_safe_to_print(body, text):
    assert body_text(body) == text


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame(1, 8, 1), "op 8 seq 1"),
        (Frame(-2, 1000, -7, b"x"), "op 1000 ver -2 seq -7 'x'"),
        (Frame(1, 3, 2, b"\0\0\0\x05"), "op 3 seq 2 online 5"),
        (Frame(1, 3, 0, b"zz"), "op 3 seq 0 'zz'"),
    ],
)
def test_a_frame_shows_what_counts(frame, text):
    assert frame_text(frame) == text


def test_a_container_shows_what_is_in_it():
    container = Frame(1, 9, 0, pack_batch([INNER, Frame(1, 1001, 0)]))

    assert frame_texts(container, is_ws=True) == ["[op 1000 seq 0 'x']", "[op 1001 seq 0]"]
    assert frame_texts(container, is_ws=False) == ["wrapped (op 1000 seq 0 'x'; op 1001 seq 0)"]


@pytest.mark.parametrize(
    "frame", [Frame(1, 9, 0), Frame(1, 9, 0, b"zz"), Frame(1, 9, 5, pack_frame(1)), INNER], ids=str
)
def test_other_frames_show_as_they_are(frame):
    assert frame_texts(frame, is_ws=True) == [frame_text(frame)]


def test_nothing_is_said_to_be_nothing():
    assert joined([]) == "nothing"
    assert joined(["a", "b"]) == "a; b"
