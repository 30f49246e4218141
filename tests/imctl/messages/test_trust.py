from __future__ import annotations

import pytest

from imctl.messages.trust import Trust
from tests.imctl.messages.fakes import FakeComets


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def comets() -> FakeComets:
    comets = FakeComets()
    for mid, key in enumerate("abc", 1):
        comets.add(mid, key)
    comets.add(9, "elsewhere", "comet-2")
    return comets


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trust(comets: FakeComets, clock: Clock) -> Trust:
    return Trust(comets, clock)


def on_one(*keys: str) -> list[tuple[str, str]]:
    return [(key, "comet-1") for key in keys]


async def test_a_comet_is_asked_for_one_connection_a_second(trust, comets, clock):
    for key in "abcabc":
        assert await trust.trusted(on_one(key)) == {key}
    assert [key for _, key, _ in comets.calls] == ["a"]

    clock.now_s += 1
    assert await trust.trusted(on_one("c", "b")) == {"b", "c"}

    assert [key for _, key, _ in comets.calls] == ["a", "c"]


async def test_nobody_is_trusted_by_name_of_another_comet(trust, comets):
    assert await trust.trusted([("a", "comet-1"), ("elsewhere", "comet-2")]) == {"a", "elsewhere"}
    assert len(comets.calls) == 2


async def test_after_a_comet_was_found_to_have_lost_one_each_is_asked_for_once(trust, comets, clock):
    await trust.trusted(on_one("a"))
    del comets.clients["comet-1", "a"], comets.clients["comet-1", "b"]
    clock.now_s += 1

    assert await trust.trusted(on_one("a", "b")) == set()
    comets.calls.clear()
    assert await trust.trusted(on_one("b")) == set()
    assert await trust.trusted(on_one("c")) == {"c"}
    assert await trust.trusted(on_one("c")) == {"c"}

    assert [key for _, key, _ in comets.calls] == ["b", "c"]


async def test_a_comet_that_is_away_is_asked_once_a_second_and_nobody_on_it_is_trusted(trust, comets, clock):
    comets.away.add("comet-1")

    await trust.trusted(on_one("a"))
    for _ in range(5):
        assert await trust.trusted(on_one("a", "b")) == set()
    assert len(comets.calls) == 1

    comets.away.clear()
    clock.now_s += 1
    assert await trust.trusted(on_one("a")) == {"a"}
    assert await trust.trusted(on_one("b", "c")) == {"b", "c"}


async def test_a_comet_that_dies_again_is_doubted_again(trust, comets, clock):
    comets.away.add("comet-1")
    await trust.trusted(on_one("a"))
    comets.away.clear()
    clock.now_s += 1
    assert await trust.trusted(on_one("a", "b")) == {"a", "b"}
    comets.clients.clear()
    clock.now_s += 1

    assert await trust.trusted(on_one("a")) == set()
    assert await trust.trusted(on_one("b")) == set()


async def test_a_doubt_ends_when_the_session_store_has_forgotten_the_sessions(trust, comets, clock):
    comets.away.add("comet-1")
    await trust.trusted(on_one("a"))
    comets.away.clear()
    clock.now_s += 1800
    await trust.trusted(on_one("a"))
    comets.calls.clear()

    assert await trust.trusted(on_one("b", "c")) == {"b", "c"}
    assert comets.calls == []
