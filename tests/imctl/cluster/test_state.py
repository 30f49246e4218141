from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imctl.cluster.state import (
    ClusterFolder,
    StateError,
    process_alive,
    process_start,
    remove_left_over,
    state_root,
    state_value,
)
from imctl.errors import ConfigError, StartError


def test_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "own"))
    assert state_root() == tmp_path / "own"

    monkeypatch.delenv("IMCTL_STATE_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert state_root() == tmp_path / "imctl"

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    assert state_root().name == f"imctl-{os.getuid()}"


def test_a_second_cluster_of_the_same_name_is_refused_until_the_first_lets_go() -> None:
    first, second = ClusterFolder("a"), ClusterFolder("a")
    first.acquire()
    with pytest.raises(StartError, match=rf"'a' is already up \(supervisor pid {os.getpid()}\)") as caught:
        second.acquire()
    first.release()
    second.acquire()
    second.release()

    assert "`imctl down --cluster a`" in caught.value.hint
    assert "--any-port" in caught.value.hint


def test_state_is_there_until_release_and_logs_stay() -> None:
    folder = ClusterFolder("a")
    folder.acquire()
    folder.write({"supervisor": {"pid": 1, "start": "1"}, "nodes": []})
    (folder.logs / "core.log").write_text("x\n")
    assert folder.read() == {"supervisor": {"pid": 1, "start": "1"}, "nodes": []}

    folder.release()

    assert folder.read() is None
    assert (folder.logs / "core.log").exists()
    folder.release()


def test_acquire_cleans_up_after_one_that_was_killed() -> None:
    dead = ClusterFolder("a")
    dead.acquire()
    dead.release()
    dead.write({"supervisor": {"pid": 1, "start": "long ago"}})
    dead.control.touch()

    folder = ClusterFolder("a")
    folder.acquire()

    assert folder.read() is None
    assert not folder.control.exists()
    folder.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"supervisor": 3}', '{"supervisor": {"pid": 1, "start": 1}}'])
def test_a_broken_state_file_is_told_and_taken_over(text: str) -> None:
    folder = ClusterFolder("a")
    folder.make()
    folder.state.write_text(text)

    with pytest.raises(StateError, match="'a': state file .* cannot be used") as caught:
        folder.read()
    folder.acquire()

    assert "`imctl up --cluster a --any-port` replaces the file" in caught.value.hint
    assert folder.read() is None
    folder.release()


def test_folders_in_place_of_files_are_taken_over() -> None:
    folder = ClusterFolder("a")
    (folder.state / "x").mkdir(parents=True)
    folder.control.mkdir()

    with pytest.raises(StateError, match="directory"):
        folder.read()
    folder.acquire()

    assert not folder.state.exists()
    assert not folder.control.exists()
    folder.release()


def test_a_broken_state_file_of_a_cluster_that_runs_says_who_that_is() -> None:
    owner, reader = ClusterFolder("a"), ClusterFolder("a")
    owner.acquire()
    owner.state.write_text('{"version": 7}')

    with pytest.raises(StateError, match="supervisor is missing; expected a mapping") as caught:
        reader.read()
    held = reader.is_held
    owner.release()

    assert f"runs (supervisor pid {os.getpid()}), perhaps of another version" in caught.value.hint
    assert f"`kill {os.getpid()}`" in caught.value.hint
    assert (held, reader.is_held) == (True, False)


def test_what_a_killed_run_has_left_is_removed_and_nothing_else() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    dead, held = ClusterFolder(f"sim-{child.pid}"), ClusterFolder(f"simx-{child.pid}")
    others = [held, *(ClusterFolder(name) for name in (f"sim-{os.getpid()}", "sim-mine", "blue"))]
    for folder in (dead, *others):
        folder.make()
    dead.logs.mkdir()
    dead.state.write_text("{}")
    held.acquire()

    remove_left_over("simx")
    remove_left_over("sim")

    assert not dead.path.exists()
    assert all(folder.path.is_dir() for folder in others)
    held.release()


@pytest.mark.parametrize("name", ["lock", "logs"])
def test_something_else_in_place_of_the_clusters_files_is_told(name: str) -> None:
    folder = ClusterFolder("a")
    folder.make()
    place = folder.path / name
    place.mkdir() if name == "lock" else place.touch()

    with pytest.raises(ConfigError, match=f"cluster 'a' cannot be kept: {place}: ") as caught:
        folder.acquire()

    assert "IMCTL_STATE_DIR" in caught.value.hint


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_root_that_cannot_be_a_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "file" / below))

    for use in (ClusterFolder("a").make, ClusterFolder("a").read, ClusterFolder("a").acquire):
        with pytest.raises(ConfigError, match="the state folder cannot be used: ") as caught:
            use()
        assert "set IMCTL_STATE_DIR" in caught.value.hint


def test_a_value_that_is_shown_is_not_endless() -> None:
    with pytest.raises(ValueError, match=r'^pid is "x{59}\.\.\.; expected a whole number or null$'):
        state_value({"pid": "x" * 1000}, "pid", int, type(None))


def test_a_folder_that_others_may_write_is_refused() -> None:
    folder = ClusterFolder("a")
    folder.path.mkdir(parents=True)
    folder.path.chmod(0o777)

    with pytest.raises(ConfigError, match="can be written by others"):
        folder.acquire()


def test_control_socket_path_fits_into_a_socket_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / ("x" * 120)))

    path = ClusterFolder("a").control

    assert len(os.fsencode(path)) < 104
    assert path != ClusterFolder("b").control


def test_a_process_is_alive_only_with_its_own_start() -> None:
    start = process_start(os.getpid())
    assert process_alive(os.getpid(), start)
    assert not process_alive(os.getpid(), "1")

    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        mark = process_start(child.pid)
    assert mark
    assert not process_alive(child.pid, mark)
    assert process_start(child.pid) == ""
