"""Who had to get what, through joins, leaves, moves and reconnects: the rules of sim/measure/ledger.py told slowly."""

from dataclasses import dataclass, field
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.frame import pack_frame
from protocol.operation import Operation
from sim.measure.ledger import Delivery, StreamLog
from sim.scenario.scenario import Publisher, PublishTo
from tests.sim.kit import AUTH_REPLY, FakeTransport, message, scenario_of, swarm_of, wire

CLIENTS = 3
ROOMS = ("live://1", "live://2")
ALL, TOPIC = 2, 3
"""Streams 0 and 1 are the rooms, of which client i begins in i % 2; stream 2 is the one of all, and 3 that of an
operation that nobody accepts from the start."""

MS = 1_000_000
GRACE_NS = 1000 * MS
PUBLISH = (
    Publisher(PublishTo.ROOM, "viewers", 1.0),
    Publisher(PublishTo.ALL, "", 1.0),
    Publisher(PublishTo.ALL, "", 1.0, op=2000),
)
REPLIES = {
    "room": Operation.CHANGE_ROOM_REPLY,
    "subscribe": Operation.SUB_REPLY,
    "unsubscribe": Operation.UNSUB_REPLY,
}


@dataclass
class Pushed:
    stream: int
    sequence: int
    sent_ns: int
    done_ns: int
    accepted: int


@dataclass
class Member:
    """One client as the rules see it."""

    home: int
    stays: list = field(default_factory=list)  # [stream, from, until or None, by will]
    former: dict = field(default_factory=dict)  # on this connection: stream -> when it had left it
    asked: list = field(default_factory=list)  # (what, stream to enter or None, when)
    is_in: bool = False
    is_silent: bool = False
    got: dict = field(default_factory=dict)  # stream -> sequences in the order of their first arrival

    def join(self, now):
        self.is_in, self.is_silent, self.former, self.asked = True, False, {}, []
        self.stays += [[self.home, now, None, False], [ALL, now, None, False]]

    def leave(self, now, *, by_will):
        self.give_up()
        self._end(now, by_will=by_will or self.is_silent)
        self.is_in = False

    def give_up(self):
        """Nobody will answer any more."""
        for what, _, asked_ns in self.asked:
            self._end(asked_ns, by_will=True, of=LEAVES[what])
        self.asked = []

    def ask(self, what, stream, now):
        self.asked.append((what, stream, now))

    def confirm(self, what, now):
        first = next((one for one in self.asked if one[0] == what), None)
        if first is None:
            return False
        self.asked.remove(first)
        _, stream, asked_ns = first
        self.former |= {stay[0]: now for stay in self.stays if stay[2] is None and stay[0] in LEAVES[what]}
        self._end(asked_ns, by_will=True, of=LEAVES[what])
        if stream is not None and stream not in self.current():
            self.stays.append([stream, now, None, False])
        return True

    def current(self):
        return {stay[0] for stay in self.stays if stay[2] is None}

    def may_get(self, pushed):
        if pushed.stream in self.current() or any(stream == pushed.stream for _, stream, _ in self.asked):
            return True
        return pushed.stream in self.former and pushed.sent_ns <= self.former[pushed.stream]

    def _end(self, at_ns, *, by_will, of=(0, 1, ALL, TOPIC)):
        for stay in self.stays:
            if stay[2] is None and stay[0] in of:
                stay[2:] = at_ns, by_will


LEAVES = {"room": (0, 1), "subscribe": (), "unsubscribe": (TOPIC,)}


