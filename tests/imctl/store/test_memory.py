from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imctl.store.contract import OnlineReport
from imctl.store.immediate import ImmediateStore
from imctl.store.memory import MemoryStore


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def new_store(expire_s: float = 100) -> tuple[MemoryStore, Clock]:
    clock = Clock()
    return MemoryStore(expire_s=expire_s, clock=clock), clock


def test_it_answers_at_once():
    assert isinstance(MemoryStore(), ImmediateStore)


def test_a_session_expires():
    store, clock = new_store()
    store.add_now(1, "k", "comet-1")

    clock.now_s += 99.9
    assert store.servers_by_key_now(["k"]) == {"k": "comet-1"}
    clock.now_s += 0.1

    assert store.servers_by_key_now(["k"]) == {}
    assert store.sessions_by_mid_now([1]) == {}
    assert store.remove_now(1, "k", "comet-1") is False


def test_refresh_gives_a_session_its_whole_time_again():
    store, clock = new_store()
    store.add_now(1, "a", "comet-1")
    store.add_now(1, "b", "comet-1")
    clock.now_s += 60
    store.refresh_now(1, "a", "comet-1")
    clock.now_s += 60

    assert store.sessions_by_mid_now([1]) == {1: {"a": "comet-1"}}


def test_refresh_makes_an_expired_session_again():
    store, clock = new_store()
    store.add_now(1, "k", "comet-1")
    clock.now_s += 200

    store.refresh_now(1, "k", "comet-1")

    assert store.sessions_by_mid_now([1]) == {1: {"k": "comet-1"}}


def test_refresh_by_an_old_server_does_not_take_the_session_back():
    store, _ = new_store()
    store.add_now(1, "k", "comet-2")

    store.refresh_now(1, "k", "comet-1")

    assert store.servers_by_key_now(["k"]) == {"k": "comet-2"}


def test_a_key_that_comes_back_under_another_user_is_no_longer_the_first_ones():
    store, _ = new_store()
    store.add_now(1, "k", "comet-1")

    store.add_now(2, "k", "comet-1")

    assert store.sessions_by_mid_now([1, 2]) == {2: {"k": "comet-1"}}


def test_expired_sessions_are_let_go_as_new_ones_come():
    store, clock = new_store()
    for i in range(100):
        store.add_now(i, f"old{i}", "comet-1")
    clock.now_s += 200

    for i in range(60):
        store.add_now(i, f"new{i}", "comet-1")

    assert store.held == 60
    assert len(store._mids) == 59


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "refresh", "remove", "wait"]),
            st.integers(0, 3),
            st.sampled_from("abcd"),
            st.sampled_from(["s", "t"]),
        ),
        max_size=60,
    )
)
def test_any_calls_leave_keys_and_mids_agreeing(calls):
    store, clock = new_store()
    for name, mid, key, server in calls:
        if name == "wait":
            clock.now_s += 40
        else:
            getattr(store, f"{name}_now")(mid, key, server)

        by_mid = store.sessions_by_mid_now([1, 2, 3])
        merged = {key: server for sessions in by_mid.values() for key, server in sessions.items()}
        by_key = store.servers_by_key_now("abcd")
        assert merged.items() <= by_key.items()
        assert sum(map(len, by_mid.values())) == len(merged)


async def test_a_report_expires():
    store, clock = new_store()
    await store.set_online("comet-1", OnlineReport({"a": 1}, 1))

    clock.now_s += 100

    assert await store.online("comet-1") is None
