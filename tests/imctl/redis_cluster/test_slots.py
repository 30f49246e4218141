from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as slot_of_redis_py

from imctl.bus.resp import RedisAddress
from imctl.redis_cluster.slots import SLOTS, SlotMap, key_slot, redirected

SOURCE = RedisAddress("10.0.0.1", 7000, 0, "me", "s3cret")


@pytest.mark.parametrize(
    ("key", "same"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"a{b}{c}", b"b"),
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{}{bar}", None),
        (b"foo{bar", None),
        (b"}{", None),
    ],
)
def test_the_first_braces_with_something_in_them_decide(key, same):
    assert (key_slot(key) == key_slot(same)) if same else (key_slot(key) == slot_of_redis_py(key))


def test_a_slot_is_crc_16():
    # The check value of CRC-16/XMODEM is 0x31C3.
    assert key_slot(b"123456789") == 0x31C3


@given(st.binary(max_size=20) | st.text("{}ab", max_size=12).map(str.encode))
def test_slots_are_those_of_redis_py(key):
    assert key_slot(key) == slot_of_redis_py(key)


def test_a_map_tells_the_master_of_each_slot_and_knows_replicas():
    found = SlotMap.parse(
        [
            [8192, 16383, [b"10.0.0.3", 7002, b"id-c"]],
            [0, 99, [b"10.0.0.2", 7001, b"id-b", []], [b"10.0.0.4", 7003, b"id-d", []]],
        ],
        SOURCE,
    )

    ports = {slot: owner.port if (owner := found.owner(slot)) else None for slot in (0, 99, 100, 8191, 8192, SLOTS - 1)}
    assert ports == {0: 7001, 99: 7001, 100: None, 8191: None, 8192: 7002, 16383: 7002}
    assert found.owner(0) == RedisAddress("10.0.0.2", 7001, 0, "me", "s3cret")
    assert [node.port for node in found.nodes] == [7002, 7001, 7003]


@pytest.mark.parametrize("host", [b"", None])
def test_a_node_without_a_host_has_that_of_the_one_asked(host):
    found = SlotMap.parse([[0, SLOTS - 1, [host, 7000, b"id"]]], SOURCE)

    assert found.owner(5) == SOURCE


def test_a_master_whose_host_nobody_knows_is_left_out():
    found = SlotMap.parse([[0, SLOTS - 1, [b"?", 7000, b"id"], [b"10.0.0.9", 7009, b"id"]]], SOURCE)

    assert found.owner(5) is None
    assert [node.host for node in found.nodes] == ["10.0.0.9"]


@pytest.mark.parametrize("reply", [None, b"OK", 5, [5], [[1, 2, 3]], [[b"x", 1, [b"h", 1]]], [[1, 2, [b"h"]]]])
def test_what_is_no_map_is_told(reply):
    with pytest.raises(ValueError, match="is no reply of CLUSTER SLOTS"):
        SlotMap.parse(reply, SOURCE)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("MOVED 3999 127.0.0.1:6381", ("127.0.0.1", 6381)),
        ("ASK 3999 ::1:6381", ("::1", 6381)),
        ("MOVED 3999 :6381", ("10.0.0.1", 6381)),
        ("MOVED 3999 ?:6381", None),
        ("MOVED 3999", None),
    ],
)
def test_a_redirection_names_a_node(text, where):
    found = redirected(text, SOURCE)

    assert (found and (found.host, found.port)) == where
    assert found is None or found.password == "s3cret"
