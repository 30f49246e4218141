import random

import pytest

from sim.network.lane import Conditions, Lane
from sim.network.wheel import DelayWheel
from sim.scenario.scenario import Network
from tests.sim.network_kit import MS, VirtualTime


def conditions(*networks, seed=1):
    return Conditions(networks, random.Random(seed))


class End:
    """A lane with a virtual clock, and what comes out of it."""

    def __init__(self):
        self.time = VirtualTime()
        self.begin_ns = self.time.now_ns
        self.got = []
        self.lane = Lane(DelayWheel(self.time.clock, self.time.call_later), self._take)

    def _take(self, data):
        self.got.append((data, (self.time.now_ns - self.begin_ns) / MS))

    def send(self, data, network):
        self.lane.send(data, network, self.time.now_ns)

    @property
    def data(self):
        return b"".join(data for data, _ in self.got)

    @property
    def times(self):
        return [at_ms for _, at_ms in self.got]


def test_latency_delays_everything_by_as_much():
    end = End()

    for number in range(3):
        end.send(b"%d" % number, conditions(Network(latency_s=0.05)))
        end.time.advance(20)
    end.time.advance(100)

    assert end.data == b"012"
    assert end.times == [50, 70, 90]


def test_jitter_comes_on_top_and_nothing_overtakes():
    end = End()
    network = conditions(Network(latency_s=0.05, jitter_s=0.04))
    sent = bytes(range(200))

    for number in sent:
        end.send(bytes([number]), network)
        end.time.advance(1)
    end.time.advance(100)

    delays = [at_ms - number for number, at_ms in enumerate(end.times)]
    assert end.data == sent
    assert 50 <= min(delays) < 60
    assert 80 < max(delays) <= 91


def test_jitter_follows_from_the_seed():
    draws = [[conditions(Network(jitter_s=1.0), seed=seed).draw_ns() for _ in range(1)] for seed in (1, 1, 2)]

    assert draws[0] == draws[1] != draws[2]


def test_networks_add_up_and_of_two_bandwidths_the_lower_one_holds():
    network = conditions(
        Network(0.05, 0.02, 1e6),
        Network(0.2, 0.05),
        Network(bandwidth_bytes_per_s=1e5),
    )

    assert network.delay_ns == 320 * MS
    assert 250 * MS <= network.draw_ns() <= 320 * MS
    assert network.ns_per_byte == 10_000
    assert not network.is_plain
    assert conditions().is_plain


@pytest.mark.parametrize("chunk", [100, 5000, 100_000])
def test_bandwidth_lets_so_many_bytes_a_second_through_however_they_come(chunk):
    end = End()
    network = conditions(Network(bandwidth_bytes_per_s=100_000))

    for at in range(0, 100_000, chunk):
        end.send(bytes(min(chunk, 100_000 - at)), network)
    end.time.advance(500)
    half = len(end.data)
    end.time.advance(499)
    nearly = len(end.data)
    end.time.advance(2)

    assert 49_000 <= half <= 50_000
    assert nearly < 100_000 == len(end.data)
    # Bit by bit, not all at the end.
    assert max(len(data) for data, _ in end.got) <= 1460


def test_a_bandwidth_that_is_not_used_up_delays_by_the_time_of_the_bytes_alone():
    end = End()
    network = conditions(Network(latency_s=0.01, bandwidth_bytes_per_s=100_000))

    for _ in range(3):
        end.send(bytes(1000), network)
        end.time.advance(100)

    assert end.times == [20, 120, 220]


def test_what_comes_later_waits_for_what_is_on_its_way_also_when_the_network_is_better_by_then():
    end = End()

    end.send(b"a", conditions(Network(latency_s=0.2)))
    end.send(b"b", conditions())
    end.time.advance(199)
    before = end.data
    end.time.advance(2)

    assert (before, end.data) == (b"", b"ab")


def test_a_shut_lane_holds_what_comes_and_brings_it_in_order_when_all_have_opened_it():
    end = End()
    end.send(b"a", conditions(Network(latency_s=0.05)))

    end.lane.shut()
    end.lane.shut()
    end.time.advance(100)
    end.send(b"b", conditions())
    end.time.advance(1)
    end.lane.open()
    assert (end.got, end.lane.queued, end.lane.is_idle) == ([], 2, False)
    end.lane.open()

    assert end.data == b"ab"
    assert (end.lane.queued, end.lane.is_idle) == (0, True)


def test_who_shuts_it_again_meanwhile_gets_no_more():
    end = End()
    got = []

    def take(data):
        got.append(data)
        end.lane.shut()

    end.lane._deliver = take
    end.lane.shut()
    for data in (b"a", b"b"):
        end.send(data, conditions())
    end.time.advance(5)

    end.lane.open()
    assert got == [b"a"]
    end.lane.open()

    assert got == [b"a", b"b"]


def test_a_closed_lane_loses_what_is_on_its_way():
    end = End()
    end.send(b"a", conditions(Network(latency_s=0.05)))

    end.lane.close()
    end.send(b"b", conditions())
    end.time.advance(100)

    assert (end.got, end.lane.queued) == ([], 0)


def test_the_end_of_the_stream_comes_after_all_of_it():
    end = End()
    network = conditions(Network(bandwidth_bytes_per_s=10_000))

    end.send(bytes(2000), network)
    end.send(b"", network)
    end.time.advance(300)

    assert end.got[-1][0] == b""
    assert len(end.data) == 2000


def test_the_lag_is_what_is_still_to_wait():
    end = End()
    end.send(bytes(1000), conditions(Network(latency_s=0.1, bandwidth_bytes_per_s=10_000)))

    end.time.advance(50)

    assert end.lane.lag_ns(end.time.now_ns) == 150 * MS
    assert end.lane.lag_ns(end.time.now_ns + 1000 * MS) == 0


@pytest.mark.parametrize(
    ("network", "low", "high"),
    [
        (Network(latency_s=0.05), 1 << 20, 1 << 20),
        (Network(bandwidth_bytes_per_s=1000), 16384, 16384),
        (Network(latency_s=0.1, bandwidth_bytes_per_s=1e6), 200_000, 200_000),
        (Network(latency_s=10.0, bandwidth_bytes_per_s=1e9), 1 << 20, 1 << 20),
    ],
)
def test_what_may_be_on_its_way_is_bounded_and_enough_for_the_bandwidth(network, low, high):
    assert low <= conditions(network).window_bytes <= high
