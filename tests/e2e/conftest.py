"""The real `imctl` in processes of its own, each test with clusters of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

__all__ = ["Imctl", "wait_until"]

ROOT = Path(__file__).parent.parent.parent


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 80.0) -> None:
    """Return once the condition holds; for what other processes do, which no event here tells of."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, f"after {timeout_s} s still not: {what}"
        time.sleep(0.02)


class Imctl:
    """Runs imctl with clusters kept in one folder, and ends what a failed test leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "IMCTL_STATE_DIR": str(folder),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "COLUMNS": "160",
        }
        self._started: list[subprocess.Popen[str]] = []

    def run(self, *args: str, timeout_s: float = 100.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(self._command(args), env=self.env, capture_output=True, text=True, timeout=timeout_s)

    def json(self, *args: str) -> Any:
        """Run a command that must succeed, and return its JSON document."""
        ended = self.run(*args, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def start(self, *args: str, terminal: int | None = None) -> subprocess.Popen[str]:
        """Start a command that goes on; its first line on stdout says it is ready.

        With a terminal, a descriptor, that is its stdin, stdout, stderr and controlling terminal.
        """
        process = subprocess.Popen(
            self._command(args),
            env=self.env,
            stdout=subprocess.PIPE if terminal is None else None,
            stderr=subprocess.PIPE if terminal is None else None,
            text=True,
            preexec_fn=None if terminal is None else lambda: os.login_tty(terminal),
            pass_fds=() if terminal is None else (terminal,),
        )
        self._started.append(process)
        return process

    def processes(self) -> list[psutil.Process]:
        """Return every process that belongs to a cluster of this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if any(word.startswith("imctl.cluster.") or word.endswith("valkey-server") for word in words):
                    if process.environ().get("IMCTL_STATE_DIR") == str(self.folder):
                        found.append(process)
            except psutil.Error:
                continue
        return found

    def end_all(self) -> None:
        """End what is left."""
        for started in self._started:
            started.kill()
            started.communicate()
        for process in self.processes():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue

    def _command(self, args: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "imctl", *args]


@pytest.fixture
def imctl(tmp_path: Path) -> Iterator[Imctl]:
    """An imctl with a folder of its own."""
    command = Imctl(tmp_path / "state")
    try:
        yield command
    finally:
        command.end_all()
