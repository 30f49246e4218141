from sim.clients.swarm import SwarmResult
from sim.measure.histogram import Histogram
from sim.run.locust_figures import RunFigures
from sim.run.messages import Health, Progress, Result

NS_PER_MS = 1_000_000


def histogram_of(*times_ms):
    histogram = Histogram()
    for time_ms in times_ms:
        histogram.record(int(time_ms * NS_PER_MS))
    return histogram


def figures_at(now_s):
    rows = []
    return rows, RunFigures(rows.append, lambda: now_s)


def test_deliveries_of_a_second_are_one_row_with_rounded_times():
    rows, figures = figures_at(1_000.5)

    figures.add(Progress(0, 0, 7, 4, {3: histogram_of(5, 5, 147, 3432)}))

    [row] = rows
    assert (row.method, row.count, row.timeless, row.failures) == ("DELIVER", 4, 0, 0)
    assert row.times_ms == {5: 2, 150: 1, 3400: 1}
    assert (round(row.min_ms), round(row.max_ms)) == (5, 3432)
    assert abs(row.total_ms - 3589) < 3589 * 0.01
    # Second 3 is told when second 4 is over too, so now is second 5.
    assert row.per_second == {998: 4}
    assert figures.alive == 7


def test_later_seconds_stand_where_they_belong():
    rows, figures = figures_at(1_000.5)

    figures.add(Progress(0, 0, 0, 0, {0: histogram_of(1)}))
    figures.add(Result(SwarmResult(), Health(0.0, Histogram()), {1: histogram_of(1), 2: histogram_of(1, 1)}))

    assert [dict(row.per_second) for row in rows] == [{998: 1}, {999: 1, 1000: 2}]
    assert figures.alive == 0


def test_connects_are_counted_once_and_without_a_time():
    rows, figures = figures_at(50.0)

    for connected, failed in ((3, 0), (3, 0), (5, 1)):
        figures.add(Progress(connected, failed, connected, 0))

    assert [(row.method, row.count, row.timeless, row.failures) for row in rows] == [
        ("CONNECT", 3, 3, 0),
        ("CONNECT", 3, 3, 1),
    ]
    assert [dict(row.per_second) for row in rows] == [{50: 3}, {50: 3}]


def test_a_message_without_figures_makes_no_row():
    rows, figures = figures_at(1.0)

    figures.add(Progress(0, 0, 0, 0, {1: Histogram()}))
    figures.add("something else")

    assert rows == []
