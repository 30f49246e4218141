from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.decode import Source, SourceError, parse_bytes, parse_text
from imctl.decode.source import MAX_INPUT_BYTES

DATA = bytes.fromhex("0010ab7f")


@pytest.mark.parametrize(
    "text",
    [
        "0010ab7f",
        "0010 AB7F",
        "00:10:ab:7f",
        "00-10-ab-7f",
        "0x00, 0x10, 0xAB, 0x7f",
        "0x0010ab7f",
        "\\x00\\x10\\xab\\x7f",
        "00 10\r\n\tab\n7f\n",
    ],
)
def test_hex_is_read_in_any_usual_form(text):
    assert parse_text(text) == Source(DATA, "hex")
    assert parse_bytes(text.encode()) == Source(DATA, "hex")


@given(st.binary(min_size=1, max_size=60))
def test_base64_is_read_when_asked_for(data):
    text = base64.b64encode(data).decode()

    assert parse_text(text, as_base64=True) == Source(data, "base64")
    assert parse_text(base64.urlsafe_b64encode(data).decode().rstrip("="), as_base64=True).data == data
    assert parse_bytes(f"{text[:10]}\n{text[10:]}\n".encode(), as_base64=True).data == data


def test_base64_is_found_when_it_cannot_be_hex():
    assert parse_text("AAAAGgAQAAE=") == Source(bytes.fromhex("0000001a00100001"), "base64")


@pytest.mark.parametrize("raw", [bytes(16), b"\xff\xfe", b"GET /sub HTTP/1.1\r\n\r\n"])
def test_other_bytes_are_taken_as_they_are(raw):
    assert parse_bytes(raw) == Source(raw, "binary")


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("001", {}, "3 hex digits, the last one is half a byte"),
        ("capture", {}, r"'capture' is no file, not hex \('p' is no hex digit\) and not base64 of at least 8 bytes"),
        ("no such file?", {}, r"'no such file\?' is no file, not hex \('n' is no hex digit\) and not base64"),
        ("x" * 50 + "?", {}, r"'x{40}\.\.\.' is no file"),
        ("a b?", {"as_base64": True}, "not base64: it has other characters"),
        ("abcde", {"as_base64": True}, "not base64"),
    ],
)
def test_bad_text_is_explained(text, options, problem):
    with pytest.raises(SourceError, match=problem):
        parse_text(text, **options)


def test_bad_files_are_explained():
    with pytest.raises(SourceError, match="the last one is half a byte"):
        parse_bytes(b"001\n")
    with pytest.raises(SourceError, match="it has bytes that are no ASCII"):
        parse_bytes(b"\xff", as_base64=True)
    with pytest.raises(SourceError, match="the input has over 64 MiB"):
        parse_bytes(bytes(MAX_INPUT_BYTES + 1))


@given(st.binary(max_size=60))
def test_any_file_is_read_or_explained(raw):
    try:
        source = parse_bytes(raw)
    except SourceError as exc:
        source = Source(b"", str(exc))
    assert source.form
