import os
import pickle
import subprocess
import sys

import pytest

from sim.clients.plan import without_contents
from sim.language.load import load_scenario
from sim.language.shipped import find_scenario, shipped_scenarios
from sim.measure.fanout import Arrivals
from sim.measure.histogram import Histogram
from sim.run.messages import Job, Progress, Seen
from sim.run.packing import LENGTH_BYTES, UnpackError, frame, pack, unpack
from tests.sim.kit import NOWHERE


class Harmful:
    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return self.what


def test_messages_come_back_as_they_were():
    histogram = Histogram()
    histogram.record(5_000_000, 3)

    progress = unpack(pack(Progress(1, 2, 3, 4, {5: histogram})))

    assert (progress.alive, list(progress.seconds[5].buckets())) == (3, list(histogram.buckets()))
    assert unpack(pack(Seen(((1, 2),)))) == Seen(((1, 2),))
    assert list(unpack(pack(Arrivals((1, 2)))).first) == [1, 2]


def test_a_frame_says_its_length():
    data = frame(b"abc")

    assert (int.from_bytes(data[:LENGTH_BYTES], "big"), data[LENGTH_BYTES:]) == (3, b"abc")


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ((os.system, ("false",)), "system"),
        ((eval, ("1",)), "builtins.eval"),
        ((getattr, (Seen, "places")), "builtins.getattr"),
        ((subprocess.Popen, (["false"],)), "subprocess.Popen"),
        ((pack, (1,)), "sim.run.packing.pack"),
    ],
    ids=["system", "eval", "getattr", "Popen", "own function"],
)
def test_nothing_is_called_that_is_no_value_of_a_run(what, named):
    with pytest.raises(UnpackError, match=named):
        unpack(pickle.dumps(Harmful(*what)))


@pytest.mark.parametrize("data", [b"", b"\x80", pack(Seen(()))[:-3], b"nonsense"])
def test_broken_bytes_are_one_kind_of_error(data):
    with pytest.raises(UnpackError):
        unpack(data)


def test_a_worker_can_read_the_job_of_every_shipped_scenario():
    # It has imported only what it needs itself, and classes of anything else are refused.
    jobs = b"".join(
        frame(pack(Job(kind(load_scenario(find_scenario(name), env={})), NOWHERE, 1)))
        for name in shipped_scenarios()
        for kind in (without_contents, lambda scenario: scenario)
    )
    read = """
import sys
import sim.clients.worker, sim.publish.publisher
from sim.run.packing import unpack
data, count = sys.stdin.buffer.read(), 0
while data:
    length = int.from_bytes(data[:4], "big")
    unpack(data[4 : 4 + length])
    data, count = data[4 + length :], count + 1
print(count)
"""
    done = subprocess.run([sys.executable, "-c", read], input=jobs, capture_output=True, timeout=60)

    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) == 2 * len(shipped_scenarios()) > 10
