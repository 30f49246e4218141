"""Kept messages while comets are away, back without their clients, or gone for good."""

from __future__ import annotations

from imctl.messages import offline
from tests.imctl.messages.fakes import acknowledgement, push, until, until_queue

# --- comets that die ---


async def test_pushes_to_a_session_that_its_comet_has_lost_are_kept(start, comets):
    hook = await start()
    event = comets.add(1, "k")
    await hook.registered(event)
    comets.clients.clear()  # the comet was killed and is back; the session store does not know

    assert await push(hook, comets, 1, "a") == [True]
    await hook.registered(comets.add(1, "new", "comet-2"))

    assert await comets.wait_for("new", 1, "comet-2") == [(1, "a")]


async def test_pushes_to_a_session_whose_comet_is_away_are_kept(start, comets):
    hook = await start()
    await hook.registered(comets.add(1, "k"))
    comets.away.add("comet-1")

    assert await push(hook, comets, 1, "a") == [True]
    comets.away.clear()

    assert await comets.wait_for("k", 1) == [(1, "a")]


# --- comets that stay away ---


async def test_a_comet_that_is_away_is_tried_until_it_is_back(start, comets, counters):
    hook = await start()
    comets.away.add("comet-1")
    await push(hook, comets, 1, "a")
    await hook.registered(comets.add(1, "k"))
    await until(counters, "comet_away", 2)

    comets.away.clear()

    assert await comets.wait_for("k", 1) == [(1, "a")]


async def test_a_comet_that_is_away_holds_no_other_up(start, comets, counters):
    hook = await start()
    comets.away.add("comet-1")
    for mid in range(1, 31):
        await push(hook, comets, mid, "a")
        await hook.registered(comets.add(mid, f"k{mid}"))
    await push(hook, comets, 100, "b")

    await hook.registered(comets.add(100, "other", "comet-2"))

    assert await comets.wait_for("other", 1, "comet-2") == [(1, "b")]


async def test_a_connection_whose_comet_is_away_is_forgotten_with_its_session(start, comets, counters):
    hook = await start()
    comets.away.add("comet-1")
    await push(hook, comets, 1, "a")
    event = comets.add(1, "k")
    await hook.registered(event)
    await until(counters, "comet_away", 1)

    comets.users[1].clear()

    assert (await until_queue(hook, 1, lambda queue: not queue.cursors)).messages == 1


async def test_a_connection_the_comet_does_not_know_is_forgotten(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a")
    event = comets.add(1, "k")
    comets.remove(event)

    await hook.registered(event)

    assert (await until_queue(hook, 1, lambda queue: not queue.cursors)).messages == 1


async def test_what_is_acknowledged_is_not_kept_for_a_comet_that_is_gone(start, comets, monkeypatch):
    monkeypatch.setattr(offline, "_PATIENCE_S", 0.0)
    hook = await start(keep="all", max_messages=2)
    await hook.registered(comets.add(1, "dead", "comet-2"))
    await hook.registered(comets.add(1, "k"))
    comets.away.add("comet-2")
    await push(hook, comets, 1, "a", "b")
    await comets.wait_for("k", 2)

    await hook.receive(acknowledgement(1, 2))

    await until_queue(hook, 1, lambda queue: not queue.messages)


async def test_what_is_acknowledged_stays_for_a_comet_that_may_come_back(start, comets, counters):
    hook = await start(keep="all")
    await hook.registered(comets.add(1, "away", "comet-2"))
    await hook.registered(comets.add(1, "k"))
    comets.away.add("comet-2")
    await push(hook, comets, 1, "a")
    await comets.wait_for("k", 1)
    await hook.receive(acknowledgement(1, 1))
    await until(counters, "comet_away", 3)

    comets.away.clear()

    assert await comets.wait_for("away", 1, "comet-2") == [(1, "a")]
    await until_queue(hook, 1, lambda queue: not queue.messages)
