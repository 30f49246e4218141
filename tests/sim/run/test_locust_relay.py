"""The relays between fake runners; what Locust itself does is in test_locust.py."""

import os
import queue
import signal
import socket
import threading
from types import SimpleNamespace

import pytest

from protocol.aio.clock_id import clock_id
from sim.run import locust_relay
from sim.run.locust_messages import (
    CLOCK,
    ENDED,
    RUN,
    START,
    Clocks,
    Link,
    MeasureClocks,
    Members,
    Quit,
    Relayed,
    Stopped,
    WorkerGone,
)
from sim.run.locust_relay import MasterRelay, WorkerRelay, versions
from sim.run.messages import Connected, Job, Progress
from sim.run.packing import pack, unpack
from tests.sim.kit import NOWHERE, scenario_of

pytestmark = pytest.mark.timeout(60)

AHEAD_NS = 3_600_000_000_000


class FakeMaster:
    """Locust's master with workers that tell their time as the test says."""

    def __init__(self, **clocks):
        self.clients = {worker: SimpleNamespace(state="ready") for worker in clocks}
        self.clocks = clocks
        self.listeners = {}
        self.sent = queue.Queue()
        self.version = versions()

    def register_message(self, msg_type, listener, concurrent=False):
        self.listeners[msg_type] = listener

    def get_worker_index(self, client_id):
        return sorted(self.clocks).index(client_id)

    def send_message(self, msg_type, data=None, client_id=None):
        if msg_type != CLOCK:
            self.sent.put((msg_type, data, client_id))
            return
        ahead_ns = self.clocks[client_id]
        facts = {"clock": clock_id() if ahead_ns is None else "another", "host": "h", "pid": 7, "version": self.version}
        there_ns = locust_relay.monotonic_ns() + (ahead_ns or 0)
        self.say(CLOCK, {"n": data["n"], "there_ns": there_ns, **facts}, client_id)

    def say(self, msg_type, data, worker):
        self.listeners[msg_type](environment=None, msg=SimpleNamespace(data=data, node_id=worker))


class Parent:
    """The run's end of the socket pair."""

    def __init__(self, runner):
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        self.sock = ours
        self.link = Link(ours)
        self.quit = threading.Event()
        self.masters_link = Link(theirs)
        self.relay = MasterRelay(runner, self.masters_link, self.quit.set)
        self.relay.start()


@pytest.fixture
def parents():
    made = []

    def make(runner):
        made.append(Parent(runner))
        return made[-1]

    yield make
    for parent in made:
        parent.sock.shutdown(socket.SHUT_RDWR)
        assert parent.quit.wait(20)
        parent.link.close()
        parent.masters_link.close()


def begun(parents, runner):
    parent = parents(runner)
    parent.relay.test_started()
    members = parent.link.receive()
    assert isinstance(members, Members)
    return parent, members


def test_workers_are_met_in_their_order_and_another_clock_is_measured(parents):
    runner = FakeMaster(b=AHEAD_NS, a=None)

    _, members = begun(parents, runner)

    assert [(one.id, one.host, one.pid) for one in members.members] == [("a", "h", 7), ("b", "h", 7)]
    same, other = (one.clock for one in members.members)
    assert same is None
    assert abs(other.ahead_ns - AHEAD_NS) <= other.bound_ns
    starts = [runner.sent.get(timeout=20) for _ in range(2)]
    assert starts == [(START, {"ahead_ns": 0}, "a"), (START, {"ahead_ns": other.ahead_ns}, "b")]


def test_a_worker_of_another_version_is_named_before_anything_starts(parents):
    runner = FakeMaster(a=None)
    runner.version = "imctl 0.0.0, Python 3.11"

    _, members = begun(parents, runner)

    assert members.members == ()
    assert "the worker on h with pid 7 has imctl 0.0.0, Python 3.11" in members.problem


