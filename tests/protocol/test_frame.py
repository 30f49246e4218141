from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FrameLengthError, HeaderLengthError, LocalError, RemoteError
from protocol.frame import HEADER_LEN, MAX_BODY, Frame, pack_frame, parse_frames
from protocol.operation import Operation, Request, operation_name, request_of
from tests.protocol.strategies import frames


def header(pack_len: int, header_len: int = 16, ver: int = 1, op: int = 2, seq: int = 3) -> bytes:
    return struct.pack(">ihhii", pack_len, header_len, ver, op, seq)


def test_a_push_looks_as_goims_page_shows_it():
    frame = Frame(1, 1000, 0, b'{"test":1}')

    assert frame.pack() == bytes.fromhex("0000001a00100001000003e8000000007b2274657374223a317d")


@given(st.lists(frames))
def test_frames_survive_the_wire(sent):
    data = b"".join(frame.pack() for frame in sent)

    assert parse_frames(data) == (sent, len(data))


@given(st.binary(max_size=100), st.sampled_from([None, 0, 20, MAX_BODY]))
def test_any_bytes_give_frames_or_a_remote_error(data, max_body):
    with contextlib.suppress(RemoteError):
        found, position = parse_frames(data, 0, max_body)

        assert 0 <= position <= len(data)
        assert all(max_body is None or len(frame.body) <= max_body for frame in found)


@pytest.mark.parametrize("pack_len", [0, 15, 16, -1, -(2**31) + 16])
def test_a_pack_length_up_to_16_is_an_empty_body(pack_len):
    data = header(pack_len) + Frame(1, 7, 0, b"x").pack()

    assert parse_frames(data)[0] == [Frame(1, 2, 3), Frame(1, 7, 0, b"x")]


@pytest.mark.parametrize("pack_len", [-(2**31), -(2**31) + 15])
def test_the_lowest_pack_lengths_are_refused(pack_len):
    with pytest.raises(FrameLengthError, match=f"frame length {pack_len} is not possible"):
        parse_frames(header(pack_len))


def test_a_body_of_the_limit_is_taken_and_one_more_is_not():
    assert parse_frames(Frame(1, 4, 0, bytes(MAX_BODY)).pack(), 0, MAX_BODY)[0][0].body == bytes(MAX_BODY)

    with pytest.raises(FrameLengthError, match="frame length 4113 is over the limit of 4112 bytes") as caught:
        parse_frames(header(4113), 0, MAX_BODY)
    assert (caught.value.pack_len, caught.value.limit) == (4113, 4112)


def test_without_a_limit_a_long_frame_is_waited_for():
    assert parse_frames(header(2**31 - 1)) == ([], 0)


@pytest.mark.parametrize("header_len", [0, 15, 17, -1])
def test_another_header_length_is_refused(header_len):
    with pytest.raises(HeaderLengthError, match=f"header length is {header_len}, expected 16"):
        parse_frames(header(16, header_len))


def test_frames_before_a_bad_one_come_first():
    good, bad = Frame(1, 2, 3), header(16, 17)

    assert parse_frames(good.pack() * 2 + bad) == ([good, good], 2 * HEADER_LEN)


@pytest.mark.parametrize(("ver", "written"), [(0x7FFF, 0x7FFF), (0x8000, -0x8000), (0x10001, 1), (-0x10002, -2)])
def test_a_version_is_cut_to_16_bits(ver, written):
    assert parse_frames(pack_frame(5, ver=ver))[0][0].ver == written


@pytest.mark.parametrize(("op", "seq"), [(2**31, 0), (-(2**31) - 1, 0), (0, 2**31)])
def test_numbers_that_do_not_fit_are_our_error(op, seq):
    with pytest.raises(LocalError, match="do not fit a frame header"):
        pack_frame(op, seq=seq)


def test_a_frame_is_safe_to_log():
    shown = str(Frame(1, Operation.AUTH, 9, b"\x1b[31m\n" + bytes(60)))

    assert shown.startswith("auth ver 1 seq 9 body 66 bytes '\\x1b[31m")
    assert shown.isprintable()
    assert shown.endswith("...")


def test_operations_have_goims_names_and_meanings():
    assert operation_name(12) == "change_room"
    assert operation_name(1000) == "op 1000"
    assert [request_of(op) for op in (2, 12, 14, 16)] == [
        Request.HEARTBEAT,
        Request.CHANGE_ROOM,
        Request.SUBSCRIBE,
        Request.UNSUBSCRIBE,
    ]
    assert {request_of(op) for op in (0, 3, 4, 7, 9, 13, 1000, -1)} == {Request.RECEIVE}
