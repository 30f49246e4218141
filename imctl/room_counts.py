"""Room counts as one message between comet and logic, which has a largest size."""

from __future__ import annotations

from collections.abc import Mapping

from imctl.link.limits import MAX_MESSAGE_BYTES

__all__ = ["fitting"]

# Tags, lengths and the number of one entry of a protobuf map<string, int32>, at most.
_ENTRY_BYTES = 24
_UTF8_BYTES = 4  # of one character, at most


def fitting(counts: Mapping[str, int], most_bytes: int = MAX_MESSAGE_BYTES) -> Mapping[str, int]:
    """Return the rooms that fit a message: nearly always all, else those with the shortest keys.

    A client names its room, in up to 4,096 bytes: a few thousand clients could
    make the report of all rooms too large, and it would then be refused whole.
    """
    if _UTF8_BYTES * sum(map(len, counts)) + _ENTRY_BYTES * len(counts) <= most_bytes:
        return counts
    left = most_bytes
    kept = {}
    for room in sorted(counts, key=len):
        left -= len(room.encode()) + _ENTRY_BYTES
        if left < 0:
            break
        kept[room] = counts[room]
    return kept
