import asyncio
from dataclasses import replace
from time import monotonic_ns

import pytest

import sim.publish.virtual
from sim.clients.plan import make_plan
from sim.publish.composer import Composer
from sim.publish.feeder import Feed, FeedOrder
from sim.publish.payload import parse_template
from sim.publish.virtual import VirtualPublishers, count_virtual
from sim.scenario.publishing import ClosedLoop, Publisher, PublishTo, WaitFor
from sim.scenario.scenario import Phase
from sim.scenario.times import ExponentialTime
from tests.sim.kit import scenario_of, until

LOOP = ClosedLoop(2)
ROOM = Publisher(PublishTo.ROOM, "viewers", 0.0, closed=LOOP, body=parse_template("${seq} ${random:int(1..999)}"))
STEADY = (Phase("steady", 60.0),)


class Pushes:
    """The publisher's side: takes drafts and answers each when the test says so.

    Args:
        answers: Answer at once.
        taken: Whether logic acknowledges.
    """

    def __init__(self, *publish, answers=True, taken=True, phases=STEADY, seed=1, **options):
        self.plan = make_plan(scenario_of(publish=publish, phases=phases, seed=seed, **options))
        self.answers, self.taken = answers, taken
        self.drafts = []
        self.pending = []
        self.open = self.most_open = 0
        self.reasons = []
        composers = [Composer(self.plan, index) for index in range(len(publish))]
        self.virtual = VirtualPublishers(self.plan, composers, self.push, self.reasons.append)

    def push(self, draft):
        self.drafts.append(draft)
        return len(self.drafts) - 1, asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self):
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        if self.answers:
            await asyncio.sleep(0)
        else:
            self.pending.append(asyncio.get_running_loop().create_future())
            await self.pending[-1]
        self.open -= 1
        return self.taken

    async def __aenter__(self):
        self.virtual.start(monotonic_ns())
        return self

    async def __aexit__(self, *exc):
        for future in self.pending:
            future.cancel()
        for task in self.virtual.tasks:
            task.cancel()
        await asyncio.gather(*self.virtual.tasks, return_exceptions=True)


async def test_each_has_one_message_at_a_time():
    async with Pushes(ROOM, answers=False) as pushes:
        await until(lambda: len(pushes.drafts) == 2)
        await asyncio.sleep(0.05)
        assert len(pushes.drafts) == 2

        pushes.pending[0].set_result(None)
        await until(lambda: len(pushes.drafts) == 3)
        await asyncio.sleep(0.05)

    assert len(pushes.drafts) == 3


async def test_one_that_thinks_waits_in_between():
    async with Pushes(replace(ROOM, closed=ClosedLoop(1, 3600.0))) as pushes:
        await asyncio.sleep(0.05)  # it begins somewhere within its first think time

    assert pushes.drafts == []

    async with Pushes(replace(ROOM, closed=ClosedLoop(1, 0.02))) as pushes:
        began = asyncio.get_running_loop().time()
        await until(lambda: len(pushes.drafts) == 6)

    assert asyncio.get_running_loop().time() - began >= 5 * 0.02


async def test_one_that_waits_for_the_delivery_goes_on_when_a_client_has_read_it():
    async with Pushes(replace(ROOM, closed=ClosedLoop(1, 0.0, WaitFor.DELIVERY))) as pushes:
        await until(lambda: pushes.drafts)
        await asyncio.sleep(0.05)
        assert len(pushes.drafts) == 1

        pushes.virtual.seen([(0, 7), (0, 0), (5, 5)])
        await until(lambda: len(pushes.drafts) == 2)

    assert pushes.reasons == []


async def test_a_delivery_before_the_answer_is_not_missed():
    async with Pushes(replace(ROOM, closed=ClosedLoop(1, 0.0, WaitFor.DELIVERY)), answers=False) as pushes:
        await until(lambda: pushes.pending)
        pushes.virtual.seen([(0, 0)])
        pushes.pending[0].set_result(None)

        await until(lambda: len(pushes.drafts) == 2)


