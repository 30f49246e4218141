from __future__ import annotations

import os

from imctl.cluster.usage import Meter


def test_a_process_has_memory_and_cpu_time() -> None:
    usage = Meter().read(os.getpid())

    assert usage["rss_bytes"] > 1_000_000
    assert usage["cpu_s"] > 0


def test_questions_close_together_get_the_same_percentage() -> None:
    meter = Meter()

    first, second = meter.read(os.getpid()), meter.read(os.getpid())

    assert first["cpu_percent"] == second["cpu_percent"]


def test_no_process_is_all_zeros() -> None:
    assert Meter().read(None) == {"cpu_s": 0.0, "cpu_percent": 0.0, "rss_bytes": 0}
