from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imctl.cluster.state import ClusterFolder, check_cluster_name, process_alive, process_start, state_root
from imctl.errors import ConfigError, StartError


def test_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "own"))
    assert state_root() == tmp_path / "own"

    monkeypatch.delenv("IMCTL_STATE_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert state_root() == tmp_path / "imctl"

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    assert state_root().name == f"imctl-{os.getuid()}"


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "x" * 65])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cluster name"):
        check_cluster_name(name)


def test_a_second_cluster_of_the_same_name_is_refused_until_the_first_lets_go() -> None:
    first, second = ClusterFolder("a"), ClusterFolder("a")
    first.acquire()
    first.write({"supervisor": {"pid": 77, "start": "1"}})

    with pytest.raises(StartError, match=r"'a' is already up \(supervisor pid 77\)") as caught:
        second.acquire()
    first.release()
    second.acquire()
    second.release()

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


@pytest.mark.parametrize("text", ["", "{", "[]", '{"supervisor": 3}'])
def test_a_broken_state_file_is_no_cluster(text: str) -> None:
    folder = ClusterFolder("a")
    folder.path.mkdir(parents=True)
    folder.state.write_text(text)

    assert folder.read() is None


def test_a_folder_that_others_may_write_is_refused() -> None:
    folder = ClusterFolder("a")
    folder.path.mkdir(parents=True)
    folder.path.chmod(0o777)

    with pytest.raises(StartError, match="can be written by others"):
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
