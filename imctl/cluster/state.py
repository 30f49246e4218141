"""Where a running cluster leaves word of itself.

One folder a cluster, `<root>/<cluster>/`, for its user only: `state.json`
(what `find_cluster` reads, written whole or not at all), `lock` (held by the
supervisor as long as it lives, so that there is never a second one; its pid
is in it),
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
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import IO, Any

from imctl.cluster.naming import check_cluster_name, command_for, start_hint
from imctl.errors import ClusterError, ConfigError, ImctlError, StartError

__all__ = [
    "ClusterFolder",
    "StateError",
    "process_alive",
    "process_start",
    "remove_left_over",
    "state_root",
    "state_value",
    "usable",
]

log = logging.getLogger(__name__)

_HINT = "set IMCTL_STATE_DIR to a folder that only this user may write"
_KINDS = {str: "text", int: "a whole number", dict: "a mapping", list: "a list", NoneType: "null"}
_MAX_SHOWN = 60
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


class StateError(ClusterError):
    """The state file of a cluster is damaged, or of another version of imctl."""


@contextlib.contextmanager
def usable(what: str) -> Iterator[None]:
    """Translate an OSError on the files of a cluster.

    Args:
        what: What is done with them, for the message.

    Raises:
        ConfigError: the state folder is of no use.
    """
    try:
        yield
    except OSError as exc:
        reason = "it is no folder" if isinstance(exc, FileExistsError) else exc.strerror or str(exc)
        where = f"{exc.filename}: " if exc.filename else ""
        raise ConfigError(f"{what}: {where}{reason}", hint=_HINT) from exc


def state_value(values: Mapping[str, Any], key: str, *kinds: type, where: str = "") -> Any:
    """Return a value of a state file. Any: JSON.

    Args:
        values: A mapping of the file.
        key: Of the value.
        kinds: What it may be: str, int, dict, list, NoneType.
        where: Path to the mapping, with a dot at its end.

    Raises:
        ValueError: it is not there, or something else.
    """
    expected = " or ".join(_KINDS[kind] for kind in kinds)
    if key not in values:
        raise ValueError(f"{where}{key} is missing; expected {expected}")
    value = values[key]
    if type(value) not in kinds:  # and not isinstance: true is no number here
        shown = json.dumps(value, ensure_ascii=False)
        shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
        raise ValueError(f"{where}{key} is {shown}; expected {expected}")
    return value


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


def remove_left_over(prefix: str) -> None:
    """Remove the folders of clusters called PREFIX-PID whose process has ended without doing so: it was killed."""
    for path in state_root().glob(f"{prefix}-*"):
        pid = path.name.removeprefix(f"{prefix}-")
        # The lock decides; the pid leaves those alone that have not taken it yet.
        if pid.isdecimal() and not process_start(int(pid)):
            folder = ClusterFolder(path.name)
            try:
                folder.acquire()
            except ImctlError as exc:
                log.info("%s is left where it is: %s", path, exc)
            else:
                folder.release(keep_logs=False)


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

        What an owner that is dead has left is removed, whatever it is.

        Raises:
            StartError: a cluster of this name is up.
            ConfigError: the folder cannot be used, or others than this user may write to it.
        """
        self.make()
        with usable(f"cluster {self.cluster!r} cannot be kept"):
            self.logs.mkdir(exist_ok=True, mode=0o700)
            # Not a with block: the lock is held for as long as the file is open.
            lock = (self.path / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.close()
            raise StartError(
                f"cluster {self.cluster!r} is already up{self._supervisor_text()}",
                hint=f"end it with `{command_for(self.cluster, 'imctl down')}`, "
                "or start another: `imctl up --cluster NAME --any-port`",
            ) from exc
        self._lock = lock
        with usable(f"cluster {self.cluster!r} cannot be kept"):
            self._remove_files()  # of one that was killed
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
            lock.flush()

    @property
    def is_held(self) -> bool:
        """Whether a supervisor that lives has the lock; the state file may say what it likes."""
        try:
            with (self.path / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # there is none
            return False
        return False

    def make(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            ConfigError: it cannot be made; or it is there and others may write to it, so that they could end the
                cluster, or worse.
        """
        for path in (self.path.parent, self.path):
            with usable("the state folder cannot be used"):
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
                found = path.stat()
            shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
            if found.st_uid not in (os.getuid(), 0) or shared:
                raise ConfigError(f"{path} can be written by others than this user", hint=_HINT)

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
        with usable(f"cluster {self.cluster!r} cannot be kept"):
            scratch.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
            scratch.replace(self.state)

    def read(self) -> dict[str, Any] | None:
        """Return what state.json says, None when there is none; whether its cluster lives is another matter. Any: JSON.

        Of its values only `supervisor` is checked: `pid`, an int, and `start`, a str.

        Raises:
            StateError: it cannot be read, or it is no state file that this imctl understands.
            ConfigError: what should be the state folder is none, or somebody else's.
        """
        try:
            text = self.state.read_text(encoding="utf-8")
            state = json.loads(text)
            if not isinstance(state, dict):
                raise ValueError("it is JSON, but no mapping")
            supervisor = state_value(state, "supervisor", dict)
            state_value(supervisor, "pid", int, where="supervisor.")
            state_value(supervisor, "start", str, where="supervisor.")
        except FileNotFoundError:
            return None
        except (NotADirectoryError, PermissionError):
            with usable("the state folder cannot be used"):
                raise
        except OSError as exc:
            raise self.unreadable(exc.strerror or str(exc)) from exc
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as exc:
            raise self.unreadable("it is no JSON") from exc
        except ValueError as exc:
            raise self.unreadable(str(exc)) from exc
        return state

    def unreadable(self, why: str) -> StateError:
        """Return the error to raise when state.json cannot be used."""
        if self.is_held:
            pid = self._supervisor_pid()
            hint = (
                f"a cluster of this name runs{self._supervisor_text()}, perhaps of another version of imctl: "
                f"end it with that one{f', or with `kill {pid}`' if pid else ''}"
            )
        else:
            hint = f"no supervisor runs there: `{start_hint(self.cluster)}` replaces the file, or remove it"
        return StateError(f"cluster {self.cluster!r}: state file {self.state} cannot be used: {why}", hint=hint)

    def _supervisor_pid(self) -> int:
        """Return who has written itself into the lock last, 0 when that is nobody."""
        try:
            return int((self.path / "lock").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def _supervisor_text(self) -> str:
        pid = self._supervisor_pid()
        return f" (supervisor pid {pid})" if pid else ""

    def _remove_files(self) -> None:
        for path in (self.state, self.control):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)