class World:
    """Real clients without sockets, and the model beside them, under one clock."""

    def __init__(self):
        self.now = 1_000_000 * MS
        self.swarm = swarm_of(scenario_of(count=CLIENTS, rooms=ROOMS, publish=PUBLISH))
        self.members = [Member(i % 2) for i in range(CLIENTS)]
        self.pushed = [[], [], [], []]
        self.found = Delivery()
        self.lost_dead = 0
        self.lost_connections = 0
        self.provoked = 0

    def join(self, i):
        if self.members[i].is_in:
            return
        client = self.swarm.clients[i]
        if client.left_ns:
            client = self.swarm.renew(client)
        client.connection_made(FakeTransport())
        client.data_received(AUTH_REPLY)
        self.members[i].join(self.now)

    def leave(self, i, by_will):
        if not self.members[i].is_in:
            return
        if by_will:
            self.swarm.clients[i].leave()
            self.now += 1
        elif self.members[i].is_silent:
            self.provoked += 1
        else:
            self.lost_connections += 1
        self.members[i].leave(self.now - by_will, by_will=by_will)
        self.swarm.clients[i].connection_lost(None)

    def ask(self, i, stream):
        if self.members[i].is_in:
            self.swarm.clients[i].change_room("" if stream is None else ROOMS[stream])
            self.members[i].ask("room", stream, self.now)

    def subscribe(self, i, on):
        if self.members[i].is_in and on:
            self.swarm.clients[i].subscribe((2000,))
            self.members[i].ask("subscribe", TOPIC, self.now)
        elif self.members[i].is_in:
            self.swarm.clients[i].unsubscribe((2000,))
            self.members[i].ask("unsubscribe", None, self.now)

    def confirm(self, i, what="room"):
        if self.members[i].is_in and self.members[i].confirm(what, self.now):
            self.swarm.clients[i].data_received(pack_frame(REPLIES[what], b"whatever"))

    def hush(self, i):
        if self.members[i].is_in and not self.members[i].is_silent:
            self.members[i].is_silent = True
            self.swarm.clients[i].silence()

    def beat(self, i):
        """Its heartbeat is answered; that of one who is silent is from before."""
        if self.members[i].is_in:
            self.swarm.clients[i].data_received(pack_frame(Operation.HEARTBEAT_REPLY, b"\0\0\0\1"))

    def speak(self, i):
        if self.members[i].is_silent and self.members[i].is_in:
            self.swarm.clients[i].speak()
            self.beat(i)
            self.members[i].is_silent = False

    def push(self, stream, took_ns, accepted):
        log = self.pushed[stream]
        log.append(Pushed(stream, len(log), self.now, self.now + took_ns, accepted))
        self.now += 1

    def deliver(self, i, which):
        """Give a client some of what was pushed, in one chunk."""
        member = self.members[i]
        chunk = [self.pushed[stream][at % len(self.pushed[stream])] for stream, at in which if self.pushed[stream]]
        if not member.is_in or not chunk:
            return
        frames = [message(one.stream, one.sequence, one.sent_ns) for one in chunk]
        self.swarm.clients[i].data_received(wire(frames, ws=False))
        for one in chunk:
            got = member.got.setdefault(one.stream, [])
            if not member.may_get(one):
                self.found.unexpected += 1
            elif one.sequence in got:
                self.found.duplicated += 1
            else:
                later = [self.pushed[one.stream][other] for other in got if other > one.sequence]
                if one.accepted and any(other.sent_ns >= one.done_ns for other in later):
                    self.found.reordered += 1
                got.append(one.sequence)

    def deliver_on(self, i, stream, count):
        """Give a client the next of a stream one by one, as a good cluster does: what the fast path is for."""
        got = self.members[i].got.get(stream, [])
        first = max(got) + 1 if got else 0
        for at in range(first, min(first + count, len(self.pushed[stream]))):
            self.deliver(i, [(stream, at)])

    def fan_out(self, stream, count):
        """Push and give it to everybody, member or not, as a cluster does that has not heard of a move."""
        for _ in range(count):
            self.push(stream, 1, 1)
            for i in range(CLIENTS):
                self.deliver(i, [(stream, len(self.pushed[stream]) - 1)])

    def judged(self):
        """Return what the rules say."""
        for member in self.members:
            member.give_up()
            for stream, from_ns, end_ns, by_will in member.stays:
                for one in self.pushed[stream]:
                    end = self.now + 1 if end_ns is None else end_ns - GRACE_NS * by_will
                    if one.accepted and from_ns <= one.sent_ns < end:
                        self.found.expected += 1
                        if one.sequence not in member.got.get(stream, ()):
                            self.found.lost += 1
                            self.lost_dead += end_ns is not None and not by_will
        return self.found

    def logs(self):
        logs = {}
        for stream, pushed in enumerate(self.pushed):
            if pushed:
                logs[stream] = StreamLog(
                    [0] * len(pushed),
                    [one.sent_ns for one in pushed],
                    [one.done_ns for one in pushed],
                    [one.accepted for one in pushed],
                )
        return logs


client = st.integers(0, CLIENTS - 1)
stream = st.integers(0, 3)
step = st.one_of(
    st.tuples(st.just("join"), client),
    st.tuples(st.just("leave"), client, st.booleans()),
    st.tuples(st.just("ask"), client, st.sampled_from([0, 1, None])),
    st.tuples(st.just("confirm"), client),
    st.tuples(st.just("subscribe"), client, st.booleans()),
    st.tuples(st.just("confirm"), client, st.sampled_from(["subscribe", "unsubscribe"])),
    st.tuples(st.sampled_from(["hush", "speak", "beat"]), client),
    st.tuples(st.just("push"), stream, st.sampled_from([1, 5 * MS, 900 * MS]), st.sampled_from([1, 1, 1, 0])),
    st.tuples(st.just("push"), stream, st.just(1), st.just(1)),
    st.tuples(st.just("deliver"), client, st.lists(st.tuples(stream, st.integers(0, 40)), min_size=1, max_size=4)),
    st.tuples(st.just("deliver_on"), client, stream, st.integers(1, 5)),
    st.tuples(st.just("deliver_on"), client, stream, st.just(50)),
    st.tuples(st.just("fan_out"), stream, st.integers(1, 3)),
    st.tuples(st.just("fan_out"), st.integers(0, 1), st.integers(1, 3)),
    st.tuples(st.just("wait"), st.sampled_from([1, 400 * MS, GRACE_NS - MS // 2, 1100 * MS])),
)


# The last two messages come as bytes that another client has decoded, where this one left off before it moved.
@example([("fan_out", 0, 2), ("ask", 2, 1), ("confirm", 2), ("wait", 1), ("fan_out", 0, 2)])
@settings(max_examples=500, deadline=None)
@given(st.lists(step, max_size=60))
def test_every_count_is_what_the_rules_say_through_joins_leaves_and_moves(steps):
    world = World()
    with mock.patch("sim.clients.client.monotonic_ns", side_effect=lambda: world.now):
        for i in range(CLIENTS):
            world.join(i)
        for name, *arguments in steps:
            if name == "wait":
                world.now += arguments[0]
            else:
                getattr(world, name)(*arguments)

        result = world.swarm.finish(world.logs())

    found = Delivery()
    for rows in result.deliveries.values():
        for row in rows:
            found.add(row)
    assert found == world.judged()
    assert result.lost_ends.total() == world.lost_dead
    assert world.swarm.alive == sum(member.is_in for member in world.members)
    assert (result.lost_connections, result.provoked) == (world.lost_connections, world.provoked)
    assert world.swarm.delivered == sum(len(got) for member in world.members for got in member.got.values())
    assert sum((result.lost_seconds or {}).values()) == world.found.lost
