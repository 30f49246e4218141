from __future__ import annotations

import pytest

from imctl.doctor.contract import Status
from imctl.doctor.load import (
    CLIENT_BYTES,
    Load,
    check_capacity,
    check_memory,
    check_open_files,
    check_process_capacity,
    most_by_files,
    most_by_memory,
    needed_bytes,
)
from imctl.open_files import connections_within

MANY = Load(100_000, 9, 7)


def plan(clients: int) -> Load:
    return Load(clients, max(1, -(-clients // 12_000)), max(2, -(-clients // 15_000)))


def test_a_process_holds_its_share_of_the_clients():
    assert MANY.clients_of_a_process == 14_286
    assert Load(1_000, 1, 2).clients_of_a_process == 1_000


def test_open_files_are_enough_for_the_share_of_a_process():
    row = check_open_files(1_024, 20_000, 20_000, MANY)

    assert (row.status, row.required, row.found) == (Status.OK, "14,798 a process", "soft 1,024, hard 20,000")


def test_too_few_open_files_say_how_many_processes_would_do():
    row = check_open_files(4_096, 4_096, 4_096, MANY)

    assert row.status is Status.FAILED
    assert "imctl up --comet 28, imctl sim --workers 28; or ulimit -Hn 14798" in row.fix
    assert row.facts["needed"] == 14_798


def test_only_the_processes_that_are_too_few_are_named():
    row = check_open_files(20_000, 20_000, 20_000, Load(100_000, 1, 7))

    assert row.fix.startswith("more processes: imctl up --comet 6; or")


def test_no_limit_is_said_so():
    row = check_open_files(256, -1, 245_760, Load(1_000, 1, 1))

    assert (row.status, row.found) == (Status.OK, "soft 256, hard unlimited")


def test_a_process_has_some_files_open_beside_its_clients():
    row = check_process_capacity(20_000, MANY)

    assert row.facts["clients"] == connections_within(20_000)
    assert row.required == "14,286 (9 comets, 7 workers)"


def test_memory_counts_clients_and_processes():
    needed = needed_bytes(MANY)

    assert needed > 100_000 * CLIENT_BYTES
    assert check_memory(needed, MANY).status is Status.OK
    assert check_memory(needed - 1, MANY).status is Status.FAILED
    assert check_memory(None, MANY).status is Status.UNKNOWN


def test_most_by_memory_is_the_last_number_that_fits():
    free = needed_bytes(plan(50_000))
    most = most_by_memory(free, plan)

    assert most is not None
    assert needed_bytes(plan(most)) <= free < needed_bytes(plan(most + 1))
    assert most_by_memory(0, plan) == 0
    assert most_by_memory(None, plan) is None


def test_both_ends_of_a_connection_are_open_files_of_the_system():
    assert most_by_files(10_000, 2_000) == 4_000
    assert most_by_files(None, 2_000) is None


@pytest.mark.parametrize(
    ("limits", "status", "found"),
    [
        ({"memory": 923_456, "files": 1_200_000, "other": None}, Status.OK, "some 920,000 (bound by memory)"),
        ({"memory": 923_456, "files": 60_123}, Status.FAILED, "some 60,000 (bound by files)"),
        ({"memory": None}, Status.UNKNOWN, "unknown: this system tells no limit"),
        ({"memory": 10_000_000}, Status.OK, "over 9,999,999 (bound by memory)"),
        ({"memory": 7}, Status.FAILED, "some 7 (bound by memory)"),
    ],
)
def test_capacity_is_the_least_of_what_each_thing_allows(limits, status, found):
    row = check_capacity(MANY, limits)

    assert (row.status, row.found) == (status, found)
