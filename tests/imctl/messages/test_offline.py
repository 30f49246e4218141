from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from imctl.errors import ConfigError
from imctl.hooks.contract import HookError, PushEvent, PushTarget, ReceiveEvent, ReceiveReply, StoreReply
from imctl.messages import offline
from imctl.messages.offline import OfflineMessages
from imctl.store.contract import StoreError
from imctl.store.holding import LocalHolds
from tests.imctl.messages.fakes import acknowledgement, context_of, mid_push, push, room_push, until, until_queue

# --- keep=offline -----------------------------------------------------------------


async def test_a_user_who_was_away_gets_everything_in_order_with_ids(start, comets):
    hook = await start()
    bodies = [str(i) for i in range(250)]

    assert all(await push(hook, comets, 1, *bodies))
    await hook.registered(comets.add(1, "k"))

    assert await comets.wait_for("k", 250) == [(i + 1, body) for i, body in enumerate(bodies)]


async def test_a_push_to_a_registered_user_goes_over_the_bus(start, comets):
    hook = await start()
    await hook.registered(comets.add(1, "k"))

    assert await push(hook, comets, 1, "a") == [False]
    assert (await hook.offline(1)).messages == 0


async def test_a_push_to_a_user_who_is_connected_and_not_yet_registered_is_kept(start, comets):
    hook = await start()
    comets.add(1, "k", routed=False)

    assert await push(hook, comets, 1, "a") == [True]
    await hook.registered(comets.add(1, "k"))

    assert await comets.wait_for("k", 1) == [(1, "a")]


