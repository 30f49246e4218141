"""What a run and its Locust master tell each other over a socket pair, and how Locust's own messages are called."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass

from sim.run.clocks import ClockOffset
from sim.run.packing import LENGTH_BYTES, frame, pack, unpack

__all__ = [
    "CLOCK",
    "ENDED",
    "FD_VARIABLE",
    "RUN",
    "START",
    "STOP",
    "Clocks",
    "Link",
    "Listening",
    "MeasureClocks",
    "Member",
    "Members",
    "Quit",
    "Relayed",
    "Stopped",
    "WorkerGone",
]

FD_VARIABLE = "IMCTL_SIM_LOCUST_FD"
"""Environment variable of a Locust master: file descriptor of its end of the socket pair."""

# Locust's messages between master and worker; the data of each is a dict.
CLOCK = "imctl.clock"  # to a worker: {n}; from it: {n, there_ns, clock, host, pid, version}
START = "imctl.start"  # to a worker: start the engine. {ahead_ns}
RUN = "imctl.run"  # both ways: a packed message of the run. {n, data}, n counted from 0
ENDED = "imctl.ended"  # from a worker: its engine is gone. {why}
STOP = "imctl.stop"  # to a worker: end the engine. {}


@dataclass(frozen=True, slots=True)
class Listening:
    """From the master: workers may connect to this port."""

    port: int


@dataclass(frozen=True, slots=True)
class Member:
    """A worker of the run.

    Args:
        id: What Locust calls it.
        host, pid: Where it runs.
        clock: How its clock compares with the master's; None when it is the same one.
    """

    id: str
    host: str
    pid: int
    clock: ClockOffset | None


@dataclass(frozen=True, slots=True)
class Members:
    """From the master: Locust has started the run with these workers, and their engines are starting."""

    members: tuple[Member, ...]
    problem: str = ""
    """Why the run cannot be made with them; empty when it can."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """Both ways: a packed message of the run, for or from a worker."""

    worker: str
    data: bytes


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """From the master: nothing more will come from this worker."""

    worker: str
    why: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """From the master: Locust has ended the run, by its --run-time or its Stop button."""


@dataclass(frozen=True, slots=True)
class MeasureClocks:
    """To the master: compare the clocks once more; it answers with Clocks."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """From the master: those of workers that have another clock and still answer, by worker."""

    offsets: dict[str, ClockOffset]


@dataclass(frozen=True, slots=True)
class Quit:
    """To the master: the run is over; end the workers and yourself."""


class Link:
    """The master's end of the socket pair; for threads, or what Locust makes of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reading = sock.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        """Send one message; OSError when the run's process is gone."""
        data = frame(pack(message))
        with self._lock:
            self._sock.sendall(data)

    def close(self) -> None:
        """Close this end."""
        self._reading.close()
        self._sock.close()

    def receive(self) -> object | None:
        """Return the next message, None when the run's process has closed its end."""
        head = self._reading.read(LENGTH_BYTES)
        if len(head) < LENGTH_BYTES:
            return None
        length = int.from_bytes(head, "big")
        data = self._reading.read(length)
        return unpack(data) if len(data) == length else None
