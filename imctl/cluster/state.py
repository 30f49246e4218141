"""Where a running cluster leaves word of itself.

One folder a cluster, `<root>/<cluster>/`, for its user only: `state.json`
(what `find_cluster` reads, written whole or not at all), `lock` (held by the
supervisor as long as it lives, so that there is never a second one),
`logs/<node>.log`, and `data/`, what embedded servers keep until the cluster
stops. The control socket is there too unless the path is too long
for a socket. A supervisor that was killed leaves the files; they are known to
be stale by its pid together with the time that process started.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from imctl.errors import ConfigError, StartError

__all__ = [
    "ClusterFolder",
    "check_cluster_name",
    "process_alive",
    "process_start",
    "state_root",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SOCKET_PATH_BYTES = 100
"""sun_path is 108 bytes on Linux, 104 on macOS, with the closing 0."""


def state_root() -> Path:
    """Return the folder of all clusters of this user; it need not exist."""
    root = os.environ.get("IMCTL_STATE_DIR")
    if root:
        return Path(root).absolute()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "imctl"
    return Path(tempfile.gettempdir()) / f"imctl-{os.getuid()}"


def check_cluster_name(name: str) -> str:
    """Return the name.

    Raises:
        ConfigError: it cannot be a folder's name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"cluster name {name!r}: expected letters, digits, '.', '_' and '-', at most 64, a letter or digit first"
        )
    return name


def process_start(pid: int) -> str:
    """Return a mark of when a process started, "" when there is none: a pid alone may be another's by now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except OSError:  # ended while it was read
        return ""
    else:
        # proc(5): field 3 is the state, 22 the start in clock ticks since boot; 3 is the first after ")".
        return "" if fields[0] in "ZX" else fields[19]
    import psutil  # no /proc: macOS

    try:
        return f"{psutil.Process(pid).create_time():.3f}"
    except psutil.Error:
        return ""


def process_alive(pid: int, start: str) -> bool:
    """Whether the process that had this pid and this start mark still runs."""
    return bool(start) and process_start(pid) == start


class ClusterFolder:
    """The files of one cluster.

    Args:
        cluster: Its name.

    Raises:
        ConfigError: the name is not acceptable.
    """

    def __init__(self, cluster: str) -> None:
        self.cluster = check_cluster_name(cluster)
        self.path = state_root() / cluster
        self.state = self.path / "state.json"
        self.logs = self.path / "logs"
        self.data = self.path / "data"
        """What embedded servers keep until the cluster stops, a folder each."""
        self._lock: IO[bytes] | None = None

    @property
    def control(self) -> Path:
        """Path of the control socket, short enough for one."""
        path = self.path / "control.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            return path
        mark = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"imctl-{os.getuid()}-{mark}.sock"

    def acquire(self) -> None:
        """Make the folder and take the lock, until release() or the end of the process.

        Raises:
            StartError: a cluster of this name is up, or the folder belongs to another user.
        """
        self.make()
        self.logs.mkdir(exist_ok=True, mode=0o700)
        # Not a with block: the lock is held for as long as the file is open.
        lock = (self.path / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.close()
            state = self.read() or {}
            pid = state.get("supervisor", {}).get("pid")
            by = f" (supervisor pid {pid})" if pid else ""
            raise StartError(
                f"cluster {self.cluster!r} is already up{by}",
                hint="end it with `imctl down`, or start another: `imctl up --cluster NAME --any-port`",
            ) from exc
        self._lock = lock
        self._remove_files()  # of one that was killed

    def make(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            StartError: it is there and others may write to it, so that they could end the cluster, or worse.
        """
        for path in (self.path.parent, self.path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = path.stat()
            shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
            if found.st_uid not in (os.getuid(), 0) or shared:
                raise StartError(
                    f"{path} can be written by others than this user", hint="set IMCTL_STATE_DIR to another folder"
                )

    def release(self, *, keep_logs: bool = True) -> None:
        """Remove state and socket and give the lock back; without keep_logs the whole folder. Safe to call twice."""
        if self._lock is not None:
            self._remove_files()
            if not keep_logs:
                shutil.rmtree(self.path, ignore_errors=True)
            self._lock.close()
            self._lock = None

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace state.json in one step; a reader sees the old or the new one."""
        scratch = self.state.with_suffix(".tmp")
        scratch.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        scratch.replace(self.state)

    def read(self) -> dict[str, Any] | None:
        """Return what state.json says, None when there is none or it is not ours; alive or not. Any: JSON."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return state if isinstance(state, dict) and isinstance(state.get("supervisor"), dict) else None

    def _remove_files(self) -> None:
        for path in (self.state, self.control):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        shutil.rmtree(self.data, ignore_errors=True)