async def test_a_push_behind_messages_that_wait_is_kept_and_handed_over_after_them(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a")
    await hook.registered(comets.add(1, "k"))
    await comets.wait_for("k", 1)

    assert await push(hook, comets, 1, "b", "c") == [True, True]

    assert await comets.wait_for("k", 3) == [(1, "a"), (2, "b"), (3, "c")]


async def test_when_all_is_acknowledged_pushes_go_over_the_bus_again(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a", "b")
    await hook.registered(comets.add(1, "k"))
    await comets.wait_for("k", 2)

    assert await hook.receive(acknowledgement(1, 2)) == ReceiveReply(handled=True)

    assert await push(hook, comets, 1, "c") == [False]


async def test_what_is_not_acknowledged_comes_again_with_the_same_ids(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a", "b", "c")
    first = comets.add(1, "k")
    await hook.registered(first)
    await comets.wait_for("k", 3)
    await hook.receive(acknowledgement(1, 1))
    comets.remove(first)
    await hook.disconnected(first)

    await hook.registered(comets.add(1, "k"))

    assert await comets.wait_for("k", 2) == [(2, "b"), (3, "c")]


async def test_after_a_disconnect_pushes_are_kept(start, comets):
    hook = await start()
    event = comets.add(1, "k")
    await hook.registered(event)
    await hook.disconnected(event)

    assert await push(hook, comets, 1, "a") == [True]


async def test_a_late_disconnect_from_the_old_comet_changes_nothing(start, comets):
    hook = await start()
    old = comets.add(1, "k", "comet-1")
    await hook.registered(old)
    comets.remove(old)
    await hook.registered(comets.add(1, "k", "comet-2"))

    await hook.disconnected(old)

    assert await push(hook, comets, 1, "a") == [False]


async def test_a_refresh_makes_a_session_known_whose_registration_was_missed(start, comets):
    hook = await start()
    event = comets.add(1, "k")
    await push(hook, comets, 1, "a")

    await hook.refreshed(event)

    assert await comets.wait_for("k", 1) == [(1, "a")]
    await hook.refreshed(event)
    await push(hook, comets, 1, "b")
    assert await comets.wait_for("k", 2) == [(1, "a"), (2, "b")]


async def test_told_again_after_logic_was_away_nothing_is_repeated(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a")
    event = comets.add(1, "k")
    await hook.registered(event)
    await comets.wait_for("k", 1)

    await hook.registered(replace(event, again=True))
    await push(hook, comets, 1, "b")

    assert await comets.wait_for("k", 2) == [(1, "a"), (2, "b")]


async def test_every_connection_of_a_user_gets_what_is_kept(start, comets):
    hook = await start()
    await hook.registered(comets.add(1, "a", "comet-1"))
    await push(hook, comets, 1, "x")
    comets.users[1].clear()  # as if the session store had lost them
    await hook.registered(comets.add(1, "b", "comet-2"))

    await push(hook, comets, 2, "not for 1")
    comets.users[1].clear()
    await push(hook, comets, 1, "y")

    assert await comets.wait_for("a", 1) == [(1, "y")]
    assert await comets.wait_for("b", 1, "comet-2") == [(1, "y")]


async def test_a_push_to_many_users_is_kept_for_those_who_need_it(start, comets, counters):
    hook = await start()
    await hook.registered(comets.add(1, "k"))

    reply = await hook.store_message(mid_push(comets, 1, 2, 3, 3, 0, -5))

    assert reply.handled == {2, 3}
    assert (counters.values["kept"], counters.values["live"]) == (2, 1)
    assert (await hook.offline(3)).messages == 1


@pytest.mark.parametrize(
    "event",
    [
        PushEvent(PushTarget.ALL, 1000, b"x"),
        PushEvent(PushTarget.KEYS, 1000, b"x", keys=("k",)),
        PushEvent(PushTarget.ROOM, 1000, b"x", room="live://1"),
    ],
)
async def test_only_pushes_by_mid_are_kept(start, event):
    hook = await start()

    assert await hook.store_message(event) == StoreReply()


# --- comets that die ----------------------------------------------------------------


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


# --- keep=all, ack=comet ----------------------------------------------------------


async def test_keep_all_keeps_every_push_and_hands_it_over(start, comets):
    hook = await start(keep="all")
    await hook.registered(comets.add(1, "k"))

    assert await push(hook, comets, 1, "a", "b") == [True, True]

    assert await comets.wait_for("k", 2) == [(1, "a"), (2, "b")]
    assert (await hook.offline(1)).messages == 2


async def test_ack_comet_deletes_what_the_comet_has_taken(start, comets):
    hook = await start(ack="comet")
    await push(hook, comets, 1, "a", "b")
    await hook.registered(comets.add(1, "k"))
    await comets.wait_for("k", 2)

    await until_queue(hook, 1, lambda queue: not queue.messages)

    assert await push(hook, comets, 1, "c") == [False]


# --- clients ------------------------------------------------------------------------


async def test_other_operations_are_for_other_receivers(start):
    hook = await start()

    assert await hook.receive(ReceiveEvent(1, "k", 4, 1, b"hi")) == ReceiveReply(handled=False)


async def test_the_acknowledgement_may_have_another_operation(start, comets):
    hook = await start(ack_operation=2000)
    await push(hook, comets, 1, "a")

    assert await hook.receive(acknowledgement(1, 1)) == ReceiveReply(handled=False)
    assert await hook.receive(ReceiveEvent(1, "", 2000, 1, b"")) == ReceiveReply(handled=True)
    assert (await hook.offline(1)).messages == 0


async def test_nobody_has_no_messages(start, comets):
    hook = await start()
    event = comets.add(0, "k")

    await hook.registered(event)
    await hook.refreshed(event)
    await hook.disconnected(event)

    assert await hook.receive(acknowledgement(0, 1)) == ReceiveReply(handled=True)


# --- history ------------------------------------------------------------------------


async def test_history_of_users_and_rooms_can_be_read(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a", "b", "c")
    await hook.store_message(room_push("live://1", "to the room"))

    assert [message.body for message in await hook.history(mid=1, limit=2)] == [b"b", b"c"]
    assert [message.body for message in await hook.history(mid=1, before=2)] == [b"a"]
    assert [message.body for message in await hook.history(room="live://1")] == [b"to the room"]
    assert await hook.history(room="live://2") == []


async def test_deleting_forgets_queue_and_history(start, comets):
    hook = await start()
    await push(hook, comets, 1, "a", "b")

    assert await hook.delete_offline(1) == 2
    assert (await hook.offline(1)).messages == 0
    assert await hook.history(mid=1) == []


# --- trouble ------------------------------------------------------------------------


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


async def test_messages_over_the_bounds_are_counted_as_drops(start, comets, counters):
    hook = await start(max_messages=2)

    await push(hook, comets, 1, "a", "b", "c")

    assert counters.values["drop.over_count"] == 1
    assert (await hook.offline(1)).messages == 2


async def test_old_messages_are_swept_and_counted_as_drops(start, comets, counters):
    hook = await start(max_age_s=0.01)
    await push(hook, comets, 1, "a", "b")

    await until(counters, "drop.over_age", 2)

    assert (await hook.offline(1)).messages == 0


async def test_a_push_that_cannot_be_kept_is_refused_with_the_reason(start, comets, monkeypatch):
    hook = await start()

    async def full(offers: object) -> None:
        raise StoreError("message store x is full", hint="make space")

    monkeypatch.setattr(hook._log, "offer", full)

    with pytest.raises(HookError, match="message store x is full"):
        await push(hook, comets, 1, "a")


async def test_a_room_push_goes_on_without_its_history(start, comets, counters, monkeypatch):
    hook = await start()

    async def full(*entry: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(hook._log, "record", full)

    assert await hook.store_message(room_push("live://1")) == StoreReply()
    assert counters.values["drop.history"] == 1


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


async def test_it_says_why_it_cannot_start(tmp_path, comets, counters):
    (tmp_path / "file").write_text("no folder")
    hook = OfflineMessages(f"sqlite:///{tmp_path}/file/messages.db")

    with pytest.raises(HookError, match="file"):
        await hook.start(context_of(comets, counters))


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


async def test_in_a_full_store_a_push_that_needs_no_keeping_goes_over_the_bus(comets, counters, tmp_path):
    hook = OfflineMessages(f"sqlite:///{tmp_path}/messages.db?max_file_bytes=200000")
    await hook.start(context_of(comets, counters))
    await hook.registered(comets.add(1, "k"))
    large = "x" * 200_000
    with pytest.raises(HookError, match="is full"):
        await push(hook, comets, 2, large)

    assert await push(hook, comets, 1, large) == [False]

    assert counters.values["drop.history"] == 1
    with pytest.raises(HookError, match="is full"):
        await hook.store_message(mid_push(comets, 1, 2, body=large))
    await hook.stop()


async def test_stopping_twice_and_without_a_start_is_fine(start, tmp_path):
    hook = await start()
    await hook.stop()
    await hook.stop()

    await OfflineMessages(f"sqlite:///{tmp_path}/never.db").stop()
    assert not (tmp_path / "never.db").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"keep": "some"}, "keep is 'some'; expected offline or all"),
        ({"ack": "nobody"}, "ack is 'nobody'; expected client or comet"),
        ({"max_messages": 0}, "max_messages is 0; expected 1 or more"),
        ({"max_bytes": 0}, "max_bytes is 0"),
        ({"max_age_s": 0}, "max_age_s is 0"),
        ({"history": -1}, "history is -1; expected 0 to 1000"),
        ({"history_age_s": 0}, "history_age_s is 0"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, problem):
    with pytest.raises(ConfigError, match=problem):
        OfflineMessages("memory://", **options)
