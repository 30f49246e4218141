from __future__ import annotations

from imctl.doctor.contract import Status
from imctl.doctor.delivery import Delivery, check_delivery

HOPS = {"push": 0.4, "logic": 0.1, "wire": None}


def test_a_message_that_was_read_shows_its_time_by_hop():
    row = check_delivery(Delivery(1.234, True, HOPS, 5.0))

    assert (row.status, row.found) == (Status.OK, "1.23 ms: push 0.40, logic 0.10")
    assert row.facts["hops_ms"] == HOPS


def test_a_go_cluster_shows_the_whole_time_only():
    assert check_delivery(Delivery(1.5, True, {}, 5.0)).found == "1.50 ms"


def test_a_slow_message_is_a_warning():
    assert check_delivery(Delivery(800.0, True, HOPS, 5.0)).status is Status.WARNING


def test_a_message_that_was_not_read_fails_with_the_hops_that_were_seen():
    row = check_delivery(Delivery(0.5, False, HOPS, 5.0, {"comet": "comet-1 is paused"}))

    assert (row.status, row.found, row.fix) == (
        Status.FAILED,
        "not read; hops seen: push, logic, wire",
        "comet-1 is paused",
    )


def test_what_nodes_say_of_the_loss_comes_first():
    row = check_delivery(Delivery(None, False, {}, 5.0, {}, ("job-1: job.no_comet",)))

    assert (row.status, row.found) == (Status.FAILED, "job-1: job.no_comet")
