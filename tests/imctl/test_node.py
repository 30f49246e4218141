from __future__ import annotations

from imctl.node import Counters


def test_named_counters_begin_at_zero_and_new_ones_with_their_first_count():
    counters = Counters("pushes", "drops")

    counters.add("pushes")
    counters.add("late", 3)
    counters.add("late", 2)

    assert counters.values == {"pushes": 1, "drops": 0, "late": 5}


def test_nonzero_leaves_out_what_has_counted_nothing():
    counters = Counters("pushes", "drops")
    counters.add("pushes", 2)
    counters.add("nothing", 0)

    assert counters.nonzero() == {"pushes": 2}
    counters.nonzero()["pushes"] = 99
    assert counters.values["pushes"] == 2
