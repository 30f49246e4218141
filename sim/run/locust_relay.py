"""What runs in Locust's processes: nothing but passing on.

The clients are held by the same `sim.clients.worker` processes as without Locust, one
under each Locust worker, and the run itself is made by the process that
started the master. So what is measured is measured on uvloop, and the
histograms and books of the workers reach the run whole. Master and worker
carry them as Locust messages; nothing here imports Locust, whose process this
is: sockets and threads are those that it has put in place of Python's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from importlib import metadata
from time import monotonic_ns
from typing import IO, Any, Protocol

from protocol.aio.clock_id import clock_id
from sim.run.clocks import CLOCK_AHEAD_VARIABLE, ClockOffset, RoundTrip, estimate_offset
from sim.run.locust_figures import Figures, RunFigures
from sim.run.locust_messages import (
    CLOCK,
    ENDED,
    RUN,
    START,
    STOP,
    Clocks,
    Link,
    MeasureClocks,
    Member,
    Members,
    Quit,
    Relayed,
    Stopped,
    WorkerGone,
)
from sim.run.packing import LENGTH_BYTES, frame, unpack

__all__ = ["LocustMaster", "LocustNode", "MasterRelay", "WorkerRelay"]

log = logging.getLogger(__name__)

_ROUND_TRIPS = 25
_ANSWER_S = 2.0
_WATCH_S = 0.5
_STOP_S = 120.0  # longest wait for a run that Locust has ended; it settles, and judges
_STDERR_LINES = 20
_ENGINE_END_S = 5.0


class LocustNode(Protocol):
    """What is used of Locust's runners."""

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        """Send to the master, or to one worker."""

    def register_message(self, msg_type: str, listener: Callable[..., None], concurrent: bool = False) -> None:
        """Have listener(environment=..., msg=...) called, in the order in which messages come."""

    def quit(self) -> None:
        """End this process, and as a master all workers."""


class LocustMaster(LocustNode, Protocol):
    """What is used of Locust's master."""

    clients: Any
    """Mapping by id, of a class of Locust's; each has a `state`."""

    def get_worker_index(self, client_id: str) -> int:
        """Return a worker's number, in the order in which they came."""


def versions() -> str:
    """Return what has to be the same at both ends."""
    return f"imctl {metadata.version('imctl')}, Python {sys.version_info.major}.{sys.version_info.minor}"


def _spawn(work: Callable[[], None], name: str) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()


