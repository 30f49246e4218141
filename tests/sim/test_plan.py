from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.plan import make_plan
from sim.scenario import Population, Publisher, PublishTo, Scenario
from tests.sim.kit import scenario_of


def targets(plan):
    return [(stream.to, stream.target, stream.members) for stream in plan.streams]


def test_a_room_has_the_clients_of_that_room_whatever_they_accept():
    plan = make_plan(
        scenario_of(
            count=5, rooms=("a://1", "a://2"), accepts=(1,), publish=[Publisher(PublishTo.ROOM, "viewers", 1.0, op=9)]
        )
    )

    assert targets(plan) == [(PublishTo.ROOM, "a://1", 3), (PublishTo.ROOM, "a://2", 2)]
    assert [client.streams for client in plan.clients()] == [(0,), (1,), (0,), (1,), (0,)]


def test_a_push_to_all_has_those_who_accept_its_operation():
    people = (Population("a", 3, accepts=(1, 2)), Population("b", 4, accepts=(2,)), Population("c", 5, accepts=()))
    publish = (Publisher(PublishTo.ALL, "", 1.0, op=1), Publisher(PublishTo.ALL, "", 1.0, op=2))

    plan = make_plan(Scenario("t", 1, people, publish, ()))

    assert targets(plan) == [(PublishTo.ALL, "", 3), (PublishTo.ALL, "", 7)]


@pytest.mark.parametrize(
    ("to", "names"), [(PublishTo.MID, ["10", "11"]), (PublishTo.KEY, ["k0", "k1"])], ids=["mid", "key"]
)
def test_a_user_and_a_connection_are_one_stream_each(to, names):
    plan = make_plan(scenario_of(count=2, mids=10, keys="k", publish=[Publisher(to, "viewers", 1.0)]))

    assert targets(plan) == [(to, name, 1) for name in names]


def test_two_publishers_to_one_room_share_its_stream():
    # Their messages have one order, which one sequence can check.
    publish = [Publisher(PublishTo.ROOM, "viewers", 1.0), Publisher(PublishTo.ROOM, "viewers", 2.0, op=1001)]

    plan = make_plan(scenario_of(publish=publish))

    assert plan.publishers == [(0,), (0,)]
    assert len(plan.streams) == 1


@given(st.integers(1, 60), st.integers(1, 7))
def test_parts_are_equal_and_together_are_everybody(count, parts):
    plan = make_plan(scenario_of(count=count, mids=1))

    shares = [list(plan.clients(part, parts)) for part in range(parts)]

    assert sorted((c for share in shares for c in share), key=lambda c: c.index) == list(plan.clients())
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_equal_scenarios_give_equal_plans():
    scenario = scenario_of(count=20, mids=1, keys="k")

    assert list(make_plan(scenario).clients()) == list(make_plan(scenario).clients())
    assert targets(make_plan(scenario)) == targets(make_plan(scenario))


@given(st.integers(1, 500), st.integers(1, 50), st.integers(0, 100))
def test_transports_are_spread_evenly_over_all_and_in_each_room(count, rooms, percent):
    share = percent / 100
    people = Population("viewers", count, share, tuple(f"a://{i}" for i in range(rooms)))
    plan = make_plan(Scenario("t", 1, (people,), (), ()))

    tcp = [not client.is_ws for client in plan.clients()]

    assert abs(sum(tcp) - count * share) < 3
    for room in range(rooms):
        members = tcp[room::rooms]
        assert abs(sum(members) - len(members) * share) < 1.001


def test_one_transport_is_for_all():
    for share, is_ws in ((1.0, False), (0.0, True)):
        plan = make_plan(Scenario("t", 1, (Population("v", 50, share),), (), ()))

        assert {client.is_ws for client in plan.clients()} == {is_ws}


def test_tokens_are_what_the_population_says():
    plan = make_plan(scenario_of(count=2, rooms=("a://1", "a://2"), mids=7, keys="k-", accepts=(1, 2)))

    token = list(plan.clients())[1].token

    assert (token.mid, token.key, token.room_id, token.accepts) == (8, "k-1", "a://2", (1, 2))


@pytest.mark.parametrize(
    ("publisher", "path", "query"),
    [
        (
            Publisher(PublishTo.ROOM, "viewers", 1.0, op=9),
            "/goim/push/room",
            {"operation": "9", "type": "a", "room": "x y&z"},
        ),
        (Publisher(PublishTo.MID, "viewers", 1.0), "/goim/push/mids", {"operation": "1000", "mids": "7"}),
        (Publisher(PublishTo.KEY, "viewers", 1.0), "/goim/push/keys", {"operation": "1000", "keys": "k&0"}),
        (Publisher(PublishTo.ALL, "", 1.0, speed=5), "/goim/push/all", {"operation": "1000", "speed": "5"}),
    ],
    ids=["room", "mid", "key", "all"],
)
def test_requests_are_those_of_goims_push_api(publisher, path, query):
    plan = make_plan(scenario_of(count=1, rooms=("a://x y&z",), mids=7, keys="k&", publish=[publisher]))

    parts = urlsplit(plan.request_target(publisher, 0))

    assert parts.path == path
    assert parse_qs(parts.query) == {name: [value] for name, value in query.items()}
