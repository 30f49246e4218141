import os
import subprocess
import sys
import time

import pytest

from sim.run import clocks
from sim.run.clocks import CLOCK_AHEAD_VARIABLE, ClockOffset, RoundTrip, estimate_offset


def test_the_fastest_round_trip_tells_the_offset_and_half_of_it_is_the_bound():
    slow = RoundTrip(asked_ns=0, there_ns=5_000_900, answered_ns=1_000)
    fast = RoundTrip(asked_ns=2_000, there_ns=5_002_050, answered_ns=2_100)

    assert estimate_offset([slow, fast]) == ClockOffset(ahead_ns=5_000_000, bound_ns=50)


@pytest.mark.parametrize("there_ns", [1_000, 1_030, 1_100], ids=["at once", "between", "at the end"])
def test_the_bound_holds_wherever_between_question_and_answer_the_other_clock_was_read(there_ns):
    ahead_ns = -77

    found = estimate_offset([RoundTrip(1_000, there_ns + ahead_ns, 1_100)])

    assert abs(found.ahead_ns - ahead_ns) <= found.bound_ns == 50


def test_a_drift_until_the_end_of_the_run_is_in_the_bound():
    start = ClockOffset(1_000, 10)

    assert start.widened_by(ClockOffset(1_300, 20)) == ClockOffset(1_000, 320)
    assert start.widened_by(ClockOffset(1_001, 2)) == start


def test_the_clock_of_a_run_on_one_machine_is_the_machines_own():
    assert CLOCK_AHEAD_VARIABLE not in os.environ
    assert clocks.monotonic_ns is time.monotonic_ns


def test_a_process_on_another_machine_has_the_publishers_clock():
    show = "import time; from sim.run.clocks import monotonic_ns as now; print(now() - time.monotonic_ns())"
    env = os.environ | {CLOCK_AHEAD_VARIABLE: str(3_600_000_000_000)}
    shown = subprocess.run(
        [sys.executable, "-c", show], env=env, capture_output=True, text=True, timeout=60, check=True
    )

    assert -3_610_000_000_000 < int(shown.stdout) <= -3_600_000_000_000