class _Counted:
    """Numbers messages in each direction: Locust's transport drops when a peer does not keep up, and says nothing."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0

    def wrap(self, data: bytes) -> dict[str, Any]:
        message = {"n": self.sent, "data": data}
        self.sent += 1
        return message

    def is_next(self, message: Mapping[str, Any]) -> bool:
        expected, self.received = self.received, self.received + 1
        return bool(message["n"] == expected)


class MasterRelay:
    """Between the run's process and the workers.

    Args:
        runner: Locust's.
        link: To the run's process.
        quit_all: Ends this process, its web page too.
    """

    def __init__(self, runner: LocustMaster, link: Link, quit_all: Callable[[], None]) -> None:
        self._runner = runner
        self._link = link
        self._quit_all = quit_all
        self._members: dict[str, Member] = {}
        self._counted: dict[str, _Counted] = {}
        self._gone: set[str] = set()
        self._over = threading.Event()
        self._asked = 0
        self._answers: dict[int, tuple[threading.Event, list[tuple[int, Mapping[str, Any]]]]] = {}
        runner.register_message(CLOCK, self._take_time)
        runner.register_message(RUN, self._take_message)
        runner.register_message(ENDED, self._take_end)

    def start(self) -> None:
        """Begin to take orders."""
        _spawn(self._obey, "orders")

    def test_started(self) -> None:
        """Locust has started a test: with the workers that are there now the run is made."""
        if self._members or self._over.is_set():
            log.warning("one run for each start of imctl sim --locust; this one has had its run")
            return
        _spawn(self._gather, "gather")

    def test_stopping(self) -> None:
        """Locust ends the test, by itself or because somebody wants it to; return when the run has what it needs.

        Without its web page Locust would end workers and itself at once, and with them the books of the run.
        """
        self._look()
        if self._members and not self._over.is_set() and len(self._gone) < len(self._members):
            self._tell(Stopped())
            self._over.wait(_STOP_S)

    # --- the run's process ---------------------------------------------------

    def _obey(self) -> None:
        while True:
            match self._link.receive():
                case Relayed(worker, data):
                    self._runner.send_message(RUN, self._counted[worker].wrap(data), worker)
                case MeasureClocks():
                    _spawn(self._measure_again, "clocks")
                case Quit() | None:
                    break
        self._over.set()
        for worker in self._members:
            self._runner.send_message(STOP, {}, worker)
        self._quit_all()

    def _tell(self, message: object) -> None:
        # When the run's process is gone, _obey() finds that out and ends everything.
        with contextlib.suppress(OSError):
            self._link.send(message)

    # --- the workers ---------------------------------------------------------

    def _gather(self) -> None:
        """Meet the workers, and have them start."""
        ids = [worker for worker, node in self._runner.clients.items() if node.state != "missing"]
        ids.sort(key=self._runner.get_worker_index)
        members, problems = [], []
        for worker in ids:
            try:
                members.append(self._meet(worker))
            except ValueError as exc:
                problems.append(str(exc))
        if problems or not members:
            self._tell(Members((), "; ".join(problems) or "no worker is connected"))
            return
        self._members = {member.id: member for member in members}
        self._counted = {member.id: _Counted() for member in members}
        for member in members:
            ahead_ns = member.clock.ahead_ns if member.clock is not None else 0
            self._runner.send_message(START, {"ahead_ns": ahead_ns}, member.id)
        self._tell(Members(tuple(members)))
        self._watch()

    def _meet(self, worker: str) -> Member:
        """Return who a worker is; ValueError when it cannot be part of the run."""
        answer = self._ask(worker)
        if answer is None:
            raise ValueError(f"Locust worker {worker} does not answer; it needs this project's locustfile")
        _, facts = answer
        where = f"the worker on {facts['host']} with pid {facts['pid']}"
        if facts["version"] != versions():
            raise ValueError(f"{where} has {facts['version']}, the master {versions()}: they have to be the same")
        clock = None if facts["clock"] == clock_id() else self._compare(worker)
        return Member(worker, str(facts["host"]), int(facts["pid"]), clock)

    def _compare(self, worker: str) -> ClockOffset:
        answers = [self._ask(worker) for _ in range(_ROUND_TRIPS)]
        trips = [answer[0] for answer in answers if answer is not None]
        if not trips:
            raise ValueError(f"Locust worker {worker} does not tell its time")
        return estimate_offset(trips)

    def _measure_again(self) -> None:
        offsets = {}
        for member in self._members.values():
            if member.clock is not None and member.id not in self._gone:
                try:
                    offsets[member.id] = self._compare(member.id)
                except ValueError as exc:
                    log.warning("clock at the end of the run: %s", exc)
        self._tell(Clocks(offsets))

    def _ask(self, worker: str) -> tuple[RoundTrip, Mapping[str, Any]] | None:
        """Ask a worker for its time; None when it does not answer."""
        self._asked += 1
        number = self._asked
        event, found = self._answers[number] = threading.Event(), []
        asked_ns = monotonic_ns()
        self._runner.send_message(CLOCK, {"n": number}, worker)
        event.wait(_ANSWER_S)
        del self._answers[number]
        if not found:
            return None
        answered_ns, facts = found[0]
        return RoundTrip(asked_ns, facts["there_ns"], answered_ns), facts

    def _take_time(self, msg: Any, **_: Any) -> None:
        now_ns = monotonic_ns()
        waiting = self._answers.get(msg.data["n"])
        if waiting is not None:
            waiting[1].append((now_ns, msg.data))
            waiting[0].set()

    def _take_message(self, msg: Any, **_: Any) -> None:
        worker = msg.node_id
        if worker not in self._members or worker in self._gone:
            return
        if not self._counted[worker].is_next(msg.data):
            self._note_gone(worker, "a message from it was lost on the way")
            return
        self._tell(Relayed(worker, msg.data["data"]))

    def _take_end(self, msg: Any, **_: Any) -> None:
        self._note_gone(msg.node_id, str(msg.data["why"]))

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_S):
            self._look()

    def _look(self) -> None:
        """Note whom Locust has given up."""
        for worker in self._members:
            node = self._runner.clients.get(worker)
            if node is None:
                self._note_gone(worker, "its Locust worker has quit")
            elif node.state == "missing":
                self._note_gone(worker, "its heartbeats stopped")

    def _note_gone(self, worker: str, why: str) -> None:
        if worker in self._members and worker not in self._gone and not self._over.is_set():
            self._gone.add(worker)
            self._tell(WorkerGone(worker, why))


class WorkerRelay:
    """Between the master and this worker's engine, a `sim.clients.worker` process.

    Args:
        runner: Locust's.
        show: Gets rows for Locust's statistics.
    """

    def __init__(self, runner: LocustNode, show: Callable[[Figures], None]) -> None:
        self._runner = runner
        self._figures = RunFigures(show)
        self._counted = _Counted()
        self._engine: subprocess.Popen[bytes] | None = None
        self._last_words: deque[str] = deque(maxlen=_STDERR_LINES)
        runner.register_message(CLOCK, self._tell_time)
        runner.register_message(START, self._start)
        runner.register_message(RUN, self._take_message)
        runner.register_message(STOP, lambda msg, **_: self.stop())

    @property
    def alive(self) -> int:
        """Clients with a connection."""
        return self._figures.alive

    def stop(self) -> None:
        """End the engine: at once where it does not end by itself."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        assert engine.stdin is not None
        with contextlib.suppress(OSError):  # it has ended
            engine.stdin.close()
        try:
            engine.wait(_ENGINE_END_S)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()

    def _tell_time(self, msg: Any, **_: Any) -> None:
        there_ns = monotonic_ns()
        facts = {"clock": clock_id(), "host": socket.gethostname(), "pid": os.getpid(), "version": versions()}
        self._runner.send_message(CLOCK, {"n": msg.data["n"], "there_ns": there_ns, **facts})

    def _start(self, msg: Any, **_: Any) -> None:
        # A folder here that is called sim or protocol must not hide ours: -P.
        self._engine = engine = subprocess.Popen(
            [sys.executable, "-P", "-m", "sim.clients.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {CLOCK_AHEAD_VARIABLE: str(int(msg.data["ahead_ns"]))},
            start_new_session=True,
        )
        assert engine.stdout is not None
        assert engine.stderr is not None
        out, err = engine.stdout, engine.stderr
        _spawn(lambda: self._listen(err), "stderr")
        _spawn(lambda: self._read(engine, out), "engine")

    def _take_message(self, msg: Any, **_: Any) -> None:
        if not self._counted.is_next(msg.data):
            self._end("a message to it was lost on the way")
            return
        if self._engine is None:
            return
        assert self._engine.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, and _read() tells how
            self._engine.stdin.write(frame(msg.data["data"]))
            self._engine.stdin.flush()

    def _listen(self, err: IO[bytes]) -> None:
        with err:
            self._last_words.extend(line.decode("utf-8", "replace").rstrip() for line in err)

    def _read(self, engine: subprocess.Popen[bytes], out: IO[bytes]) -> None:
        """Pass on what the engine says, until it ends."""
        with out:
            while len(head := out.read(LENGTH_BYTES)) == LENGTH_BYTES:
                length = int.from_bytes(head, "big")
                data = out.read(length)
                if len(data) < length:
                    break
                self._runner.send_message(RUN, self._counted.wrap(data))
                self._figures.add(unpack(data))
        code = engine.wait()
        if self._engine is engine:
            words = " | ".join(self._last_words)
            self._end(f"ended with exit code {code}" + (f": {words}" if words else ""))

    def _end(self, why: str) -> None:
        self._runner.send_message(ENDED, {"why": why})
        self.stop()
