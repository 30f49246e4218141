import asyncio
from time import monotonic_ns

import pytest

from sim.network.wheel import SLOT_NS, DelayWheel
from tests.sim.network_kit import MS, VirtualTime


class Receiver:
    def __init__(self, time):
        self.got = []
        self._time = time

    def release(self, data):
        self.got.append((data, self._time.now_ns))


def wheel_of(time):
    return DelayWheel(time.clock, time.call_later)


@pytest.mark.parametrize("early_ns", [0, 300_000, 900_000])
def test_nothing_comes_early_and_nothing_over_a_slot_late(early_ns):
    time = VirtualTime(early_ns=early_ns)
    wheel, receiver = wheel_of(time), Receiver(time)
    dues = [time.now_ns + delay for delay in (0, 1, 5 * MS, 5 * MS + 1, 90 * MS, 90 * MS + 500_000)]
    for number, due_ns in enumerate(dues):
        wheel.add(due_ns, receiver, b"%d" % number)

    time.advance(200)

    assert [int(data) for data, _ in receiver.got] == list(range(6))
    for due_ns, (_, at_ns) in zip(dues, receiver.got, strict=True):
        assert due_ns <= at_ns <= due_ns + SLOT_NS + (MS if early_ns else 0)


def test_what_is_due_sooner_than_the_rest_does_not_wait_for_it():
    time = VirtualTime()
    wheel, receiver = wheel_of(time), Receiver(time)
    wheel.add(time.now_ns + 500 * MS, receiver, b"late")
    wheel.add(time.now_ns + 10 * MS, receiver, b"soon")

    time.advance(20)
    soon = [data for data, _ in receiver.got]
    time.advance(480)

    assert soon == [b"soon"]
    assert [data for data, _ in receiver.got] == [b"soon", b"late"]


def test_one_timer_serves_all_that_is_due_together():
    time = VirtualTime()
    wheel = wheel_of(time)
    receivers = [Receiver(time) for _ in range(1000)]
    for receiver in receivers:
        wheel.add(time.now_ns + 50 * MS, receiver, b"x")

    time.advance(100)

    assert all(len(receiver.got) == 1 for receiver in receivers)
    assert time.woken == 1


def test_what_is_added_meanwhile_comes_too():
    time = VirtualTime()
    wheel, receiver = wheel_of(time), Receiver(time)

    class Echo:
        def release(self, data):
            wheel.add(time.now_ns, receiver, data)

    wheel.add(time.now_ns + MS, Echo(), b"x")
    time.advance(5)

    assert [data for data, _ in receiver.got] == [b"x"]


def test_a_receiver_that_fails_does_not_cost_the_others_their_bytes():
    time = VirtualTime()
    wheel, receiver = wheel_of(time), Receiver(time)

    class Broken:
        def release(self, data):
            raise RuntimeError("broken")

    wheel.add(time.now_ns + MS, Broken(), b"x")
    wheel.add(time.now_ns + MS, receiver, b"y")
    with pytest.raises(RuntimeError, match="broken"):
        time.advance(2)
    time.advance(2)

    assert [data for data, _ in receiver.got] == [b"y"]


def test_nothing_comes_after_the_end():
    time = VirtualTime()
    wheel, receiver = wheel_of(time), Receiver(time)
    wheel.add(time.now_ns + MS, receiver, b"x")

    wheel.close()
    time.advance(10)

    assert (receiver.got, time.woken) == ([], 0)


async def test_the_running_loop_is_its_clock_by_default():
    loop = asyncio.get_running_loop()
    came = asyncio.Event()

    class Sets:
        def release(self, data):
            came.set()

    begin = loop.time()
    DelayWheel().add(monotonic_ns() + 30 * MS, Sets(), b"x")
    await came.wait()

    assert loop.time() - begin >= 0.028
