"""Any sequence of calls on a log against a few lines of Python that do the same with lists."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imctl.messages.contract import Batch, Limits, MessageLog, Offer, mid_scope
from imctl.messages.factory import open_messages
from imctl.messages.ids import sequence_of

# Each example has users and connections of its own, so that all share one log.
_examples = itertools.count(1)

MAX_MESSAGES = 6
MAX_BYTES = 40
HISTORY = 4


@dataclass
class Model:
    """One user."""

    last: int = 0
    acked: int = 0
    queue: list[tuple[int, int]] = field(default_factory=list)  # id, size
    cursors: dict[str, tuple[str, int]] = field(default_factory=dict)  # key -> server, handed
    sessions: dict[str, int] = field(default_factory=dict)
    epochs: dict[str, tuple[int, int]] = field(default_factory=dict)  # key -> session, or 0 and a number of its own
    history: list[int] = field(default_factory=list)  # sizes

    def offer(self, size: int, live: dict[str, str]) -> tuple[int, int, int]:
        self.history.append(size)
        while len(self.history) > 1 and (len(self.history) > HISTORY or sum(self.history) > MAX_BYTES):
            self.history.pop(0)
        if not self.queue and any(live.get(key) == server for key, (server, _) in self.cursors.items()):
            return 0, 0, 0
        self.last += 1
        self.queue.append((self.last, size))
        over_count = over_bytes = 0
        if len(self.queue) > MAX_MESSAGES:
            over_count = self.queue.pop(0)[0] > self.acked
        while len(self.queue) > 1 and sum(size for _, size in self.queue) > MAX_BYTES:
            over_bytes += self.queue.pop(0)[0] > self.acked
        return self.last, over_count, over_bytes

    def goes_on(self, key: str, server: str, again: bool, session: int) -> bool:
        if key not in self.cursors or self.cursors[key][0] != server:
            return False
        return self.sessions[key] == session if session else again

    def open(self, key: str, server: str, again: bool, session: int) -> bool:
        if not self.goes_on(key, server, again, session):
            self.cursors[key] = (server, self.acked)
            self.sessions[key] = session
            self.epochs[key] = (session, 0 if session else next(_examples))
        return bool(self.waiting(key))

    def close(self, key: str, server: str, session: int) -> None:
        if key in self.cursors and self.cursors[key][0] == server:
            if session and self.sessions[key] not in (0, session):
                return
            del self.cursors[key]
            self.delete_done()

    def delete_done(self) -> None:
        upto = min([self.acked, *[handed for _, handed in self.cursors.values()]])
        self.queue = [(number, size) for number, size in self.queue if number > upto]

    def waiting(self, key: str) -> list[tuple[int, int]] | None:
        if key not in self.cursors:
            return None
        return [(number, size) for number, size in self.queue if number > self.cursors[key][1]]

    def acknowledge(self, upto: int) -> int:
        more = [number for number, _ in self.queue if self.acked < number <= upto]
        if more:
            self.acked = upto
            self.delete_done()
        return len(more)

    def delete(self) -> int:
        before = len(self.queue)
        self.queue.clear()
        self.history.clear()
        return before


KEYS = st.sampled_from(["a", "b"])
SERVERS = st.sampled_from(["comet-1", "comet-2"])
SESSIONS = st.sampled_from([0, 0, 1, 2])
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 15), st.dictionaries(KEYS, SERVERS, max_size=2)),
        st.tuples(st.just("open"), KEYS, SERVERS, st.booleans(), SESSIONS),
        st.tuples(st.just("close"), KEYS, SERVERS, SESSIONS),
        st.tuples(st.just("read"), KEYS),
        st.tuples(st.just("advance"), KEYS, st.integers(1, 3)),
        st.tuples(st.just("acknowledge"), st.integers(-1, 25)),
        st.tuples(st.just("delete")),
    ),
    max_size=40,
)


@pytest.fixture(params=["memory", "redis", "redis_cluster"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[MessageLog]:
    url = "memory://model" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    log = open_messages(url, Limits(max_messages=MAX_MESSAGES, max_bytes=MAX_BYTES, history=HISTORY))
    yield log
    await log.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CALLS)
async def test_a_log_does_what_lists_do(log, calls):
    mid = next(_examples)
    model = Model()
    # What was read of a connection, perhaps some time ago, and where its cursor was.
    read: dict[str, tuple[Batch, tuple[int, int], int]] = {}

    for call in calls:
        match call:
            case ("offer", size, live):
                sessions = {f"{key}-{mid}": server for key, server in live.items()}
                [placed] = await log.offer([Offer(mid, 1000, b"x" * size, 1, sessions)])
                assert (placed.id, placed.over_count, placed.over_bytes) == model.offer(size, live)
                if placed.id:
                    assert {c.key: (c.server, c.handed) for c in placed.cursors} == {
                        f"{key}-{mid}": cursor for key, cursor in model.cursors.items()
                    }
            case ("open", key, server, again, session):
                opened = await log.open_cursor(mid, f"{key}-{mid}", server, again=again, session=session)
                assert (opened is not None) == model.open(key, server, again, session)
            case ("close", key, server, session):
                await log.close_cursor(mid, f"{key}-{mid}", server, session=session)
                model.close(key, server, session)
            case ("read", key):
                batch = await log.waiting(mid, f"{key}-{mid}", 0)
                expected = model.waiting(key)
                assert (batch is None) == (expected is None)
                if batch is not None:
                    assert [(message.id, len(message.body)) for message in batch.messages] == expected
                    read[key] = batch, model.epochs[key], model.cursors[key][1]
            case ("advance", key, count) if key in read and read[key][0].messages:
                batch, epoch, was = read[key]
                handed = batch.messages[:count][-1].id
                moves = key in model.cursors and (model.epochs[key], model.cursors[key][1]) == (epoch, was)
                assert await log.advance(batch.cursor, handed) is moves
                if moves:
                    model.cursors[key] = (model.cursors[key][0], handed)
                    model.delete_done()
            case ("acknowledge", sequence):
                upto = sequence if 1 <= sequence <= model.last else 0
                assert await log.acknowledge(mid, sequence) == model.acknowledge(upto)
            case ("delete",):
                assert await log.delete(mid) == model.delete()

        queue = await log.queue(mid)
        assert (queue.last_id, queue.messages, queue.bytes) == (
            model.last,
            len(model.queue),
            sum(size for _, size in model.queue),
        )
    assert [len(message.body) for message in await log.history(mid_scope(mid), 100, 0, 0)] == model.history
    assert sequence_of(model.last or 1) == (model.last or 1)
