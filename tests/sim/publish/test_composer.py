from random import Random

import pytest

from sim.clients.plan import make_plan
from sim.publish.composer import Composer, Draft
from sim.publish.feeder import Column, Feed, FeedOrder
from sim.publish.payload import parse_template
from sim.scenario.publishing import FileBodies, FileOrder, Publisher, PublishTo, UniformSize
from tests.sim.kit import scenario_of

USERS = Feed(
    "user", "users.csv", FeedOrder.SEQUENTIAL, ("mid", "name"), (("12", "10", "99"), ("A", "B", "C")), (2, 3, 4)
)


def plan_of(publisher, *feeds):
    return make_plan(
        scenario_of(count=3, mids=10, keys="k", rooms=("a://1", "a://2"), publish=[publisher], feeds=feeds)
    )


def drafts_of(publisher, *feeds, numbers=range(6), seed=1):
    composer = Composer(plan_of(publisher, *feeds), 0)
    rng = Random(seed)
    return [composer.compose(number, rng) for number in numbers]


def test_filler_goes_round_the_targets_and_has_a_drawn_size():
    drafts = drafts_of(Publisher(PublishTo.ROOM, "viewers", 1.0, UniformSize(24, 30)), numbers=range(200))

    assert [draft.stream for draft in drafts[:4]] == [0, 1, 0, 1]
    assert {draft.content for draft in drafts} == {None}
    assert {draft.size_bytes for draft in drafts} == set(range(24, 31))


@pytest.mark.parametrize(
    ("to", "text", "contents"),
    [
        (PublishTo.ROOM, "${room} ${seq}", [b"a://1 0", b"a://2 1", b"a://1 2"]),
        (PublishTo.MID, "${mid}", [b"10", b"11", b"12"]),
        (PublishTo.KEY, "${key}", [b"k0", b"k1", b"k2"]),
        (PublishTo.ALL, "${seq}", [b"0", b"1", b"2"]),
    ],
)
def test_a_body_knows_whom_it_is_for(to, text, contents):
    population = "" if to is PublishTo.ALL else "viewers"

    drafts = drafts_of(Publisher(to, population, 1.0, body=parse_template(text)), numbers=range(3))

    assert [draft.content for draft in drafts] == contents


def test_target_and_text_are_of_one_row():
    publisher = Publisher(
        PublishTo.MID, "", 1.0, body=parse_template("${mid} ${user.mid} ${user.name}"), targets=Column("user", "mid")
    )

    drafts = drafts_of(publisher, USERS, numbers=range(4))

    assert [draft.content for draft in drafts] == [b"12 12 A", b"10 10 B", b"99 99 C", b"12 12 A"]
    assert [plan_of(publisher, USERS).streams[draft.stream].target for draft in drafts] == ["12", "10", "99", "12"]


def test_nobody_has_to_get_what_is_for_a_mid_without_clients():
    plan = plan_of(Publisher(PublishTo.MID, "", 1.0, targets=Column("user", "mid")), USERS)

    assert [(stream.target, stream.members) for stream in plan.streams] == [("12", 1), ("10", 1), ("99", 0)]


def test_a_publisher_whose_rows_are_used_up_has_no_more():
    once = Feed("user", "users.csv", FeedOrder.ONCE, USERS.columns, USERS.values, USERS.lines)

    drafts = drafts_of(Publisher(PublishTo.ALL, "", 1.0, body=parse_template("${user.name}")), once, numbers=range(5))

    assert [draft and draft.content for draft in drafts] == [b"A", b"B", b"C", None, None]


def test_files_are_bodies_in_turn_or_at_random():
    in_turn = Publisher(PublishTo.ALL, "", 1.0, body=FileBodies((b"a", b"\xff", b"")))
    at_random = Publisher(PublishTo.ALL, "", 1.0, body=FileBodies((b"a", b"\xff", b""), FileOrder.RANDOM))

    assert [draft.content for draft in drafts_of(in_turn, numbers=range(4))] == [b"a", b"\xff", b"", b"a"]
    assert {draft.content for draft in drafts_of(at_random, numbers=range(99))} == {b"a", b"\xff", b""}


def test_the_seed_says_what_is_drawn():
    randomly = Feed("user", "users.csv", FeedOrder.RANDOM, USERS.columns, USERS.values, USERS.lines)
    body = parse_template("${user.name} ${uuid} ${random:text(4)}")
    publisher = Publisher(PublishTo.MID, "", 1.0, body=body, targets=Column("user", "mid"))

    drafts = drafts_of(publisher, randomly, numbers=range(50))

    assert len({draft.stream for draft in drafts}) == 3
    assert drafts == drafts_of(publisher, randomly, numbers=range(50))
    assert drafts != drafts_of(publisher, randomly, numbers=range(50), seed=2)


def test_a_draft_says_whose_it_is():
    plan = make_plan(scenario_of(publish=[Publisher(PublishTo.ALL, "", 1.0), Publisher(PublishTo.ALL, "", 1.0, 99)]))

    assert Composer(plan, 1).compose(0, Random(1)) == Draft(1, 0, None, 99)
