"""Hooks `rooms` and `logins`, and the file that is read again when it changes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from imctl.errors import ConfigError
from imctl.hooks.contract import Action, HookError, Moment, RoomEvent, RoomReply, SessionEvent, SessionReply
from imctl.hooks.login_policy import LoginPolicy
from imctl.hooks.room_list import RoomAllowList, dump_grant
from imctl.hooks.watched_file import WatchedFile


async def allowed(policy: RoomAllowList, room: str, mid: int = 7, grant: bytes = b"") -> bool:
    return (await policy.enter_room(RoomEvent(mid, "k", room, "comet-1", Moment.CHANGE, grant))).allow


@pytest.mark.parametrize(
    ("room", "mid", "expected"),
    [
        ("live://1", 7, True),
        ("live://", 7, True),
        ("LIVE://1", 7, False),
        ("xlive://1", 7, False),
        ("private://7", 7, True),
        ("private://8", 7, False),
        ("private://7", 77, False),
        ("team://a[1]", 7, True),
        ("team://a1", 7, False),
        ("vip://1", 7, False),
    ],
)
async def test_a_room_is_allowed_by_pattern(room, mid, expected):
    policy = RoomAllowList(allow=("live://*", "private://${mid}", "team://a[1]"))

    assert await allowed(policy, room, mid) is expected


async def test_a_room_with_a_star_in_its_name_matches_no_more_than_itself():
    policy = RoomAllowList(allow=("private://${mid}",))

    assert not await allowed(policy, "private://*")


async def test_a_file_says_who_may_be_where(tmp_path):
    path = tmp_path / "rooms.yaml"
    path.write_text("live://*: all\nvip://1: [1, 2]\n")
    policy = RoomAllowList(file=path)

    assert await allowed(policy, "live://9")
    assert await allowed(policy, "vip://1", mid=2)
    assert not await allowed(policy, "vip://1", mid=3)


async def test_a_grant_of_the_token_counts_when_that_is_asked_for():
    grant = dump_grant(["live://*", "private://${mid}"])

    assert await allowed(RoomAllowList(grant=True), "live://1", grant=grant)
    assert await allowed(RoomAllowList(grant=True), "private://7", grant=grant)
    assert not await allowed(RoomAllowList(grant=True), "vip://1", grant=grant)
    assert not await allowed(RoomAllowList(grant=True), "live://1")
    assert not await allowed(RoomAllowList(allow=("vip://1",)), "live://1", grant=grant)


async def test_a_grant_of_another_hook_is_a_failure():
    with pytest.raises(HookError, match="not one of dump_grant"):
        await allowed(RoomAllowList(grant=True), "live://1", grant=b"something else")


async def test_the_time_until_the_next_question_goes_along():
    policy = RoomAllowList(allow=("live://*",), again_s=10)

    assert await policy.enter_room(RoomEvent(7, "k", "live://1", "comet-1", Moment.AGAIN)) == RoomReply(
        True, again_s=10
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n- b", "expected `pattern: all`"),
        ("live://*: some", r"live://\*: is 'some'; expected all, or a list of mids"),
        ("live://*: [a]", r"live://\*: is \['a'\]"),
        ("a: [", "not YAML"),
        ("[" * 1000, "not YAML"),
        # What YAML takes for other numbers than people do: 15, 10, 5400, 10.
        ("live://*: all\nvip://1: [1, 017]", "line 2: 017: expected digits without a 0 in front"),
        ("vip://1: [1_0]", "1_0: expected digits"),
        ("vip://1: [1:30:00]", "1:30:00: expected digits"),
        ("vip://1: [0xA]", "0xA: expected digits"),
        (f"vip://1: [{'9' * 5000}]", "9999: expected digits"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_told(tmp_path, text, problem):
    path = tmp_path / "rooms.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=problem):
        RoomAllowList(file=path)


def test_a_list_that_allows_nothing_is_told():
    with pytest.raises(ConfigError, match="allows nothing"):
        RoomAllowList()
    with pytest.raises(ConfigError, match="again_s is -1"):
        RoomAllowList(allow=("*",), again_s=-1)


def test_a_file_is_read_again_when_it_changes_and_never_more_than_once_a_second(tmp_path):
    path = tmp_path / "list"
    path.write_text("1")
    now = 0.0
    watched = WatchedFile(path, int, clock=lambda: now)

    path.write_text("22")
    assert watched.value() == 1
    now = 1.0
    assert watched.value() == 22
    path.write_text("not a number")
    now = 2.0
    assert watched.value() == 22
    path.unlink()
    now = 3.0
    assert watched.value() == 22
    path.write_text("333")
    now = 4.0
    assert watched.value() == 333


def test_a_file_that_could_not_be_read_is_read_once_it_can_be(tmp_path, monkeypatch):
    path = tmp_path / "list"
    path.write_text("1")
    now, denied = 0.0, False
    read_bytes = Path.read_bytes

    def read(self: Path) -> bytes:
        if denied:
            raise PermissionError(13, "Permission denied")
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", read)
    watched = WatchedFile(path, int, clock=lambda: now)
    path.write_text("22")

    now, denied = 1.0, True
    assert watched.value() == 1
    now, denied = 2.0, False  # a change of its mode leaves all else as it was
    assert watched.value() == 22


def test_a_problem_with_a_file_is_told_once_and_so_is_its_end(tmp_path, caplog):
    path = tmp_path / "list"
    path.write_text("1")
    now = 0.0
    watched = WatchedFile(path, int, clock=lambda: now)
    caplog.set_level(logging.INFO)

    def seconds(count: int) -> list[str]:
        """Look at it once a second; return what was logged, without the path."""
        nonlocal now
        for _ in range(count):
            now += 1
            watched.value()
        told = [record.getMessage().removeprefix(f"{path}") for record in caplog.records]
        caplog.clear()
        return told

    path.write_text("a")
    assert [line[:40] for line in seconds(5)] == [": invalid literal for int() with base 10"]
    path.write_text("bc")
    assert len(seconds(5)) == 1  # another problem
    path.unlink()
    assert ["No such file" in line for line in seconds(5)] == [True]
    path.write_text("333")
    assert seconds(5) == [" has changed and counts from now on"]


def test_a_file_that_was_away_and_is_the_same_again_is_told(tmp_path, caplog):
    path, elsewhere = tmp_path / "list", tmp_path / "away"
    path.write_text("1")
    now = 0.0
    watched = WatchedFile(path, int, clock=lambda: now)
    caplog.set_level(logging.INFO)

    path.rename(elsewhere)
    now = 1.0
    watched.value()
    elsewhere.rename(path)
    now = 2.0
    watched.value()

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "is again as it was before" in caplog.text


OTHERS = {"a": "comet-1", "b": "comet-2"}


@pytest.mark.parametrize(
    ("policy", "event", "reply"),
    [
        (LoginPolicy(), SessionEvent(1, "c", "comet-1", {}), SessionReply()),
        (LoginPolicy(), SessionEvent(1, "c", "comet-1", OTHERS), SessionReply(kick=frozenset("ab"))),
        (LoginPolicy(), SessionEvent(1, "a", "comet-1", OTHERS, "comet-1"), SessionReply(kick=frozenset("ab"))),
        (LoginPolicy(), SessionEvent(1, "a", "comet-2", OTHERS, "comet-1"), SessionReply(kick=frozenset("ab"))),
        (
            LoginPolicy("reject"),
            SessionEvent(1, "c", "comet-1", OTHERS),
            SessionReply(Action.REJECT, reason="already_logged_in"),
        ),
        # The same key on the same comet is the same client, which is back.
        (
            LoginPolicy("reject"),
            SessionEvent(1, "a", "comet-1", {"a": "comet-1"}, "comet-1"),
            SessionReply(kick=frozenset("a")),
        ),
        (
            LoginPolicy("reject"),
            SessionEvent(1, "a", "comet-2", {"a": "comet-1"}, "comet-1"),
            SessionReply(Action.REJECT, reason="already_logged_in"),
        ),
        (
            LoginPolicy("reject", "new"),
            SessionEvent(1, "a", "comet-1", {"a": "comet-1"}, "comet-1"),
            SessionReply(key="", kick=frozenset("a")),
        ),
        (
            LoginPolicy("kick", "new"),
            SessionEvent(1, "a", "comet-1", OTHERS, "comet-1"),
            SessionReply(key="", kick=frozenset("ab")),
        ),
        (
            LoginPolicy("kick", "unique"),
            SessionEvent(1, "a", "comet-1", OTHERS, "comet-1"),
            SessionReply(kick=frozenset("ab")),
        ),
        (LoginPolicy("kick", "unique"), SessionEvent(1, "c", "comet-1", {}, "comet-1"), SessionReply(key="")),
        (LoginPolicy("allow"), SessionEvent(1, "c", "comet-1", OTHERS), SessionReply()),
        (LoginPolicy("allow", "new"), SessionEvent(1, "c", "comet-1", {}), SessionReply(key="")),
        (LoginPolicy("allow", "unique"), SessionEvent(1, "c", "comet-1", {}), SessionReply()),
        (LoginPolicy("allow", "unique"), SessionEvent(1, "c", "comet-1", {}, "comet-3"), SessionReply(key="")),
    ],
)
async def test_logins(policy, event, reply):
    assert await policy.open_session(event) == reply
