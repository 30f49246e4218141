"""Registrations that are late, lost or refused: whoever is connected gets what waits all the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from imctl.hooks.contract import HookError
from imctl.messages import lanes
from imctl.messages.offline import OfflineMessages
from imctl.store.contract import StoreError
from tests.imctl.messages.fakes import push, until
from tests.services import brokers


async def test_what_is_told_late_of_the_session_before_changes_nothing(start, comets, no_sweeps):
    one, two = await start(), await start()
    old = comets.add(1, "k")
    await one.registered(old)
    new = comets.add(1, "k")
    await two.registered(new)

    await one.disconnected(old)

    assert await push(one, comets, 1, "a") == [False]
    assert comets.finds == []
    await one.disconnected(new)
    assert (await two.offline(1)).cursors == ()


async def test_a_refresh_and_a_registration_of_one_session_repeat_nothing_in_either_order(start, comets, no_sweeps):
    hook = await start()
    await push(hook, comets, 1, "a")
    event = comets.add(1, "k")
    await hook.refreshed(event)
    await comets.wait_for("k", 1)

    await hook.registered(event)
    await push(hook, comets, 1, "b")

    assert await comets.wait_for("k", 2) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("keep", ["offline", "all"])
async def test_a_session_that_nobody_has_registered_is_found_by_the_next_push(start, comets, counters, no_sweeps, keep):
    hook = await start(keep=keep)
    event = comets.add(1, "k")

    await push(hook, comets, 1, "a")

    assert await comets.wait_for("k", 1) == [(1, "a")]
    assert counters.values["registered_late"] == 1
    await hook.disconnected(event)
    assert (await hook.offline(1)).cursors == ()


async def test_a_session_that_nobody_has_registered_is_found_without_a_push(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a")

    comets.add(1, "k")

    assert await comets.wait_for("k", 1) == [(1, "a")]


async def test_a_session_that_its_comet_does_not_have_is_not_looked_for_at_every_push(start, comets, no_sweeps):
    hook = await start(keep="all")
    comets.add(1, "gone", routed=False)
    await hook.registered(comets.add(1, "k"))

    for number in range(20):
        await push(hook, comets, 1, str(number))
        await comets.wait_for("k", number + 1)

    assert comets.finds == [("comet-1", "gone")]
    assert [cursor.key for cursor in (await hook.offline(1)).cursors] == ["k"]


async def test_a_session_on_a_go_comet_is_found_too(start, comets, no_sweeps):
    hook = await start()
    comets.go_comets.add("comet-1")
    event = replace(comets.add(1, "k"), session=0)

    await push(hook, comets, 1, "a")

    assert await comets.wait_for("k", 1) == [(1, "a")]
    await hook.disconnected(event)
    assert (await hook.offline(1)).cursors == ()


async def test_a_session_that_ends_while_it_is_found_leaves_nothing_behind(start, comets, monkeypatch, no_sweeps):
    hook = await start()
    event = comets.add(1, "k")
    open_cursor = hook._log.open_cursor

    async def opening(*place: Any, **options: Any) -> object:
        comets.remove(event)  # its disconnect is told before, and finds nothing to close
        return await open_cursor(*place, **options)

    monkeypatch.setattr(hook._log, "open_cursor", opening)
    await push(hook, comets, 1, "a")
    await until_idle(hook)

    assert (await hook.offline(1)).cursors == ()


async def until_idle(hook: OfflineMessages) -> None:
    await brokers.until(lambda: not hook._dispatcher.waiting, 20)


class Outage:
    """A log whose open_cursor fails while `on`; `hangs` makes it not answer."""

    def __init__(self, hook: OfflineMessages, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = True
        self.hangs = False
        self._open_cursor = hook._log.open_cursor
        monkeypatch.setattr(hook._log, "open_cursor", self.open_cursor)

    async def open_cursor(self, *place: Any, **options: Any) -> object:
        if self.hangs:
            await asyncio.Event().wait()
        if self.on:
            raise StoreError("away")
        return await self._open_cursor(*place, **options)


async def test_a_client_that_connects_while_the_store_is_away_gets_everything_once_it_is_back(
    start, comets, counters, monkeypatch, no_sweeps
):
    hook = await start()
    await push(hook, comets, 1, "a")
    outage = Outage(hook, monkeypatch)
    with pytest.raises(HookError, match="away"):
        await hook.registered(comets.add(1, "k"))
    await until(counters, "delayed", 3)

    outage.on = False

    assert await comets.wait_for("k", 1) == [(1, "a")]


async def test_after_an_outage_a_client_that_came_back_under_its_key_begins_at_the_oldest(
    start, comets, monkeypatch, no_sweeps
):
    hook = await start()
    await push(hook, comets, 1, "a", "b")
    await hook.registered(comets.add(1, "k"))
    await comets.wait_for("k", 2)
    outage = Outage(hook, monkeypatch)
    with pytest.raises(HookError):
        await hook.registered(comets.add(1, "k"))

    outage.on = False

    assert await comets.wait_for("k", 2) == [(1, "a"), (2, "b")]


async def test_a_registration_that_is_over_its_time_limit_is_tried_again(start, comets, monkeypatch, no_sweeps):
    hook = await start()
    await push(hook, comets, 1, "a")
    outage = Outage(hook, monkeypatch)
    outage.hangs = True
    told = asyncio.create_task(hook.registered(comets.add(1, "k")))
    await asyncio.sleep(0)
    outage.hangs = outage.on = False

    told.cancel()

    with pytest.raises(asyncio.CancelledError):
        await told
    assert await comets.wait_for("k", 1) == [(1, "a")]


async def test_a_client_that_left_during_the_outage_is_not_tried_for_ever(start, comets, monkeypatch, no_sweeps):
    hook = await start()
    outage = Outage(hook, monkeypatch)
    event = comets.add(1, "k")
    with pytest.raises(HookError):
        await hook.registered(event)
    comets.remove(event)

    await until_idle(hook)

    assert outage.on
    assert (await hook.offline(1)).cursors == ()


async def test_those_for_whom_there_is_no_space_to_wait_are_counted_and_found_by_the_next_push(
    start, comets, counters, monkeypatch, no_sweeps
):
    monkeypatch.setattr(lanes, "_MAX_WAITING", 1)
    hook = await start()
    outage = Outage(hook, monkeypatch)
    for mid in range(1, 6):
        with pytest.raises(HookError):
            await hook.registered(comets.add(mid, f"k{mid}"))
    assert counters.values["put_off"] == 4
    outage.on = False

    for mid in range(2, 6):
        await until_idle(hook)
        await push(hook, comets, mid, "a")
        assert await comets.wait_for(f"k{mid}", 1) == [(1, "a")]