def test_messages_go_both_ways_and_are_numbered(parents):
    runner = FakeMaster(a=None)
    parent, _ = begun(parents, runner)
    runner.sent.get(timeout=20)

    parent.link.send(Relayed("a", b"one"))
    parent.link.send(Relayed("a", b"two"))
    runner.say(RUN, {"n": 0, "data": b"up"}, "a")

    assert [runner.sent.get(timeout=20) for _ in range(2)] == [
        (RUN, {"n": 0, "data": b"one"}, "a"),
        (RUN, {"n": 1, "data": b"two"}, "a"),
    ]
    assert parent.link.receive() == Relayed("a", b"up")


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda runner: runner.say(RUN, {"n": 1, "data": b""}, "a"), "a message from it was lost on the way"),
        (lambda runner: runner.say(ENDED, {"why": "ended with exit code -9"}, "a"), "ended with exit code -9"),
        (lambda runner: setattr(runner.clients["a"], "state", "missing"), "its heartbeats stopped"),
        (lambda runner: runner.clients.pop("a"), "its Locust worker has quit"),
    ],
    ids=["lost message", "engine", "heartbeats", "quit"],
)
def test_a_worker_that_is_gone_is_told_with_the_reason_once(parents, end, why):
    runner = FakeMaster(a=None, b=None)
    parent, _ = begun(parents, runner)

    end(runner)

    assert parent.link.receive() == WorkerGone("a", why)
    runner.say(RUN, {"n": 0, "data": b"b"}, "b")
    assert parent.link.receive() == Relayed("b", b"b")


def test_clocks_are_measured_again_when_asked(parents):
    runner = FakeMaster(a=AHEAD_NS, b=None)
    parent, _ = begun(parents, runner)
    runner.clocks["a"] = AHEAD_NS + 5_000_000_000

    parent.link.send(MeasureClocks())

    answer = parent.link.receive()
    assert isinstance(answer, Clocks)
    assert list(answer.offsets) == ["a"]
    assert abs(answer.offsets["a"].ahead_ns - AHEAD_NS - 5_000_000_000) <= answer.offsets["a"].bound_ns


def test_the_end_that_locust_wants_is_told_and_the_one_that_the_run_wants_is_not(parents):
    runner = FakeMaster(a=None)
    parent, _ = begun(parents, runner)

    stopping = threading.Thread(target=parent.relay.test_stopping)
    stopping.start()
    assert parent.link.receive() == Stopped()
    assert stopping.is_alive()  # Locust would end the workers, which the run still needs

    parent.link.send(Quit())
    stopping.join(20)
    assert parent.quit.wait(20)
    parent.relay.test_stopping()
    parent.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        parent.sock.recv(1)


def test_a_run_that_is_gone_ends_the_master(parents):
    parent = parents(FakeMaster())

    parent.sock.shutdown(socket.SHUT_WR)

    assert parent.quit.wait(20)


class FakeWorker:
    def __init__(self):
        self.listeners = {}
        self.sent = queue.Queue()

    def register_message(self, msg_type, listener, concurrent=False):
        self.listeners[msg_type] = listener

    def send_message(self, msg_type, data=None, client_id=None):
        self.sent.put((msg_type, data))

    def say(self, msg_type, data):
        self.listeners[msg_type](environment=None, msg=SimpleNamespace(data=data))


@pytest.fixture
def worker():
    runner = FakeWorker()
    relay = WorkerRelay(runner, lambda row: None)
    yield runner, relay
    relay.stop()


def test_a_worker_tells_its_time_and_who_it_is(worker):
    runner, _ = worker

    runner.say(CLOCK, {"n": 3})

    kind, facts = runner.sent.get(timeout=20)
    assert (kind, facts["n"], facts["clock"], facts["pid"]) == (CLOCK, 3, clock_id(), os.getpid())
    assert facts["version"] == versions()


def test_the_engine_of_a_worker_serves_a_run_and_its_end_is_told(worker):
    runner, relay = worker
    runner.say(START, {"ahead_ns": 0})

    runner.say(RUN, {"n": 0, "data": pack(Job(scenario_of(count=1), NOWHERE, 1))})

    kind, message = runner.sent.get(timeout=40)
    assert (kind, message["n"]) == (RUN, 0)
    assert isinstance(unpack(message["data"]), Progress | Connected)
    os.kill(relay._engine.pid, signal.SIGKILL)
    while kind == RUN:
        kind, message = runner.sent.get(timeout=20)
    assert (kind, message) == (ENDED, {"why": "ended with exit code -9"})


def test_a_message_to_the_engine_that_was_lost_ends_it(worker):
    runner, _ = worker

    runner.say(RUN, {"n": 1, "data": b""})

    assert runner.sent.get(timeout=20) == (ENDED, {"why": "a message to it was lost on the way"})
