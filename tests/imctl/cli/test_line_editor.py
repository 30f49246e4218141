from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.cli.line_editor import ERASE, Event, EventKind, LineEditor
from tests.protocol.strategies import cut, pieces

LEFT, RIGHT, UP, DOWN, HOME, END, DELETE = "\x1b[D", "\x1b[C", "\x1b[A", "\x1b[B", "\x1b[H", "\x1b[F", "\x1b[3~"
WORDS = ["send", "sendhex", "sub", "wait"]


def complete(text: str) -> list[str]:
    return [word for word in WORDS if word.startswith(text.rpartition(" ")[2])]


def line_of(keys: str) -> str:
    """Return the line that some keys and Enter make."""
    [event] = LineEditor("> ", complete).feed(f"{keys}\r".encode())
    assert event.kind is EventKind.LINE
    return event.text


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("room live://1", "room live://1"),
        ("héllo 世界", "héllo 世界"),
        (f"bc{HOME}a{END}d", "abcd"),
        (f"bd{LEFT}c{LEFT}{LEFT}a{RIGHT}{RIGHT}{RIGHT}e", "abcde"),
        (f"abc{LEFT}{LEFT}{LEFT}{LEFT}X", "Xabc"),
        ("ab\x7f\x08\x7fc", "c"),
        (f"abc{LEFT}{DELETE}{DELETE}", "ab"),
        (f"abc{LEFT}\x04", "ab"),
        (f"one two{LEFT}{LEFT}\x15", "wo"),
        (f"one two{LEFT}{LEFT}\x0b", "one t"),
        ("one two  \x17three", "one three"),
        ("one two\x1bb\x1bb0\x1bf1", "0one1 two"),
        (f"one two{HOME}\x1bd", " two"),
        ("a\x1b[1;5Db", "ba"),
        ("a\x00\x07\x1b[99~\x1bOPb", "ab"),  # keys without a meaning
        ("se\t", "send"),  # as far as it is clear
        ("w\t13", "wait 13"),
        ("x\t", "x"),
    ],
)
def test_keys_make_a_line(keys, line):
    assert line_of(keys) == line


KEYS = st.lists(st.sampled_from(["a", "é", "世", " ", "\x7f", LEFT, HOME, "\x17", "\t", UP, "\r"]))


@given(KEYS, pieces)
def test_what_comes_of_keys_does_not_depend_on_where_they_are_cut(keys, sizes):
    data = f"{''.join(keys)}\r".encode()
    whole, cut_up = LineEditor("> ", complete), LineEditor("> ", complete)

    events = [event for piece in cut(data, sizes) for event in cut_up.feed(piece)]

    assert events == whole.feed(data)


@given(st.binary())
def test_any_bytes_leave_an_editor_that_works(data):
    editor = LineEditor("> ", complete)
    editor.feed(data)
    editor.draw(20)

    assert editor.feed(b"\x1bx\x1bx\x1bx\x05\x15\x15\x0bok\r")[-1] == Event(EventKind.LINE, "ok")


def test_lines_come_back_and_the_one_begun_is_kept():
    editor = LineEditor("> ")
    editor.feed(b"first\rsecond\rsecond\r\r")

    def shown(keys: str) -> str:
        editor.feed(keys.encode())
        return editor.draw(80).removeprefix(f"{ERASE}> ")

    assert shown("begun") == "begun"
    assert shown(UP) == "second"
    assert shown(UP) == "first"
    assert shown(UP) == "first"
    assert shown(DOWN + DOWN) == "begun"
    assert shown(DOWN) == "begun"
    assert editor.feed(f"{UP}{UP}!\r".encode()) == [Event(EventKind.LINE, "first!")]


def test_control_d_ends_only_an_empty_line():
    editor = LineEditor("> ")

    assert editor.feed(b"a\x04") == []
    assert editor.feed(b"\x15\x04") == [Event(EventKind.END)]


def test_tab_shows_what_it_could_mean():
    editor = LineEditor("> ", complete)

    assert editor.feed(b"s\t") == [Event(EventKind.SHOW, "send  sendhex  sub")]
    assert editor.feed(b"e\t") == []
    assert editor.feed(b"\t") == [Event(EventKind.SHOW, "send  sendhex")]
    assert editor.feed(b"\x0c") == [Event(EventKind.CLEAR)]


@pytest.mark.parametrize(
    ("keys", "row"),
    [
        ("", "> "),
        ("abc", "> abc"),
        (f"abc{LEFT}{LEFT}", "> abc\x1b[2D"),
        ("0123456789", "> 3456789"),  # ten columns: two of the prompt, one for the cursor
        (f"0123456789{HOME}", "> 0123456\x1b[7D"),
        ("世界世界", "> 界世界"),  # two columns each
        (f"世界世界{HOME}", "> 世界世\x1b[6D"),
    ],
)
def test_a_line_is_one_row_however_long_it_is(keys, row):
    editor = LineEditor("> ")
    editor.feed(keys.encode())

    assert editor.draw(10) == f"{ERASE}{row}"
