from __future__ import annotations

from dataclasses import replace

import pytest

from imctl.errors import ConfigError
from imctl.hooks.contract import PushEvent, PushTarget, ReceiveEvent, ReceiveReply, StoreReply
from imctl.messages.offline import OfflineMessages
from tests.imctl.messages.fakes import acknowledgement, mid_push, push, room_push, until_queue

# --- keep=offline ---


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


# --- keep=all, ack=comet ---


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


# --- clients ---


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


# --- history ---


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


# --- options and the end ---


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
