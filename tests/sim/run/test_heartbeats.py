import pytest

from sim.run.heartbeats import Heartbeats

S = 1_000_000_000


class Clock:
    def __init__(self):
        self.ns = 0

    def __call__(self):
        return self.ns


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def heartbeats(clock):
    return Heartbeats(10.0, clock)


def pass_time(heartbeats, clock, seconds, *, heard=()):
    """Let time pass as it does in a process that runs, and return who was found to hang."""
    hung = {}
    for _ in range(round(seconds * 10)):
        clock.ns += S // 10
        for name in heard:
            heartbeats.heard(name)
        hung |= heartbeats.look()
    return hung


def test_one_that_says_nothing_while_others_speak_hangs_and_is_told_once(heartbeats, clock):
    heartbeats.expect("worker 1")
    heartbeats.expect("worker 2")

    assert pass_time(heartbeats, clock, 9.9, heard=["worker 2"]) == {}
    assert pass_time(heartbeats, clock, 0.2, heard=["worker 2"]) == {"worker 1": 10.0}
    assert pass_time(heartbeats, clock, 20, heard=["worker 2"]) == {}


def test_any_word_begins_the_wait_anew(heartbeats, clock):
    heartbeats.expect("worker 1")
    pass_time(heartbeats, clock, 9.5)

    heartbeats.heard("worker 1")

    assert pass_time(heartbeats, clock, 9.5) == {}


def test_the_first_word_may_take_longer(heartbeats, clock):
    heartbeats.expect("worker 1", 30.0)

    assert pass_time(heartbeats, clock, 29) == {}
    assert heartbeats.notable() == ""
    heartbeats.heard("worker 1")
    assert list(pass_time(heartbeats, clock, 11)) == ["worker 1"]


def test_time_in_which_this_process_stood_still_is_nobodys_silence(heartbeats, clock):
    heartbeats.expect("worker 1")
    clock.ns += 60 * S

    assert heartbeats.look() == {}
    assert list(pass_time(heartbeats, clock, 9.6)) == ["worker 1"]


def test_one_that_has_nothing_to_say_is_not_listened_to(heartbeats, clock):
    heartbeats.expect("publisher")
    heartbeats.forget("publisher")
    heartbeats.heard("publisher")
    heartbeats.forget("publisher")

    assert pass_time(heartbeats, clock, 20) == {}


def test_silence_is_told_before_it_is_too_long(heartbeats, clock):
    heartbeats.expect("worker 1")
    heartbeats.expect("worker 2")

    pass_time(heartbeats, clock, 2.9, heard=["worker 2"])
    before = heartbeats.notable()
    pass_time(heartbeats, clock, 1.2, heard=["worker 2"])

    assert (before, heartbeats.notable()) == ("", "nothing from worker 1 for 4 s")
