import pytest

from sim.clients.memo import Chunk, ChunkMemo, Entry, code_of, group

MS = 1_000_000


def entry(sequence, stream=0, intended_ns=0):
    return Entry(stream, sequence, intended_ns, 0)


def test_one_run_of_one_stream_has_where_it_begins_and_ends():
    chunk = Chunk((entry(5, 3), entry(6, 3)))

    assert (chunk.first, chunk.next) == (code_of(3, 5), code_of(3, 7))


@pytest.mark.parametrize(
    "entries",
    [
        (entry(1), entry(3)),
        (entry(2), entry(1)),
        (entry(1), entry(1)),
        (entry(1, 0), entry(2, 1)),
    ],
    ids=["gap", "back", "twice", "two streams"],
)
def test_anything_else_matches_no_place_a_client_can_be_at(entries):
    # -1 is where a client is that has received nothing, or half a frame.
    assert Chunk(entries).first not in (-1, *(code_of(one.stream, one.sequence) for one in entries))


def test_messages_of_one_instant_and_phase_are_one_group():
    entries = (entry(1, intended_ns=5), entry(2, intended_ns=5), entry(3, intended_ns=6), Entry(0, 4, 6, 1))

    assert group(entries) == ((5, 0, 2), (6, 0, 1), (6, 1, 1))


def test_the_highest_sequence_of_a_stream_does_not_run_into_the_next_one():
    assert code_of(1, 2**32 - 1) < code_of(2, 0)


class Recorder:
    def __init__(self):
        self.spans = []

    def __call__(self, groups, at_ns, count):
        self.spans.append((groups, at_ns, count))


def deliver(memo, chunk, now_ns):
    if now_ns < chunk.until_ns:
        chunk.waiting += 1
    else:
        memo.roll(chunk, now_ns)


def test_every_delivery_is_recorded_within_half_a_percent_of_when_it_was():
    recorder = Recorder()
    memo = ChunkMemo(recorder)
    chunk = memo.add(b"x", (entry(0), entry(1, intended_ns=2 * MS)))
    times = [5 * MS + number * 777 for number in range(3000)]

    for now_ns in times:
        deliver(memo, chunk, now_ns)
    memo.settle_all()

    recorded = [at_ns for _, at_ns, count in recorder.spans for _ in range(count)]
    assert len(recorded) == len(times)
    assert len(recorder.spans) < len(times) / 10
    for at_ns, now_ns in zip(recorded, times, strict=True):
        # Counted from the newest message, whose latency is the smallest.
        assert at_ns - 2 * MS == pytest.approx(now_ns - 2 * MS, rel=0.005)


def test_the_shortest_latencies_are_recorded_to_a_microsecond():
    recorder = Recorder()
    memo = ChunkMemo(recorder)
    chunk = memo.add(b"x", (entry(0),))

    for now_ns in (20_000, 21_000, 22_000, 23_000):
        deliver(memo, chunk, now_ns)
    memo.settle_all()

    recorded = [at_ns for _, at_ns, count in recorder.spans for _ in range(count)]
    assert recorded == pytest.approx([20_000, 21_000, 22_000, 23_000], abs=1100)


def test_settling_twice_records_once():
    recorder = Recorder()
    memo = ChunkMemo(recorder)
    deliver(memo, memo.add(b"x", (entry(0),)), MS)

    memo.settle_all()
    memo.settle_all()

    assert [count for _, _, count in recorder.spans] == [1]


def test_a_full_memo_records_the_oldest_chunk_and_forgets_it(monkeypatch):
    monkeypatch.setattr("sim.clients.memo._CAPACITY", 2)
    recorder = Recorder()
    memo = ChunkMemo(recorder)

    for number in range(4):
        deliver(memo, memo.add(bytes([number]), (entry(number, intended_ns=number),)), MS)

    assert list(memo.chunks) == [b"\2", b"\3"]
    assert [groups for groups, _, _ in recorder.spans] == [((0, 0, 1),), ((1, 0, 1),)]
