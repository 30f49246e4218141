"""Hash slots: which one a key has, and which node has which.

Source: the Redis Cluster specification, and the replies of CLUSTER SLOTS.
"""

from __future__ import annotations

import binascii
import dataclasses
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from imctl.bus.resp import RedisAddress

__all__ = ["SLOTS", "SlotMap", "key_slot", "redirected"]

SLOTS = 16384


def key_slot(key: bytes) -> int:
    """Return the slot of a key: CRC-16 (XMODEM) of what stands in its first braces, if that is not empty, or of all."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


def redirected(text: str, source: RedisAddress) -> RedisAddress | None:
    """Return where `MOVED 3999 127.0.0.1:6381`, or ASK, sends us; None when that cannot be read.

    Args:
        text: The reply.
        source: Whose it is; a redirection without a host means the same one.
    """
    host, colon, port = text.split(" ")[-1].rpartition(":")
    if not colon or not port.isdecimal() or host == "?":
        return None
    return dataclasses.replace(source, host=host or source.host, port=int(port))


class SlotMap:
    """Which master has which slots, as a node said it.

    Args:
        ranges: (first slot, last slot, master), in any order.
        nodes: All nodes, replicas too.
    """

    def __init__(self, ranges: Sequence[tuple[int, int, RedisAddress]], nodes: Sequence[RedisAddress]) -> None:
        self.nodes = tuple(dict.fromkeys(nodes))
        self._ranges = sorted(ranges, key=lambda each: each[0])
        self._firsts = [first for first, _, _ in self._ranges]

    @classmethod
    def parse(cls, reply: Any, source: RedisAddress) -> SlotMap:
        """Read what CLUSTER SLOTS gave. Any: a RESP value.

        Args:
            reply: As it came.
            source: Whose it is; nodes without a host have its.

        Raises:
            ValueError: that cannot be read.
        """
        ranges: list[tuple[int, int, RedisAddress]] = []
        nodes: list[RedisAddress] = []
        try:
            for first, last, *members in reply:
                # "?" is a host that the node does not know.
                known = [
                    dataclasses.replace(source, host=host.decode() if host else source.host, port=int(port))
                    for host, port, *_ in members
                    if host != b"?"
                ]
                nodes += known
                if members and members[0][0] != b"?":
                    ranges.append((int(first), int(last), known[0]))
        except (TypeError, ValueError, AttributeError, IndexError) as exc:
            raise ValueError(f"{reply!r:.200} is no reply of CLUSTER SLOTS") from exc
        return cls(ranges, nodes)

    def owner(self, slot: int) -> RedisAddress | None:
        """Return the master of a slot, None where nobody has it."""
        at = bisect_right(self._firsts, slot) - 1
        if at < 0 or slot > self._ranges[at][1]:
            return None
        return self._ranges[at][2]
