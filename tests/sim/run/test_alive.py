from sim.run.alive import AliveSeconds


def told(*states, workers=1):
    seconds = AliveSeconds()
    for worker, alive, second in states:
        seconds.tell(worker, alive, second=second, workers=workers)
    return seconds.fewest


def test_a_drop_that_is_over_within_the_second_is_kept():
    assert told(("w", 150, 3), ("w", 100, 3), ("w", 128, 3), ("w", 150, 3), ("w", 150, 4)) == {3: 100, 4: 150}


def test_workers_are_added_up_each_by_what_it_told_last():
    states = [("a", 50, 0), ("b", 50, 0), ("a", 20, 1), ("b", 45, 1), ("a", 50, 2)]

    assert told(*states, workers=2) == {0: 100, 1: 65, 2: 95}


def test_nothing_is_counted_before_every_worker_has_told_of_the_run():
    assert told(("a", 3, -1), ("b", 1, -1), ("a", 50, 0), ("b", 40, 0), workers=2) == {0: 90}
    assert told(("a", 50, 0), ("a", 50, 1), workers=2) == {}
