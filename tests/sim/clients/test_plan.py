from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.clients.plan import make_plan, slowest_broadcast_s, without_contents
from sim.publish.feeder import Column, Feed, FeedOrder
from sim.publish.payload import parse_template
from sim.scenario.publishing import FileBodies
from sim.scenario.scenario import Population, Publisher, PublishTo, Scenario, Transport
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


WEIGHTS = {"uniform": (1.0, 1.0, 1.0), "zipf": (1.0, 0.5, 0.1), "in turn": ()}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@given(st.integers(1, 40), st.integers(1, 5))
def test_members_are_as_many_as_the_clients_that_are_in_a_stream(weights, count, each):
    rooms = ("a://1", "a://2", "a://3")
    people = (
        Population("a", count, rooms=rooms, room_weights=weights, mids=10, connections_per_mid=each, keys="k"),
        Population("b", 7, rooms=rooms[:1], mids=500, accepts=(1000, 1)),
    )
    publish = (
        Publisher(PublishTo.ROOM, "a", 1.0),
        Publisher(PublishTo.MID, "a", 1.0),
        Publisher(PublishTo.MID, "b", 1.0, op=1),
        Publisher(PublishTo.KEY, "a", 1.0),
        Publisher(PublishTo.ALL, "", 1.0),
    )

    plan = make_plan(Scenario("t", 3, people, publish, ()))

    members = Counter(stream for client in plan.clients() for stream in client.streams)
    assert [stream.members for stream in plan.streams] == [members[i] for i in range(len(plan.streams))]
    assert len({client.token.mid for client in plan.clients()}) == -(-count // each) + 7


def test_connections_of_one_mid_are_all_in_its_stream_and_each_has_its_own_key():
    publish = [Publisher(PublishTo.MID, "viewers", 1.0)]
    plan = make_plan(scenario_of(count=7, mids=10, connections_per_mid=3, keys="k", publish=publish))

    assert targets(plan) == [(PublishTo.MID, "10", 3), (PublishTo.MID, "11", 3), (PublishTo.MID, "12", 1)]
    assert [client.token.mid for client in plan.clients()] == [10, 10, 10, 11, 11, 11, 12]
    assert len({client.token.key for client in plan.clients()}) == 7


def test_a_second_device_has_the_mid_and_all_but_the_key():
    publish = [Publisher(to, "viewers", 1.0) for to in (PublishTo.ROOM, PublishTo.MID, PublishTo.KEY)]
    plan = make_plan(scenario_of(count=1, mids=10, keys="k", publish=publish))
    [client] = plan.clients()

    device = plan.device(client, 4)

    assert (device.token.mid, device.token.key, device.token.room_id) == (10, "k0$4", "live://1")
    assert [plan.streams[stream].to for stream in device.streams] == [PublishTo.ROOM, PublishTo.MID]


def test_equal_scenarios_give_equal_plans():
    scenario = scenario_of(count=20, mids=1, keys="k")

    assert list(make_plan(scenario).clients()) == list(make_plan(scenario).clients())
    assert targets(make_plan(scenario)) == targets(make_plan(scenario))


@given(st.integers(1, 500), st.integers(1, 50), st.integers(0, 100))
def test_transports_are_spread_evenly_over_all_and_in_each_room(count, rooms, percent):
    share = percent / 100
    transports = ((Transport.TCP, share), (Transport.WS, 1 - share))
    people = Population("viewers", count, transports, tuple(f"a://{i}" for i in range(rooms)))
    plan = make_plan(Scenario("t", 1, (people,), (), ()))

    tcp = [not client.is_ws for client in plan.clients()]

    assert abs(sum(tcp) - count * share) < 3
    for room in range(rooms):
        members = tcp[room::rooms]
        assert abs(sum(members) - len(members) * share) < 1.001


def test_one_transport_is_for_all():
    for transport in Transport:
        plan = make_plan(Scenario("t", 1, (Population("v", 50, ((transport, 1.0),)),), (), ()))

        assert {(client.transport, client.is_ws) for client in plan.clients()} == {(transport, "ws" in transport)}


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


def test_workers_make_the_same_plan_without_contents():
    users = Feed("u", "u.csv", FeedOrder.ONCE, ("name", "mid"), (("A", "B"), ("11", "99")), (2, 3))
    other = Feed("o", "o.csv", FeedOrder.ONCE, ("text",), (("long",),), (2,))
    publish = [
        Publisher(PublishTo.MID, "", 1.0, targets=Column("u", "mid"), body=parse_template("${u.name} ${o.text}")),
        Publisher(PublishTo.ALL, "", 1.0, body=FileBodies((b"x" * 1000,))),
    ]
    scenario = scenario_of(count=3, mids=10, publish=publish, feeds=[users, other])

    lean = without_contents(scenario)

    assert (
        targets(make_plan(lean)) == targets(make_plan(scenario)) == [("mid", "11", 1), ("mid", "99", 0), ("all", "", 3)]
    )
    assert make_plan(lean).publishers == make_plan(scenario).publishers
    assert [publisher.body for publisher in lean.publish] == [None, None]
    assert [feed.columns for feed in lean.feeds] == [("mid",), ()]


def test_a_broadcast_with_a_speed_takes_its_time():
    publish = [Publisher(PublishTo.ALL, "", 1.0), Publisher(PublishTo.ALL, "", 1.0, speed=5)]

    assert slowest_broadcast_s(scenario_of(count=30, publish=publish)) == 6.0
    assert slowest_broadcast_s(scenario_of(count=30)) == 0.0
    assert slowest_broadcast_s(scenario_of(count=30, accepts=(7,), publish=publish)) == 0.0


def test_publishers_of_one_target_share_it_and_others_do_not():
    def room(name, *rooms):
        return Population(name, 2, rooms=rooms)

    def to(name, op=9):
        return Publisher(PublishTo.ROOM, name, 1.0, op=op, name=f"{name}-{op}")

    people = (room("a", "r://1", "r://2"), room("b", "r://2", "r://3"), room("c", "r://4"))
    plan = make_plan(Scenario("t", 1, people, (to("a"), to("b"), to("c"), to("a", op=1)), ()))

    assert plan.sharing() == {0: 3, 1: 0, 3: 0}
