from __future__ import annotations

from pathlib import Path

import pytest

from imctl.doctor.contract import Status
from imctl.doctor.load import Load
from imctl.doctor.resources import (
    check_clock,
    check_cores,
    check_disks,
    check_monotonic,
    check_state_folder,
    log_bytes,
)


@pytest.mark.parametrize(
    ("count", "quota", "load_1m", "status", "found"),
    [
        (4, None, 0.5, Status.OK, "4, load 0.5"),
        (4, None, None, Status.OK, "4"),
        (4, None, 9.0, Status.WARNING, "4, load 9.0"),
        (1, None, 0.0, Status.WARNING, "1, load 0.0"),
        (8, 1.5, 0.0, Status.WARNING, "1.5 of 8 by the container's quota, load 0.0"),
        (2, 8.0, 0.0, Status.OK, "2, load 0.0"),
    ],
)
def test_cores_are_those_that_may_be_used(count, quota, load_1m, status, found):
    row = check_cores(count, quota, load_1m)

    assert (row.status, row.found) == (status, found)


def test_a_disk_is_that_of_the_nearest_folder_there_is(tmp_path):
    missing = tmp_path / "not" / "yet"

    (row,) = check_disks({"messages": (missing, 1)})

    assert (row.name, row.status) == ("disk: messages", Status.OK)
    assert f"({tmp_path})" in row.found


def test_a_disk_with_too_little_room_is_a_warning(tmp_path):
    (row,) = check_disks({"logs": (tmp_path, 1 << 60)})

    assert row.status is Status.WARNING
    assert str(tmp_path) in row.fix


def test_logs_grow_with_the_comets():
    assert log_bytes(Load(100_000, 9, 7)) > log_bytes(Load(1_000, 1, 2)) > 0


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_state_folder_that_is_made_for_the_check_is_removed_again(state):
    row = check_state_folder(state)

    assert (row.status, row.found) == (Status.OK, str(state))
    assert not state.exists()


def test_a_state_folder_that_was_there_stays_as_it_was(state):
    (state / "default").mkdir(parents=True, mode=0o700)

    assert check_state_folder(state).status is Status.OK
    assert [path.name for path in state.iterdir()] == ["default"]


def test_a_state_folder_that_others_may_write_fails(state):
    state.mkdir()
    state.chmod(0o777)

    row = check_state_folder(state)

    assert row.status is Status.FAILED
    assert "can be written by others" in row.found
    assert "IMCTL_STATE_DIR" in row.fix


def test_a_file_in_the_place_of_the_state_folder_fails(state):
    state.write_text("")

    assert check_state_folder(state).status is Status.FAILED


def test_a_clock_before_the_install_is_wrong():
    assert check_clock(1_000_000.0, 0.0).status is Status.OK
    assert check_clock(0.0, 1_000_000.0).status is Status.WARNING


@pytest.mark.parametrize(
    ("step_ns", "status"),
    [(50, Status.OK), (15_600_000, Status.WARNING), (0, Status.WARNING), (-5, Status.FAILED)],
)
def test_the_monotonic_clock_is_judged_by_its_steps(step_ns, status):
    reads = iter(range(10**12, 10**12 + 2000 * (step_ns or 1), step_ns)) if step_ns > 0 else None
    now = [10**12]

    def read_ns() -> int:
        if reads is not None:
            return next(reads)
        now[0] += step_ns
        return now[0]

    assert check_monotonic(read_ns).status is status


def test_this_machines_monotonic_clock_never_goes_back():
    assert check_monotonic().status is not Status.FAILED
