"""Which messages were lost, and in which second of the run: StreamSummary.losses() and what becomes of it."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sim.measure.ledger import Cursor, Delivery, Stay, StreamLog, StreamSummary
from tests.sim.kit import joined_swarm, message, scenario_of, wire

S = 1_000_000_000


@given(
    accepted=st.lists(st.sampled_from([1, 1, 1, 0]), max_size=20),
    receivers=st.lists(st.lists(st.integers(0, 19), max_size=25), max_size=5),
    joined_ns=st.integers(0, 25),
    left_ns=st.none() | st.integers(0, 25),
)
def test_losses_are_the_acknowledged_messages_that_a_member_did_not_see(accepted, receivers, joined_ns, left_ns):
    length = len(accepted)
    log = StreamLog([0] * length, list(range(length)), [n + 1 for n in range(length)], accepted)
    summary, total, expected = StreamSummary(log, 1), [Delivery()], Counter()
    end = length if left_ns is None else left_ns

    for arrivals in receivers:
        arrivals = [sequence for sequence in arrivals if sequence < length]
        cursor = Cursor() if arrivals else None
        for sequence in arrivals:
            cursor.take(sequence)
        summary.judge(cursor, Stay(0, joined_ns, left_ns), total)
        expected.update(n for n in range(joined_ns, min(end, length)) if accepted[n] and n not in arrivals)

    assert dict(summary.losses()) == expected
    assert sum(count for _, count in summary.losses()) == total[0].lost


def test_a_swarm_counts_losses_by_the_second_of_the_push():
    swarm = joined_swarm(scenario_of(count=2))
    swarm._t0_ns = t0_ns = max(client.joined_ns for client in swarm.clients) + 1
    sent_ns = [t0_ns, t0_ns + S // 2, t0_ns + 2 * S, t0_ns + 3 * S]
    log = StreamLog([0] * 4, sent_ns, [at_ns + 1 for at_ns in sent_ns], [1] * 4)
    swarm.clients[0].data_received(wire([message(0, 0), message(0, 3)], ws=False))
    swarm.clients[1].data_received(wire([message(0, 0), message(0, 1), message(0, 2)], ws=False))

    result = swarm.finish({0: log})

    assert result.lost_seconds == {0: 1, 2: 1, 3: 1}


def test_without_the_publishers_log_nobody_knows():
    assert joined_swarm(scenario_of(count=1)).finish(None).lost_seconds is None
