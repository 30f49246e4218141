"""What every session store does, the same on each backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from imctl.store.contract import OnlineReport, SessionStore
from imctl.store.factory import open_store
from protocol.cityhash import online_slot


@pytest.fixture(params=["memory", "fakeredis", "redis", "valkey", "redis_cluster", "valkey_cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SessionStore]:
    real = request.param not in ("memory", "fakeredis")
    url = request.getfixturevalue(f"{request.param}_url") if real else f"{request.param}://"
    opened = open_store(url)
    yield opened
    await opened.close()


async def test_a_session_is_found_by_key_and_by_mid(store):
    await store.add(1, "k", "comet-1")

    assert await store.servers_by_key(["k"]) == {"k": "comet-1"}
    assert await store.sessions_by_mid([1]) == {1: {"k": "comet-1"}}


async def test_a_mid_has_all_its_keys_on_all_servers(store):
    await store.add(1, "a", "comet-1")
    await store.add(1, "b", "comet-2")
    await store.add(2, "c", "comet-1")

    assert await store.sessions_by_mid([1, 2]) == {1: {"a": "comet-1", "b": "comet-2"}, 2: {"c": "comet-1"}}


@pytest.mark.parametrize("mid", [0, -7])
async def test_an_anonymous_session_is_found_by_key_only(store, mid):
    await store.add(mid, "k", "comet-1")

    assert await store.servers_by_key(["k"]) == {"k": "comet-1"}
    assert await store.sessions_by_mid([mid]) == {}
    assert await store.remove(mid, "k", "comet-1") is True
    assert await store.servers_by_key(["k"]) == {}


async def test_who_is_offline_is_left_out(store):
    await store.add(1, "k", "comet-1")

    assert await store.servers_by_key(["x", "k", "y"]) == {"k": "comet-1"}
    assert await store.sessions_by_mid([9, 1]) == {1: {"k": "comet-1"}}


async def test_asking_for_nobody_gives_nothing(store):
    assert await store.servers_by_key(()) == {}
    assert await store.sessions_by_mid(()) == {}


async def test_a_key_asked_for_twice_is_one_answer(store):
    await store.add(1, "k", "comet-1")

    assert await store.servers_by_key(["k", "k"]) == {"k": "comet-1"}
    assert await store.sessions_by_mid([1, 1]) == {1: {"k": "comet-1"}}


async def test_a_session_that_moves_names_the_new_server(store):
    await store.add(1, "k", "comet-1")
    await store.add(1, "k", "comet-2")

    assert await store.servers_by_key(["k"]) == {"k": "comet-2"}
    assert await store.sessions_by_mid([1]) == {1: {"k": "comet-2"}}


async def test_removing_forgets_one_session_of_the_mid(store):
    await store.add(1, "a", "comet-1")
    await store.add(1, "b", "comet-1")

    assert await store.remove(1, "a", "comet-1") is True
    assert await store.servers_by_key(["a", "b"]) == {"b": "comet-1"}
    assert await store.sessions_by_mid([1]) == {1: {"b": "comet-1"}}


async def test_removing_twice_says_that_nothing_was_there(store):
    await store.add(1, "k", "comet-1")

    assert await store.remove(1, "k", "comet-1") is True
    assert await store.remove(1, "k", "comet-1") is False
    assert await store.remove(5, "never", "comet-1") is False


async def test_the_old_server_cannot_remove_a_session_that_moved(store):
    await store.add(1, "k", "comet-1")
    await store.add(1, "k", "comet-2")

    assert await store.remove(1, "k", "comet-1") is False
    assert await store.servers_by_key(["k"]) == {"k": "comet-2"}
    assert await store.sessions_by_mid([1]) == {1: {"k": "comet-2"}}


async def test_a_key_added_while_its_removal_is_on_its_way_stays(store):
    await store.add(1, "k", "comet-1")

    await asyncio.gather(store.remove(1, "k", "comet-1"), store.add(1, "k", "comet-1"))

    assert await store.servers_by_key(["k"]) == {"k": "comet-1"}
    assert await store.sessions_by_mid([1]) == {1: {"k": "comet-1"}}


async def test_sessions_of_a_user_have_ids_where_they_were_given_some(store):
    await store.add(1, "a", "comet-1", 2**61 - 1)
    await store.add(1, "b", "comet-2", 5)
    await store.add(1, "c", "comet-2")
    await store.add(2, "d", "comet-1", 6)

    assert await store.session_ids(1) == {"a": 2**61 - 1, "b": 5}
    assert await store.session_ids(3) == {}
    assert await store.remove(1, "b", "comet-2", 5) is True
    assert await store.session_ids(1) == {"a": 2**61 - 1}


async def test_what_is_meant_for_the_session_before_does_not_remove_the_one_that_has_its_key_now(store):
    await store.add(1, "k", "comet-1", 5)
    await store.add(1, "k", "comet-1", 6)

    assert await store.remove(1, "k", "comet-1", 5) is False
    assert await store.servers_by_key(["k"]) == {"k": "comet-1"}
    assert await store.sessions_by_mid([1]) == {1: {"k": "comet-1"}}
    assert await store.session_ids(1) == {"k": 6}
    assert await store.remove(1, "k", "comet-1", 6) is True
    assert await store.sessions_by_mid([1]) == {}
    assert await store.session_ids(1) == {}


async def test_an_id_takes_part_in_a_removal_only_where_both_have_one(store):
    await store.add(1, "a", "comet-1")
    await store.add(1, "b", "comet-1", 5)
    await store.add(0, "c", "comet-1", 5)

    assert await store.remove(1, "a", "comet-1", 5) is True
    assert await store.remove(1, "b", "comet-1") is True
    assert await store.remove(0, "c", "comet-1", 5) is True
    assert await store.servers_by_key(["a", "b", "c"]) == {}
    assert await store.sessions_by_mid([1]) == {}


async def test_the_old_server_cannot_remove_a_session_that_moved_by_its_id(store):
    await store.add(1, "k", "comet-1", 5)
    await store.add(1, "k", "comet-2", 6)

    assert await store.remove(1, "k", "comet-1", 5) is False
    assert await store.sessions_by_mid([1]) == {1: {"k": "comet-2"}}
    assert await store.session_ids(1) == {"k": 6}


async def test_refresh_makes_a_missing_session_with_its_id_and_leaves_another_one_alone(store):
    await store.refresh(1, "a", "comet-1", 5)
    await store.add(2, "b", "comet-2", 6)
    await store.refresh(2, "b", "comet-1", 7)

    assert await store.session_ids(1) == {"a": 5}
    assert await store.sessions_by_mid([1, 2]) == {1: {"a": "comet-1"}, 2: {"b": "comet-2"}}
    assert await store.session_ids(2) == {"b": 6}


async def test_many_removals_by_id_at_once_are_each_carried_out(store):
    every = range(1, 101)
    await asyncio.gather(*(store.add(mid, f"k{mid}", "comet-1", mid) for mid in every))

    removed = await asyncio.gather(
        *(store.remove(mid, f"k{mid}", "comet-1", mid if mid % 2 else mid + 1) for mid in every)
    )

    assert removed == [mid % 2 == 1 for mid in every]
    assert await store.sessions_by_mid(every) == {mid: {f"k{mid}": "comet-1"} for mid in every if mid % 2 == 0}


async def test_many_at_once_are_all_carried_out(store):
    every = range(1, 301)

    await asyncio.gather(*(store.add(mid, f"k{mid}", f"comet-{mid % 3}") for mid in every))
    found = await store.sessions_by_mid(every)
    removed = await asyncio.gather(*(store.remove(mid, f"k{mid}", "comet-0") for mid in every))

    assert found == {mid: {f"k{mid}": f"comet-{mid % 3}"} for mid in every}
    assert [mid for mid, done in zip(every, removed, strict=True) if done] == [mid for mid in every if mid % 3 == 0]
    assert len(await store.servers_by_key([f"k{mid}" for mid in every])) == 200


async def test_removals_and_moves_mixed_leave_what_was_added_last(store):
    every = range(1, 101)
    await asyncio.gather(*(store.add(mid, f"k{mid}", "comet-1") for mid in every))

    await asyncio.gather(
        *(store.remove(mid, f"k{mid}", "comet-1") for mid in every),
        *(store.add(mid, f"k{mid}", "comet-2") for mid in every if mid % 2),
    )

    assert await store.sessions_by_mid(every) == {mid: {f"k{mid}": "comet-2"} for mid in every if mid % 2}


async def test_refresh_keeps_a_session_and_makes_a_missing_one(store):
    await store.add(1, "k", "comet-1")

    await store.refresh(1, "k", "comet-1")
    await store.refresh(2, "gone", "comet-1")
    await store.refresh(0, "anonymous", "comet-1")

    assert await store.sessions_by_mid([1, 2]) == {1: {"k": "comet-1"}, 2: {"gone": "comet-1"}}
    assert await store.servers_by_key(["anonymous"]) == {"anonymous": "comet-1"}


@pytest.mark.parametrize("key", ["", "a b", "键", "a:b/c?d", "x" * 2000, "\x00\n"])
async def test_any_text_is_a_key(store, key):
    await store.add(1, key, "comet-1")

    assert await store.servers_by_key([key]) == {key: "comet-1"}
    assert await store.sessions_by_mid([1]) == {1: {key: "comet-1"}}
    assert await store.remove(1, key, "comet-1") is True


async def test_a_mid_may_be_any_int64(store):
    await store.add(2**63 - 1, "k", "comet-1")

    assert await store.sessions_by_mid([2**63 - 1]) == {2**63 - 1: {"k": "comet-1"}}


async def test_a_report_comes_back_whole(store):
    rooms = {f"live://{room}": room for room in range(1, 200)} | {"直播://房间": 1, "": 3, 'a"b<&>': 2, "\u2028": 1}

    await store.set_online("comet-1", OnlineReport(rooms, 1_700_000_000))

    assert await store.online("comet-1") == OnlineReport(rooms, 1_700_000_000)


async def test_a_new_report_replaces_the_old_one_with_all_its_rooms(store):
    first, second = "live://1", "test://1"
    assert online_slot(first) != online_slot(second)
    await store.set_online("comet-1", OnlineReport({first: 1}, 100))

    await store.set_online("comet-1", OnlineReport({second: 2}, 110))

    assert await store.online("comet-1") == OnlineReport({second: 2}, 110)


async def test_a_report_without_rooms_is_still_a_report(store):
    await store.set_online("comet-1", OnlineReport({"live://1": 1}, 100))

    await store.set_online("comet-1", OnlineReport({}, 110))

    assert await store.online("comet-1") == OnlineReport({}, 110)


async def test_reports_of_servers_are_apart(store):
    await store.set_online("comet-1", OnlineReport({"a": 1}, 100))
    await store.set_online("comet-2", OnlineReport({"a": 2}, 100))

    await store.drop_online("comet-1")

    assert await store.online("comet-1") is None
    assert await store.online("comet-2") == OnlineReport({"a": 2}, 100)


async def test_there_is_no_report_of_an_unknown_server(store):
    assert await store.online("comet-9") is None
    await store.drop_online("comet-9")


async def test_cancelled_callers_hurt_nobody_else(store):
    calls = [asyncio.ensure_future(store.add(mid, f"k{mid}", "comet-1")) for mid in range(1, 11)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    for call in calls:
        with suppress(asyncio.CancelledError):
            await call

    found = await store.sessions_by_mid(range(1, 11))

    assert {2, 4, 6, 8, 10} <= set(found)


async def test_closing_twice_is_allowed(store):
    await store.add(1, "k", "comet-1")

    await store.close()
    await store.close()


async def test_a_hold_lets_one_in_at_a_time_and_leaves_other_names_alone(store):
    order: list[str] = []
    inside = asyncio.Event()
    go_on = asyncio.Event()

    async def first() -> None:
        async with store.hold("a"):
            order.append("first in")
            inside.set()
            await go_on.wait()
            order.append("first out")

    async def second() -> None:
        await inside.wait()
        async with store.hold("a"):
            order.append("second in")

    tasks = [asyncio.create_task(first()), asyncio.create_task(second())]
    await inside.wait()
    async with asyncio.timeout(5), store.hold("b"):
        order.append("b in")
    go_on.set()
    await asyncio.gather(*tasks)

    assert order == ["first in", "b in", "first out", "second in"]


async def test_a_hold_ends_when_its_work_fails(store):
    with pytest.raises(RuntimeError):
        async with store.hold("a"):
            raise RuntimeError("work failed")

    async with asyncio.timeout(5), store.hold("a"):
        pass
