"""Handing over when clients are slow, return elsewhere, or two logics do it at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from imctl.messages import offline
from imctl.messages.offline import OfflineMessages
from imctl.store.contract import StoreError
from imctl.store.holding import LocalHolds
from tests.imctl.messages.fakes import context_of, push, until


async def test_a_slow_client_is_tried_until_it_takes(start, comets, counters):
    hook = await start()
    comets.full["k"] = 3
    await push(hook, comets, 1, "a")

    await hook.registered(comets.add(1, "k"))

    assert await comets.wait_for("k", 1) == [(1, "a")]
    assert counters.values["client_slow"] == 3


async def test_a_slow_client_holds_nobody_up(start, comets):
    hook = await start()
    comets.full["slow"] = 10**9
    await push(hook, comets, 1, "a")
    await push(hook, comets, 2, "b")
    await hook.registered(comets.add(1, "slow"))

    await hook.registered(comets.add(2, "k"))

    assert await comets.wait_for("k", 1) == [(1, "b")]


async def test_a_user_who_returns_elsewhere_while_being_handed_messages_gets_all_of_them_there(start, comets):
    hook = await start()
    await push(hook, comets, 1, *map(str, range(150)))
    old = comets.add(1, "k", "comet-1")
    comets.gate.clear()
    await hook.registered(old)
    await comets.at_gate.wait()

    await hook.registered(comets.add(1, "k", "comet-2"))
    comets.gate.set()

    assert await comets.wait_for("k", 150, "comet-2") == [(i + 1, str(i)) for i in range(150)]


async def test_a_reconnect_with_the_same_key_while_a_batch_is_on_its_way_misses_nothing(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a", "b")
    comets.gate.clear()
    await hook.registered(comets.add(1, "k"))
    await comets.at_gate.wait()

    await hook.registered(comets.add(1, "k"))
    comets.gate.set()

    got = await comets.wait_for("k", 2)
    assert got[-2:] == [(1, "a"), (2, "b")]


async def test_nothing_is_repeated_while_the_log_cannot_move_a_cursor(start, comets, counters, monkeypatch):
    hook = await start()
    await push(hook, comets, 1, "a", "b")
    advance, failing = hook._log.advance, True

    async def advancing(*place: Any) -> bool:
        if failing:
            raise StoreError("full")
        return await advance(*place)

    monkeypatch.setattr(hook._log, "advance", advancing)
    await hook.registered(comets.add(1, "k"))
    await until(counters, "delayed", 3)
    failing = False
    await push(hook, comets, 1, "c")

    assert await comets.wait_for("k", 3) == [(1, "a"), (2, "b"), (3, "c")]


async def test_two_logics_hand_over_to_a_connection_one_after_the_other(comets, counters, tmp_path):
    holds = LocalHolds()
    hooks = [OfflineMessages(f"sqlite:///{tmp_path}/messages.db", keep="all") for _ in range(2)]
    for hook in hooks:
        await hook.start(context_of(comets, counters, holds))
    await hooks[0].registered(comets.add(1, "k"))

    for number in range(100):
        await push(hooks[number % 2], comets, 1, str(number))

    assert await comets.wait_for("k", 100) == [(number + 1, str(number)) for number in range(100)]
    assert comets.overlaps == 0
    for hook in hooks:
        await hook.stop()


async def test_a_push_at_the_moment_a_connection_has_been_handed_all_waits_for_no_sweep(
    comets, counters, tmp_path, monkeypatch
):
    monkeypatch.setattr(offline, "_SWEEP_EVERY_S", 3600.0)
    leaving, go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def hold(name: str) -> AsyncIterator[None]:
        yield
        leaving.set()  # nothing more was found
        await go.wait()

    hook = OfflineMessages(f"sqlite:///{tmp_path}/messages.db")
    await hook.start(replace(context_of(comets, counters), hold=hold))
    await push(hook, comets, 1, "a")
    await hook.registered(comets.add(1, "k"))
    await leaving.wait()

    await push(hook, comets, 1, "b")
    go.set()

    assert await comets.wait_for("k", 2) == [(1, "a"), (2, "b")]
    await hook.stop()


async def test_what_another_logic_left_behind_is_found(start, comets, counters):
    dead, living = await start(), await start()
    await dead.registered(comets.add(1, "k"))
    dead._dispatcher._lanes.closed = True  # as if it had died after keeping a message, before handing it over
    comets.users.clear()
    await push(dead, comets, 1, "a")

    assert await comets.wait_for("k", 1) == [(1, "a")]
    assert living is not dead
