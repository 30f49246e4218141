from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from imctl.cli.commands.online import online_rooms, online_top, online_total
from imctl.cluster.inprocess import LocalCluster
from tests.imctl.cli.background import Background, FakeLogic

ANSWERS = {
    "/goim/online/room": (200, '{"code":0,"message":"","data":{"1":12,"2":0}}'),
    "/goim/online/top": (200, '{"code":0,"message":"","data":[{"room_id":"1","count":12},{"room_id":"2","count":3}]}'),
}


@pytest.fixture
def logic() -> Iterator[FakeLogic]:
    with Background(lambda: FakeLogic(ANSWERS)) as found:
        yield found


@pytest.mark.parametrize("args", [(), ("--total",)])
def test_the_total_is_shown(invoke, logic, args):
    result = invoke("online", *args, "--target", logic.address)

    assert (result.exit_code, result.stdout) == (0, "7 connections from 2 addresses\n")
    assert json.loads(invoke("online", *args, "--target", logic.address, "--json").stdout) == {
        "conn_count": 7,
        "ip_count": 2,
    }


def test_rooms_are_shown_in_the_order_asked_for(invoke, logic):
    result = invoke("online", "live://2", "test://9", "live://1", "--target", logic.address)

    assert result.stdout == " 0  live://2\n 0  test://9\n12  live://1\n"
    assert [target for _, target, _ in logic.requests] == [
        "/goim/online/room?type=live&rooms=2&rooms=1",
        "/goim/online/room?type=test&rooms=9",
    ]
    as_json = invoke("online", "live://1", "--target", logic.address, "--json")
    assert json.loads(as_json.stdout) == {"rooms": {"live://1": 12}}


def test_the_fullest_rooms_are_shown(invoke, logic):
    result = invoke("online", "--top", "2", "--type", "live", "--target", logic.address)

    assert result.stdout == "12  1\n 3  2\n"
    as_json = json.loads(invoke("online", "--top", "2", "--target", logic.address, "--json").stdout)
    assert as_json["top"][0] == {"room_id": "1", "count": 12}
    assert logic.requests[0][1] == "/goim/online/top?type=live&limit=2"


def test_no_rooms_is_said(invoke, logic):
    logic.answers["/goim/online/top"] = (200, '{"code":0,"message":"","data":[]}')

    assert invoke("online", "--top", "2", "--target", logic.address).stdout == "no room whose key begins with live\n"


@pytest.mark.parametrize("args", ["live://1 --total", "--top 3 --total", "room", "--top 0"])
def test_wrong_use_exits_2(invoke, args):
    assert invoke("online", *args.split()).exit_code == 2


def test_without_a_cluster_it_exits_4(invoke):
    assert invoke("online").exit_code == 4


async def test_a_cluster_tells_its_counts():
    async with LocalCluster() as cluster:
        assert (await online_total(cluster.http)).ip_count == 0
        assert (await online_rooms(cluster.http, [("live", "1")])).rooms == {"live://1": 0}
        assert (await online_top(cluster.http, "live", 5)).top == ()
