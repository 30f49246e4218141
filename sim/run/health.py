"""Whether the load generator itself keeps up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time

from sim.measure.histogram import Histogram
from sim.run.messages import Health

__all__ = ["HealthMeter"]

_EVERY_NS = 20_000_000
_STAMP = struct.Struct("q")
_READ_BYTES = 4096


class HealthMeter:
    """Measures this process from start() on: its CPU share, and how late its event loop reads.

    A thread writes the time into a socket pair fifty times a second, and the
    loop reads it like any client's bytes. A timer would not do: a loop that
    is busy reading lets timers wait far longer than any byte. A stall counts
    for every stamp that it delayed, so one of a second is seen in a
    percentile of a minute.
    """

    def __init__(self) -> None:
        self._lag = Histogram()
        self._wall_ns = time.monotonic_ns()
        self._cpu_s = time.process_time()
        self._reading: socket.socket | None = None
        self._writing: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin now; what was before does not count."""
        self._wall_ns = time.monotonic_ns()
        self._cpu_s = time.process_time()
        self._lag = Histogram()
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        asyncio.get_running_loop().add_reader(self._reading, self._read)
        self._thread = threading.Thread(target=self._stamp, name="loop lag", daemon=True)
        self._thread.start()

    def read(self) -> Health:
        """Return the figures up to now."""
        wall_s = max((time.monotonic_ns() - self._wall_ns) / 1e9, 1e-3)
        return Health((time.process_time() - self._cpu_s) / wall_s * 100, self._lag)

    async def stop(self) -> None:
        """End the measuring."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._reading is not None and self._writing is not None:
            asyncio.get_running_loop().remove_reader(self._reading)
            self._reading.close()
            self._writing.close()
            self._reading = self._writing = None

    def _stamp(self) -> None:
        assert self._writing is not None
        due_ns = time.monotonic_ns()
        while True:
            due_ns += _EVERY_NS
            # A thread that was held up itself writes all the stamps it owes, each with its own time.
            if self._ended.wait(max(due_ns - time.monotonic_ns(), 0) / 1e9):
                return
            with contextlib.suppress(BlockingIOError):
                self._writing.send(_STAMP.pack(due_ns))

    def _read(self) -> None:
        assert self._reading is not None
        with contextlib.suppress(BlockingIOError):
            data = self._reading.recv(_READ_BYTES)
            now_ns = time.monotonic_ns()
            for (due_ns,) in _STAMP.iter_unpack(data):
                self._lag.record(now_ns - due_ns)
