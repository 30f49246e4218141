from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bodies import (
    AuthToken,
    parse_online,
    parse_operations,
    parse_room,
    parse_token,
    room_key,
    serialize_online,
    serialize_operations,
)
from protocol.errors import BodyError

INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.builds(AuthToken, st.integers(-(2**63), 2**63 - 1), TEXT, TEXT, TEXT, st.lists(INT32, max_size=5).map(tuple)))
def test_tokens_survive_the_wire(token):
    assert parse_token(token.serialize()) == token


@given(st.binary(max_size=80))
def test_any_body_is_a_token_or_a_body_error(body):
    with contextlib.suppress(BodyError):
        assert type(parse_token(body)) is AuthToken


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | TEXT, st.lists, max_leaves=5))
def test_any_json_in_any_member_is_taken_or_refused(value):
    for member in ("mid", "key", "room_id", "accepts"):
        with contextlib.suppress(BodyError):
            parse_token(json.dumps({member: value}).encode())


@pytest.mark.parametrize(
    ("body", "token"),
    [
        ("null", AuthToken()),
        ("{}", AuthToken()),
        (' \t\r\n{"mid" : 7} \n', AuthToken(7)),
        ('{"MID":1,"Key":"k","ROOM_id":"r"}', AuthToken(1, "k", "r")),
        ('{"mid":1,"mid":2}', AuthToken(2)),
        ('{"mid":1,"MID":2,"mid":null}', AuthToken(2)),
        ('{"accepts":[1,null,3],"nobody":{"knows":[this]}}'.replace("this", "1"), AuthToken(accepts=(1, 0, 3))),
        ('{"accepts":[1],"accepts":null}', AuthToken()),
        ('{"key":"\\ud83d\\ude00"}', AuthToken(key="\N{GRINNING FACE}")),
        ('{"key":"a\\ud83db"}', AuthToken(key="a\N{REPLACEMENT CHARACTER}b")),
        ('{"mid":9223372036854775807}', AuthToken(2**63 - 1)),
    ],
)
def test_tokens_are_read_as_gos_json_reads_them(body, token):
    assert parse_token(body.encode()) == token


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"mid":1} x', "not JSON"),
        (b'{"mid":NaN}', "not JSON: NaN is not JSON"),
        (b"[" * 5000, "not JSON"),
        (b'{"mid":' + b"9" * 5000 + b"}", "not JSON"),
        (b"[1]", "is a JSON array, expected an object"),
        (b"1", "is a JSON number, expected an object"),
        (b'{"mid":"1"}', r"mid is '1' \(string\), expected an integer of 64 bits"),
        (b'{"mid":1.0}', r"mid is '1.0' \(number\)"),
        (b'{"mid":1e3}', "mid is"),
        (b'{"mid":true}', r"mid is 'True' \(boolean\)"),
        (b'{"mid":9223372036854775808}', "mid is"),
        (b'{"key":5}', "key is a number, expected a string"),
        (b'{"accepts":"1"}', "accepts is a string, expected an array of integers"),
        (b'{"accepts":[1,2147483648]}', r"accepts\[1\] is '2147483648' \(number\), expected an integer of 32 bits"),
    ],
)
def test_bad_tokens_are_refused_with_the_reason(body, problem):
    with pytest.raises(BodyError, match=f"auth token: {problem}"):
        parse_token(body)


@given(st.lists(INT32, max_size=10).map(tuple))
def test_operation_lists_survive_the_wire(operations):
    assert parse_operations(serialize_operations(operations)) == operations


@pytest.mark.parametrize(
    ("body", "operations"),
    [(b"", ()), (b"+5,-5,007", (5, -5, 7)), (b"0" * 5000 + b"12", (12,)), (b"2147483647", (2147483647,))],
)
def test_operation_lists_are_read_as_go_reads_numbers(body, operations):
    assert parse_operations(body) == operations


@pytest.mark.parametrize("body", [b"7000, 7001", b"a", b",", b"1,", b"2147483648", b"9" * 5000, "٣".encode(), b"1_0"])
def test_one_bad_element_spoils_the_whole_list(body):
    with pytest.raises(BodyError, match="operation list: element .* is not a decimal int32"):
        parse_operations(body)


@given(INT32)
def test_room_counts_survive_the_wire(count):
    assert parse_online(serialize_online(count)) == count


def test_a_room_count_is_four_bytes():
    with pytest.raises(BodyError, match="heartbeat reply: is 3 bytes, expected 4"):
        parse_online(b"abc")


def test_room_keys():
    assert parse_room("live://房间".encode()) == "live://房间" == room_key("live", "房间")
    assert parse_room(b"") == ""
    with pytest.raises(BodyError, match="room: not UTF-8 at byte 1"):
        parse_room(b"a\xff")
