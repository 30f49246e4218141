"""CityHash32, which goim uses to choose a bucket and a field of an `ol_` hash.

The function is Google's CityHash32 of version 1.1. All arithmetic is modulo
2**32. Source: google/cityhash src/city.cc; goim calls a Go port of it over
the UTF-8 bytes of the text.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["ONLINE_SLOTS", "cityhash32", "online_slot"]

ONLINE_SLOTS = 64
"""Fields of an `ol_<server>` hash in Redis, named "0" to "63"."""

_M = 0xFFFFFFFF
_C1 = 0xCC9E2D51
_C2 = 0x1B873593


@lru_cache(maxsize=65_536)  # a comet reports the same rooms every 10 s
def online_slot(room_key: str) -> int:
    """Return which field of an `ol_` hash holds this room, 0 to 63."""
    return cityhash32(room_key.encode()) % ONLINE_SLOTS


def cityhash32(data: bytes) -> int:
    """Return the hash as an unsigned 32-bit integer."""
    size = len(data)
    if size <= 4:
        return _short(data)
    if size <= 12:
        return _medium(data)
    if size <= 24:
        return _long(data)
    return _any(data)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _rotate(value: int, by: int) -> int:
    """Rotate right."""
    return ((value >> by) | (value << (32 - by))) & _M


def _swap(value: int) -> int:
    """Reverse the order of the four bytes."""
    return int.from_bytes(value.to_bytes(4, "little"), "big")


def _scramble(value: int) -> int:
    """Murmur3's treatment of one word."""
    return _rotate(value * _C1 & _M, 17) * _C2 & _M


def _mur(a: int, h: int) -> int:
    return (_rotate(h ^ _scramble(a), 19) * 5 + 0xE6546B64) & _M


def _mix(h: int) -> int:
    """Murmur3's last step."""
    h ^= h >> 16
    h = h * 0x85EBCA6B & _M
    h ^= h >> 13
    h = h * 0xC2B2AE35 & _M
    return h ^ (h >> 16)


def _short(data: bytes) -> int:
    b, c = 0, 9
    for byte in data:
        signed = byte - 256 if byte > 127 else byte
        b = (b * _C1 + signed) & _M
        c ^= b
    return _mix(_mur(b, _mur(len(data), c)))


def _medium(data: bytes) -> int:
    size = len(data)
    a, b, c, d = size, size * 5, 9, size * 5
    a += _word(data, 0)
    b += _word(data, size - 4)
    c += _word(data, (size >> 1) & 4)
    return _mix(_mur(c & _M, _mur(b & _M, _mur(a & _M, d))))


def _long(data: bytes) -> int:
    size = len(data)
    h = size
    for at in ((size >> 1) - 4, 4, size - 8, size >> 1, 0, size - 4):
        h = _mur(_word(data, at), h)
    return _mix(h)


def _any(data: bytes) -> int:
    size = len(data)
    h, g = size, _C1 * size & _M
    f = g
    for at in (4, 16):
        h = (_rotate(h ^ _scramble(_word(data, size - at)), 19) * 5 + 0xE6546B64) & _M
    for at in (8, 12):
        g = (_rotate(g ^ _scramble(_word(data, size - at)), 19) * 5 + 0xE6546B64) & _M
    f = (_rotate((f + _scramble(_word(data, size - 20))) & _M, 19) * 5 + 0xE6546B64) & _M
    for start in range(0, (size - 1) // 20 * 20, 20):
        a0 = _scramble(_word(data, start))
        a1 = _word(data, start + 4)
        a2 = _scramble(_word(data, start + 8))
        a3 = _scramble(_word(data, start + 12))
        a4 = _word(data, start + 16)
        h = (_rotate(h ^ a0, 18) * 5 + 0xE6546B64) & _M
        f = _rotate((f + a1) & _M, 19) * _C1 & _M
        g = (_rotate((g + a2) & _M, 18) * 5 + 0xE6546B64) & _M
        h = (_rotate(h ^ ((a3 + a1) & _M), 19) * 5 + 0xE6546B64) & _M
        g = _swap(g ^ a4) * 5 & _M
        h = _swap((h + a4 * 5) & _M)
        f = (f + a0) & _M
        # city.cc's PERMUTE3(f, h, g).
        f, h, g = g, f, h
    g = _rotate(_rotate(g, 11) * _C1 & _M, 17) * _C1 & _M
    f = _rotate(_rotate(f, 11) * _C1 & _M, 17) * _C1 & _M
    h = (_rotate((h + g) & _M, 19) * 5 + 0xE6546B64) & _M
    h = _rotate(h, 17) * _C1 & _M
    h = (_rotate((h + f) & _M, 19) * 5 + 0xE6546B64) & _M
    return _rotate(h, 17) * _C1 & _M
