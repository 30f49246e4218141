"""`imctl up` that is ended before its cluster is ready: nothing of it goes on."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from imctl.cluster.spec import ClusterOptions, plan
from tests.e2e.conftest import Imctl, wait_until


@pytest.fixture
def silent_registry() -> Iterator[str]:
    """A registry that takes connections and never answers, so that no node gets ready."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("mode", "number"), [(["--detach"], signal.SIGTERM), ([], signal.SIGINT)], ids=["detached", "foreground"]
)
def test_a_start_that_is_interrupted_leaves_nothing(
    imctl: Imctl, silent_registry: str, mode: list[str], number: signal.Signals
) -> None:
    process = imctl.start("up", "--any-port", "--registry", silent_registry, *mode)
    wait_until(lambda: _children(imctl), "its nodes are being started")

    process.send_signal(number)
    out, err = process.communicate(timeout=80)

    assert (process.returncode, out) == (130, "")
    assert "nothing is left running" in err
    assert imctl.processes() == []
    assert imctl.run("ps").returncode == 4


def test_a_cluster_that_nobody_was_told_of_ends(imctl: Imctl) -> None:
    command = [sys.executable, "-m", "imctl.cluster.daemon", str(time.monotonic_ns())]
    daemon = subprocess.Popen(
        command, env=imctl.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    assert daemon.stdin is not None
    assert daemon.stderr is not None

    daemon.stdout.close()  # as when `imctl up --detach` is killed
    daemon.stdin.write(json.dumps(plan(ClusterOptions(any_port=True, comets=0)).dump()))
    daemon.stdin.close()
    err = daemon.stderr.read()
    daemon.stderr.close()

    assert (daemon.wait(timeout=80), err) == (1, "")
    assert imctl.processes() == []
    assert _files(imctl.folder / "default") == {"lock", "logs"}


def _children(imctl: Imctl) -> bool:
    found = False
    for process in imctl.processes():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            found |= "imctl.cluster.child" in process.cmdline()
    return found


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
