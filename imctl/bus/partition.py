"""Which partition a key belongs to: goim's rule, the one of its Kafka producer.

Source: sarama's hash partitioner as goim uses it, and the recorded Kafka messages.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["fnv1a32", "partition_of"]

_OFFSET_BASIS = 0x811C9DC5
_PRIME = 0x01000193


def fnv1a32(data: bytes) -> int:
    """Return the 32-bit FNV-1a hash."""
    value = _OFFSET_BASIS
    for byte in data:
        value = ((value ^ byte) * _PRIME) & 0xFFFFFFFF
    return value


# Rooms are pushed to again and again; the loop over bytes costs 1 us for ten of them.
@lru_cache(maxsize=16_384)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition, 0 to partitions - 1: |int32(hash) rem partitions|, with the sign dropped last."""
    value = fnv1a32(key)
    # Go's remainder has the sign of its left side, so |x rem n| is |x| mod n.
    return (value if value < 0x80000000 else 0x100000000 - value) % partitions
