"""Who had to get what, through joins, leaves, moves and reconnects, against the rules of sim/ledger.py told slowly."""

from dataclasses import dataclass, field
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.frame import pack_frame
from protocol.operation import Operation
from sim.ledger import Delivery, StreamLog
from sim.scenario import Publisher, PublishTo
from tests.sim.kit import AUTH_REPLY, FakeTransport, message, scenario_of, swarm_of, wire

CLIENTS = 3
ROOMS = ("live://1", "live://2")
ALL = 2
"""Streams 0 and 1 are the rooms, of which client i begins in i % 2; stream 2 is the one of all."""

MS = 1_000_000
GRACE_NS = 1000 * MS
PUBLISH = (Publisher(PublishTo.ROOM, "viewers", 1.0), Publisher(PublishTo.ALL, "", 1.0))


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
    asked: tuple | None = None  # (stream, when)
    is_in: bool = False
    got: dict = field(default_factory=dict)  # stream -> sequences in the order of their first arrival

    def join(self, now):
        self.is_in, self.former, self.asked = True, {}, None
        self.stays += [[self.home, now, None, False], [ALL, now, None, False]]

    def leave(self, now, *, by_will):
        if self.asked is not None:
            self._end(self.asked[1], by_will=True, rooms_only=True)
        self._end(now, by_will=by_will)
        self.is_in, self.asked = False, None

    def ask(self, stream, now):
        self.asked = stream, now

    def confirm(self, now):
        stream, asked_ns = self.asked
        self.former |= {stay[0]: now for stay in self.stays if stay[2] is None and stay[0] != ALL}
        self._end(asked_ns, by_will=True, rooms_only=True)
        self.asked = None
        if stream is not None:
            self.stays.append([stream, now, None, False])

    def may_get(self, pushed):
        current = {stay[0] for stay in self.stays if stay[2] is None}
        if pushed.stream in current or (self.asked is not None and self.asked[0] == pushed.stream):
            return True
        return pushed.stream in self.former and pushed.sent_ns <= self.former[pushed.stream]

    def _end(self, at_ns, *, by_will, rooms_only=False):
        for stay in self.stays:
            if stay[2] is None and (stay[0] != ALL or not rooms_only):
                stay[2:] = at_ns, by_will


class World:
    """Real clients without sockets, and the model beside them, under one clock."""

    def __init__(self):
        self.now = 1_000_000 * MS
        self.swarm = swarm_of(scenario_of(count=CLIENTS, rooms=ROOMS, publish=PUBLISH))
        self.members = [Member(i % 2) for i in range(CLIENTS)]
        self.pushed = [[], [], []]
        self.found = Delivery()
        self.lost_connections = 0

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
        else:
            self.lost_connections += 1
        self.members[i].leave(self.now - by_will, by_will=by_will)
        self.swarm.clients[i].connection_lost(None)

    def ask(self, i, stream):
        if self.members[i].is_in and self.members[i].asked is None:
            assert self.swarm.clients[i].change_room("" if stream is None else ROOMS[stream])
            self.members[i].ask(stream, self.now)

    def confirm(self, i):
        if self.members[i].asked is not None:
            self.swarm.clients[i].data_received(pack_frame(Operation.CHANGE_ROOM_REPLY, b"whatever"))
            self.members[i].confirm(self.now)

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
            for stream, from_ns, until_ns, by_will in member.stays:
                end_ns = until_ns
                if until_ns is None and member.asked is not None and stream != ALL:
                    end_ns, by_will = member.asked[1], True
                for one in self.pushed[stream]:
                    end = self.now + 1 if end_ns is None else end_ns - GRACE_NS * by_will
                    if one.accepted and from_ns <= one.sent_ns < end:
                        self.found.expected += 1
                        if one.sequence not in member.got.get(stream, ()):
                            self.found.lost += 1
                            self.found.lost_dead += end_ns is not None and not by_will
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
stream = st.integers(0, 2)
step = st.one_of(
    st.tuples(st.just("join"), client),
    st.tuples(st.just("leave"), client, st.booleans()),
    st.tuples(st.just("ask"), client, st.sampled_from([0, 1, None])),
    st.tuples(st.just("confirm"), client),
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
@settings(max_examples=1500, deadline=None)
@given(st.lists(step, max_size=60))
def test_every_count_is_what_the_rules_say_through_joins_leaves_and_moves(steps):
    world = World()
    with mock.patch("sim.client.monotonic_ns", side_effect=lambda: world.now):
        for i in range(CLIENTS):
            world.join(i)
        for name, *arguments in steps:
            if name == "wait":
                world.now += arguments[0]
            else:
                getattr(world, name)(*arguments)

        result = world.swarm.finish(world.logs())

    assert result.deliveries == [world.judged()]
    assert world.swarm.alive == sum(member.is_in for member in world.members)
    assert result.lost_connections == world.lost_connections
    assert world.swarm.delivered == sum(len(got) for member in world.members for got in member.got.values())
    assert sum((result.lost_seconds or {}).values()) == world.found.lost
