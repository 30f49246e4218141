"""One direction of a connection through a network: late, slow, or standing still."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from sim.network.wheel import DelayWheel
from sim.scenario.scenario import Network

__all__ = ["Conditions", "Lane"]

_NS_PER_S = 1_000_000_000
_MIN_WINDOW_BYTES = 16 * 1024
_MAX_WINDOW_BYTES = 1024 * 1024
_SLACK_S = 0.1  # what a network at its limit may keep on top of what is on its way
_MIN_PIECE_BYTES = 1460  # a TCP segment
_PIECE_S = 0.01


class Conditions:
    """What a network is like: everything that goes on with it, together.

    Attributes:
        is_plain: Nothing: neither late nor slow.
        ns_per_byte: Time a byte takes; 0 without a limit.
        piece_bytes: Bytes that arrive together at most where there is a limit: a long chunk comes bit by bit.
        window_bytes: So much may be on its way in one direction, as with the window of TCP; then the sender waits.
    """

    __slots__ = ("_jitter_ns", "_latency_ns", "_random", "is_plain", "ns_per_byte", "piece_bytes", "window_bytes")

    def __init__(self, networks: Iterable[Network], chance: random.Random) -> None:
        networks = tuple(networks)
        self._random = chance
        self._latency_ns = round(sum(one.latency_s for one in networks) * _NS_PER_S)
        self._jitter_ns = round(sum(one.jitter_s for one in networks) * _NS_PER_S)
        limits = [one.bandwidth_bytes_per_s for one in networks if one.bandwidth_bytes_per_s]
        self.ns_per_byte = _NS_PER_S / min(limits) if limits else 0.0
        self.is_plain = not (self._latency_ns or self._jitter_ns or limits)
        self.piece_bytes = max(round(min(limits) * _PIECE_S), _MIN_PIECE_BYTES) if limits else 0
        self.window_bytes = _MAX_WINDOW_BYTES
        if limits:
            under_way = min(limits) * (self.delay_ns / _NS_PER_S + _SLACK_S)
            self.window_bytes = min(max(round(under_way), _MIN_WINDOW_BYTES), _MAX_WINDOW_BYTES)

    @property
    def delay_ns(self) -> int:
        """The longest that it takes from one end to the other, what waits for bandwidth left out."""
        return self._latency_ns + self._jitter_ns

    def draw_ns(self) -> int:
        """Return how long the next bytes take."""
        if not self._jitter_ns:
            return self._latency_ns
        return self._latency_ns + int(self._random.random() * self._jitter_ns)


class Lane:
    """Brings bytes from one end to the other, in order.

    Args:
        wheel: Keeps what is on its way.
        deliver: The other end; b"" is the end of the stream.

    Attributes:
        queued: Bytes on their way or held.
        is_closed: Nothing arrives any more.
    """

    __slots__ = ("_deliver", "_due_ns", "_free_ns", "_held", "_shut", "_wheel", "is_closed", "queued")

    def __init__(self, wheel: DelayWheel, deliver: Callable[[bytes], None]) -> None:
        self.queued = 0
        self.is_closed = False
        self._wheel = wheel
        self._deliver = deliver
        self._due_ns = 0  # when the last bytes arrive
        self._free_ns = 0  # when the bandwidth is free again
        self._held: deque[bytes] | None = None
        self._shut = 0  # how many want nothing to arrive

    @property
    def is_idle(self) -> bool:
        """Whether bytes that come now need not wait for others, or for the lane to open."""
        return not (self.queued or self._shut)

    def send(self, data: bytes, conditions: Conditions, now_ns: int) -> None:
        """Take bytes at one end; b"" for the end of the stream."""
        if self.is_closed:
            return
        self.queued += len(data)
        if not conditions.ns_per_byte or not data:
            self._add(now_ns + conditions.draw_ns(), data)
            return
        free = max(self._free_ns, now_ns)
        for piece in (data,) if len(data) <= conditions.piece_bytes else _pieces(data, conditions.piece_bytes):
            free += int(len(piece) * conditions.ns_per_byte)
            self._add(free + conditions.draw_ns(), piece)
        self._free_ns = free

    def lag_ns(self, now_ns: int) -> int:
        """Return how long what is on its way still takes."""
        return max(self._due_ns - now_ns, 0)

    def release(self, data: bytes) -> None:
        """Bring bytes to the other end; called by the wheel."""
        if self.is_closed:
            return
        if self._shut or self._held:
            if self._held is None:
                self._held = deque()
            self._held.append(data)
            return
        self.queued -= len(data)
        self._deliver(data)

    def shut(self) -> None:
        """Let nothing arrive until open() was called as often."""
        self._shut += 1

    def open(self) -> None:
        """Let everything arrive that was held, if this was the last that kept it."""
        self._shut -= 1
        while self._held and not self._shut and not self.is_closed:
            data = self._held.popleft()
            self.queued -= len(data)
            self._deliver(data)

    def close(self) -> None:
        """Lose what is on its way, and all that comes."""
        self.is_closed = True
        self._held = None
        self.queued = 0

    def _add(self, due_ns: int, data: bytes) -> None:
        if due_ns < self._due_ns:
            due_ns = self._due_ns  # however chance has it, nothing overtakes: it is one stream
        self._due_ns = due_ns
        self._wheel.add(due_ns, self, data)


def _pieces(data: bytes, length: int) -> Iterator[bytes]:
    return (data[begin : begin + length] for begin in range(0, len(data), length))
