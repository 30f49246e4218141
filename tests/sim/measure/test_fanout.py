from array import array

from hypothesis import given
from hypothesis import strategies as st

from sim.clients.memo import Entry
from sim.measure.fanout import Arrivals, Reached, Steps, merge_groups
from sim.measure.ledger import Cursor, Delivery, Stay, StreamLog, StreamSummary
from tests.sim.kit import ALL, ROOM, joined_swarm, message, scenario_of, totals, wire


def entries(*sequences, stream=0):
    return [Entry(stream, sequence, 0, 0) for sequence in sequences]


def test_the_spread_is_from_the_first_reader_to_the_last_whoever_told_first():
    arrivals = Arrivals([0])

    arrivals.note(entries(2, 3), 100, 150)
    arrivals.note(entries(2), 90, 95)
    arrivals.note(entries(3), 400, 400)

    assert [arrivals.spread_ns(0, sequence) for sequence in (0, 2, 3, 4)] == [None, 60, 300, None]


def test_streams_of_one_receiver_are_passed_over():
    arrivals = Arrivals([0])

    arrivals.note(entries(0, stream=1), 5, 9)

    assert arrivals.spread_ns(1, 0) is None


def test_a_broken_number_takes_no_memory():
    arrivals = Arrivals([0])

    arrivals.note(entries(900_000_000, 1), 5, 9)

    assert len(arrivals.first[0]) == 2


def test_arrivals_of_processes_add_up():
    here, there = Arrivals([0, 1]), Arrivals([0, 1])
    here.note(entries(0), 100, 120)
    there.note(entries(0, 1), 90, 130)
    there.note(entries(0, stream=1), 7, 9)

    here.merge(there)

    assert [here.spread_ns(0, 0), here.spread_ns(0, 1), here.spread_ns(1, 0)] == [40, 40, 2]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted), max_size=9))
def test_steps_count_what_their_ranges_cover(ranges):
    steps = Steps(8)

    for low, high in ranges:
        steps.add(low, high)

    assert list(steps.counts()) == [sum(low <= at < high for low, high in ranges) for at in range(8)]


def test_groups_of_processes_add_up_and_stay_as_they_are():
    one = {(0, 0, False): Reached(array("q", [1, 1]), array("q", [0, 1]))}
    two = {(0, 0, False): Reached(array("q", [2, 0]), array("q", [1, 0])), (0, 1, True): one[0, 0, False]}

    merged = merge_groups([one, two])

    assert merged[0, 0, False] == Reached(array("q", [3, 1]), array("q", [1, 1]))
    assert merged[0, 1, True] == one[0, 0, False] == Reached(array("q", [1, 1]), array("q", [0, 1]))


@given(
    accepted=st.lists(st.sampled_from([1, 1, 1, 0]), max_size=12),
    members=st.lists(
        st.tuples(
            st.lists(st.integers(0, 11), max_size=14, unique=True),
            st.integers(0, 14),
            st.none() | st.integers(0, 14),
            st.booleans(),
            st.integers(-1, 1),
        ),
        max_size=5,
    ),
)
def test_groups_tell_of_every_message_who_had_to_get_it_and_missed_it(accepted, members):
    length = len(accepted)
    log = StreamLog([0] * length, list(range(length)), [n + 1 for n in range(length)], accepted)
    summary, total = StreamSummary(log, 1), [Delivery()]
    wanted = {}

    for got, joined_ns, left_ns, by_will, comet in members:
        cursor = Cursor()
        for sequence in got:
            cursor.take(sequence)
        stay = Stay(0, joined_ns, left_ns, by_will, comet)
        summary.judge(cursor, stay, total)
        # Who leaves by its own will need get nothing of the second before, which here is all of it.
        end = length if left_ns is None else 0 if by_will else min(left_ns, length)
        for sequence in range(joined_ns, end):
            if accepted[sequence]:
                counts = wanted.setdefault((comet, stay.ended, sequence), [0, 0])
                counts[0] += 1
                counts[1] += sequence not in got

    found = {
        (comet, ended, sequence): [reached.expected[sequence], reached.lost[sequence]]
        for comet, ended, reached in summary.reached()
        for sequence in range(length)
        if reached.expected[sequence]
    }
    assert found == wanted
    assert sum(lost for _, lost in found.values()) == total[0].lost
    assert summary.lost_ends.total() == sum(lost for (_, ended, _), (_, lost) in found.items() if ended)


def test_a_swarm_tells_of_messages_to_several_clients_when_they_were_read_and_who_missed_them():
    swarm = joined_swarm(scenario_of(count=3))
    for client in swarm.clients:
        client.comet = 1
    start_ns = max(client.joined_ns for client in swarm.clients) + 1
    log = StreamLog([0] * 2, [start_ns] * 2, [start_ns + 1] * 2, [1, 1])
    for client in swarm.clients:
        client.data_received(wire([message(ROOM, 0, start_ns)], ws=False))
    swarm.clients[0].data_received(wire([message(ROOM, 1, start_ns)], ws=False))

    result = swarm.finish({ROOM: log})

    assert result.reached == {(ROOM, 1, False): Reached(array("q", [3, 3]), array("q", [0, 2]))}
    assert 0 <= result.arrivals.spread_ns(ROOM, 0) < 10_000_000_000
    assert result.arrivals.spread_ns(ALL, 0) is None
    assert totals(swarm)[0] == Delivery(expected=6, lost=2)