async def test_a_delivery_that_never_comes_is_noted_and_waited_for_no_longer(monkeypatch):
    monkeypatch.setattr(sim.publish.virtual, "_DELIVERY_TIMEOUT_S", 0.02)

    async with Pushes(replace(ROOM, closed=ClosedLoop(1, 0.0, WaitFor.DELIVERY))) as pushes:
        await until(lambda: len(pushes.drafts) > 2)

    assert set(pushes.reasons) == {"read by nobody within 0 s, so its virtual publisher went on"}


async def test_nobody_waits_for_the_delivery_of_what_nobody_gets():
    publisher = replace(ROOM, to=PublishTo.ALL, population="", op=7777, closed=ClosedLoop(1, 0.0, WaitFor.DELIVERY))

    async with Pushes(publisher) as pushes:
        await until(lambda: len(pushes.drafts) > 5)


async def test_a_refused_push_is_not_followed_by_the_next_at_once(monkeypatch):
    monkeypatch.setattr(sim.publish.virtual, "_AFTER_FAILURE_S", 3600.0)

    async with Pushes(ROOM, taken=False) as pushes:
        await until(lambda: len(pushes.drafts) == 2)
        await asyncio.sleep(0.05)

    assert len(pushes.drafts) == 2


@pytest.mark.parametrize("think", [0.0, ExponentialTime(0.001)], ids=["none", "random"])
async def test_what_each_sends_follows_from_the_seed_and_not_from_the_order(think):
    publisher = replace(ROOM, closed=ClosedLoop(4, think))

    async def contents(seed, answers):
        async with Pushes(publisher, seed=seed, answers=answers) as pushes:
            if answers:
                await until(lambda: len(pushes.drafts) > 80)
            else:
                await until(lambda: len(pushes.pending) == 4)
                for _ in range(30):  # the second one is quick, the others stand still
                    pushes.pending.pop(1).set_result(None)
                    await until(lambda: len(pushes.pending) == 4)
                    pushes.pending.insert(1, pushes.pending.pop())
        return {int(draft.content.split()[0]): (draft.stream, draft.content) for draft in pushes.drafts}

    one, other, third = await contents(1, True), await contents(1, False), await contents(2, True)

    shared = one.keys() & other.keys()
    assert len(shared) > 5
    assert all(one[number] == other[number] for number in shared)
    assert any(one[number] != third[number] for number in one.keys() & third.keys())
    # Each has numbers of its own, so none is sent twice.
    assert len({number % 4 for number in one}) == 4


async def test_a_mix_goes_on_without_the_entry_whose_rows_are_used_up():
    once = Feed("u", "u.csv", FeedOrder.ONCE, ("a",), (tuple("0123456789"),), tuple(range(2, 12)))
    listed = replace(ROOM, body=parse_template("row ${u.a}"), mix="m", weight=0.5)
    other = replace(ROOM, body=parse_template("other"), mix="m", weight=0.5)

    async with Pushes(listed, other, feeds=[once]) as pushes:
        await until(lambda: len(pushes.drafts) > 100)

    rows = [draft.content for draft in pushes.drafts if draft.publisher == 0]
    assert sorted(rows) == [f"row {n}".encode() for n in range(10)]


async def test_one_whose_rows_are_used_up_is_done():
    once = Feed("u", "u.csv", FeedOrder.ONCE, ("a",), (("x", "y", "z"),), (2, 3, 4))

    async with Pushes(replace(ROOM, body=parse_template("${u.a}")), feeds=[once]) as pushes:
        await until(lambda: all(task.done() for task in pushes.virtual.tasks))

    assert sorted(draft.content for draft in pushes.drafts) == [b"x", b"y", b"z"]


async def test_they_end_with_the_last_phase():
    phases = (Phase("one", 1.0, publish_factor=2.0), Phase("none", 0.05, publish_factor=0.0))

    async with Pushes(ROOM, phases=phases) as pushes:
        await asyncio.wait(pushes.virtual.tasks, timeout=60)

    assert count_virtual(pushes.plan) == len(pushes.virtual.tasks) == 4
    assert all(task.done() and task.exception() is None for task in pushes.virtual.tasks)
    assert 0 < pushes.most_open <= 4
