from __future__ import annotations

import json
from pathlib import Path

import fakeredis
import pytest

from imctl.logic.online import MAX_AGE_S, OnlineCounts
from imctl.node import Counters
from imctl.store.contract import OnlineReport
from imctl.store.memory import MemoryStore
from imctl.store.redis import RedisStore


class Clock:
    now_s = 1_000_000.5

    def __call__(self) -> float:
        return self.now_s


class Cluster:
    """Several logics over one store."""

    def __init__(self, logics: int = 1, *, at_once: bool = True) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        self.drops = Counters()
        self.online = [
            OnlineCounts(self.store, counters=Counters(), drops=self.drops, at_once=at_once, clock_s=self.clock)
            for _ in range(logics)
        ]
        self.live("a", "b")

    def live(self, *servers: str) -> None:
        for online in self.online:
            online.set_live(servers)


async def test_a_report_counts_at_once_over_all_comets():
    cluster = Cluster()
    [online] = cluster.online

    assert await online.renew("a", {"r": 2, "s": 1}) == {"r": 2, "s": 1}
    assert await online.renew("b", {"r": 3}) == {"r": 5, "s": 1}


async def test_a_new_report_replaces_the_old_one():
    [online] = Cluster().online
    await online.renew("a", {"r": 2, "s": 1})
    await online.renew("b", {"r": 3})

    assert await online.renew("a", {"s": 4}) == {"r": 3, "s": 4}
    assert await online.renew("b", {}) == {"s": 4}


async def test_a_map_that_was_given_out_stays_as_it_was():
    [online] = Cluster().online
    before = await online.renew("a", {"r": 2})

    await online.renew("a", {"r": 7})

    assert before == {"r": 2}


async def test_in_goims_way_a_report_counts_with_the_next_rebuild():
    [online] = Cluster(at_once=False).online

    assert await online.renew("a", {"r": 2}) == {}
    await online.rebuild()

    assert online.rooms == {"r": 2}


async def test_what_another_logic_was_told_is_read_from_the_store():
    cluster = Cluster(logics=2)
    first, second = cluster.online
    await first.renew("a", {"r": 2})
    await second.renew("b", {"r": 3})

    await first.rebuild()
    await second.rebuild()

    assert first.rooms == second.rooms == {"r": 5}


async def test_the_newer_of_two_reports_counts_wherever_it_is():
    cluster = Cluster(logics=2)
    first, second = cluster.online
    await first.renew("a", {"r": 2})
    cluster.clock.now_s += 10
    await second.renew("a", {"r": 7})

    await first.rebuild()
    await second.rebuild()

    assert first.rooms == second.rooms == {"r": 7}


async def test_a_comet_that_leaves_takes_its_members_along():
    cluster = Cluster()
    [online] = cluster.online
    await online.renew("a", {"r": 2})
    await online.renew("b", {"r": 3})

    cluster.live("b")
    assert online.rooms == {"r": 3}
    await online.rebuild()

    assert online.rooms == {"r": 3}


async def test_a_comet_counts_when_it_comes_into_the_registry():
    cluster = Cluster()
    [online] = cluster.online

    assert await online.renew("c", {"r": 2}) == {}
    cluster.live("a", "b", "c")

    assert online.rooms == {"r": 2}


async def test_a_report_that_is_too_old_is_dropped_everywhere():
    cluster = Cluster(logics=2)
    first, second = cluster.online
    await first.renew("a", {"r": 2})
    await second.rebuild()
    cluster.clock.now_s += MAX_AGE_S + 2

    await first.rebuild()
    await second.rebuild()

    assert first.rooms == second.rooms == {}
    assert await cluster.store.online("a") is None


async def test_reports_of_unknown_servers_do_not_pile_up():
    cluster = Cluster()
    [online] = cluster.online
    for i in range(100):
        await online.renew(f"x{i}", {"r": 1})
    cluster.clock.now_s += MAX_AGE_S + 2

    await online.rebuild()

    assert online._reports == {}


async def test_with_the_store_down_counts_go_on_and_it_is_counted():
    server = fakeredis.FakeServer()
    server.connected = False
    store = RedisStore(fakeredis.FakeAsyncRedis(server=server), url="fakeredis://")
    drops = Counters()
    online = OnlineCounts(store, counters=Counters(), drops=drops)
    online.set_live(["a"])

    assert await online.renew("a", {"r": 2}) == {"r": 2}
    await online.rebuild()

    await store.close()
    assert online.rooms == {"r": 2}
    assert drops.nonzero() == {"logic.online_store": 2}


async def test_top_rooms_by_prefix_and_host():
    [online] = Cluster().online
    await online.renew("a", {"live://1": 3, "live://2": 5, "live://a/b": 1, "test://1": 9, "直播://1": 4, "lonely": 2})

    assert online.top("live", 10) == [
        {"room_id": "2", "count": 5},
        {"room_id": "1", "count": 3},
        {"room_id": "a", "count": 1},
    ]
    assert online.top("live", 1) == [{"room_id": "2", "count": 5}]
    assert online.top("lon", 10) == [{"room_id": "", "count": 2}]
    assert online.top("直播", 10) == []


async def test_counts_of_rooms_are_sorted_by_name():
    [online] = Cluster().online
    await online.renew("a", {"live://1": 3, "live://": 1})

    assert list(online.counts("live", ["x", "1", "", "x"]).items()) == [("", 1), ("1", 3), ("x", 0)]


@pytest.mark.parametrize("index", range(3))
async def test_recorded_answers_of_a_go_logic(index):
    recorded = json.loads((Path(__file__).parents[2] / "vectors" / "redis.json").read_text())
    parts = [json.loads(text) for text in recorded["online"]["value"].values()]
    rooms = {room: count for part in parts for room, count in part["room_count"].items()}
    cluster = Cluster()
    [online] = cluster.online
    await cluster.store.set_online("a", OnlineReport(rooms, int(cluster.clock.now_s)))
    await online.rebuild()
    entry = recorded["http_while_online"][index]
    data = json.loads(entry["response"]["body"])["data"]

    match index:
        case 0:
            ours = online.top("live", 5)
            assert [room["count"] for room in ours] == [room["count"] for room in data]
        case 1:
            ours = online.top("l", 200)
            assert sorted(str(room["room_id"]) for room in ours) == sorted(room["room_id"] for room in data)
        case 2:
            assert online.counts("live", ["1000", "1", "nobody"]) == data
