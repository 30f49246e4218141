from __future__ import annotations

import pytest

from protocol.cityhash import ONLINE_SLOTS, cityhash32, online_slot
from tests.vectors.lines import line_params, redis_recording

RECORDED = redis_recording()["room_to_field"]

# The first is the constant of Google's own test, the others are of an independent port.
KNOWN = [
    ("", 0xDC56D17A),
    ("a", 0x3C973D4D),
    ("test", 0x61571065),
    ("test_key", 0x4C98B52A),
    ("test://1", 0xFEC6329C),
    ("live://1000", 0x431F9D2B),
    ("test://room_0001", 0x75B88407),
    ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", 0xAD987E65),
]


@pytest.mark.parametrize(("text", "expected"), KNOWN)
def test_known_hashes(text, expected):
    assert cityhash32(text.encode()) == expected


@pytest.mark.parametrize(
    "entry", line_params("redis.room_to_field", lambda entry: entry["room_hex"][:20], entries=RECORDED)
)
def test_every_recorded_room_has_its_field(entry):
    assert cityhash32(bytes.fromhex(entry["room_hex"])) % ONLINE_SLOTS == entry["field"]
    assert online_slot(entry["room"]) == entry["field"]


@pytest.mark.parametrize("size", range(101))
def test_any_length_and_any_byte_is_hashed_to_32_bits(size):
    assert 0 <= cityhash32(bytes((255 - i) % 256 for i in range(size))) < 1 << 32
