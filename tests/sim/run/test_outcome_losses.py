"""Where a report says that messages and connections were lost, and what nodes tell of it."""

from collections import Counter
from dataclasses import replace

from sim.measure.ledger import Delivery
from sim.report.model import EventReport
from tests.sim.kit import NOWHERE
from tests.sim.run.outcomes import judged, lost, result, sample


def test_losses_are_told_by_the_place_that_counted_the_drop():
    report = judged(
        **lost(some=7, cut_off=3),
        before=[sample(comet__slow_client=5), sample("core", job__full=1)],
        after=[sample(comet__slow_client=9), sample("core", job__full=1)],
    )

    assert report.delivery.lost_at == {"comet.slow_client": 4, "client.connection_lost": 3, "unknown": 3}
    assert report.phases[1].delivery.lost_at == report.delivery.lost_at
    assert report.phases[0].delivery.lost_at == {}
    assert [(node.name, dict(node.drops)) for node in report.nodes] == [
        ("comet-1", {"comet.slow_client": 4}),
        ("core", {}),
    ]


def test_a_drop_of_a_message_stands_for_everybody_who_was_to_get_it():
    report = judged(**lost(whole=2, some=1), before=[sample()], after=[sample(job__comet_timeout=2)])

    assert report.delivery.lost_at == {"job.comet_timeout": 6, "unknown": 1}


def test_the_places_of_losses_are_no_more_than_the_losses():
    report = judged(
        **lost(some=2, cut_off=8), before=[sample()], after=[sample(comet__unknown_key=50, comet__slow_client=60)]
    )

    assert sum(report.delivery.lost_at.values()) == report.delivery.lost == 10
    assert report.delivery.lost_at["client.connection_lost"] == 8
    assert dict(report.nodes[0].drops) == {"comet.unknown_key": 50, "comet.slow_client": 60}


def test_losses_of_a_worker_that_did_not_tell_which_are_unknown():
    report = judged(results=[result(deliveries=[Delivery(), Delivery(expected=40, lost=4), Delivery()])])

    assert report.delivery.lost_at == {"unknown": 4}


def test_who_was_cut_off_by_a_killed_comet_is_told_with_its_name():
    kill = EventReport(2.0, "kill", "comet-1", 1)
    target = replace(NOWHERE, names=("comet-1",))

    report = judged(**lost(cut_off=5), target=target, node_events=[kill])

    assert report.delivery.lost_at == {"comet-1.killed": 5}


def test_drops_without_a_loss_are_not_losses():
    report = judged(before=[sample()], after=[sample(comet__slow_client=9)])

    assert report.delivery.lost_at == {}


def test_a_node_that_was_restarted_counts_from_zero():
    report = judged(
        **lost(some=2),
        before=[sample(pid=1, cpu_s=50.0, comet__slow_client=100)],
        after=[sample(pid=2, cpu_s=0.25, comet__slow_client=2)],
    )

    assert report.delivery.lost_at == {"comet.slow_client": 2}
    assert (report.nodes[0].cpu_s, dict(report.nodes[0].drops)) == (0.25, {"comet.slow_client": 2})


def test_cpu_of_a_node_is_that_of_the_run_and_none_where_it_does_not_tell():
    report = judged(
        before=[sample(cpu_s=1.0), sample("other", cpu_s=None)], after=[sample(cpu_s=3.5), sample("other", cpu_s=None)]
    )

    assert [node.cpu_s for node in report.nodes] == [2.5, None]


def test_connections_that_ended_and_attempts_to_come_back_are_told():
    again = Counter({"connect: refused": 7})
    results = [result(lost_connections=3, reconnects=1, away=2, again_failures=again)] * 2

    report = judged(results=results, workers=2, expect=["delivery.lost > 0"])

    assert (report.clients.disconnected, report.clients.reconnects) == (6, 2)
    assert report.reasons[1:] == (
        "6 clients: connection ended during the run",
        "4 clients: on their way back when the run ended",
        "14 attempts to come back: connect: refused",
    )
