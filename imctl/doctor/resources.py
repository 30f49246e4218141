"""Cores, disks, the state folder and the clocks."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

from imctl.cluster.logs import MAX_LOG_BYTES
from imctl.cluster.state import ClusterFolder
from imctl.doctor.contract import Condition, Status, judged, unknown
from imctl.doctor.load import Load
from imctl.errors import ImctlError

__all__ = [
    "MESSAGES_BYTES",
    "check_clock",
    "check_cores",
    "check_disks",
    "check_monotonic",
    "check_state_folder",
    "log_bytes",
]

MESSAGES_BYTES = 1_000_000_000
"""Of a message store: a million messages of 1 KB; it has no bound of its own unless one is set."""
_LEAST_CORES = 2
_STEPS = 1_000
_COARSEST_S = 1e-3  # a hop of a push is a fraction of a millisecond


def check_cores(count: int, quota: float | None, load_1m: float | None) -> Condition:
    """Judge how much can run at a time.

    Args:
        count: Cores that this process may use.
        quota: Cores' worth of time that a container gets; None when nothing limits it.
        load_1m: Processes that wanted to run in the last minute; None where the system does not tell.
    """
    usable = count if quota is None else min(count, quota)
    found = f"{usable:g}" + (f" of {count} by the container's quota" if usable < count else "")
    if load_1m is not None:
        found += f", load {load_1m:.1f}"
    facts = {"cores": count, "quota": quota, "load_1m": load_1m}
    required = f"{_LEAST_CORES}, idle"
    if usable < _LEAST_CORES:
        fix = "cluster and simulator share one core: runs will be invalid early"
        return Condition("cores", Status.WARNING, required, found, fix, facts)
    if load_1m is not None and load_1m > usable:
        fix = "something else is busy: latencies will show it, see top"
        return Condition("cores", Status.WARNING, required, found, fix, facts)
    return Condition("cores", Status.OK, required, found, "", facts)


def log_bytes(load: Load) -> int:
    """Return what the logs of a cluster for so many clients can come to."""
    # Each has two files; beside the comets there are core and supervisor.
    return 2 * MAX_LOG_BYTES * (load.comets + 2)


def check_disks(uses: Mapping[str, tuple[Path, int]]) -> list[Condition]:
    """Judge the free space of the folders that are written to.

    Args:
        uses: {what for: (folder, which need not exist yet; bytes that are wanted)}.
    """
    return [_disk(what, path, needed) for what, (path, needed) in uses.items()]


def _disk(what: str, path: Path, needed: int) -> Condition:
    name, required = f"disk: {what}", f"{needed / 1e6:,.0f} MB free"
    there = next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))
    try:
        free = shutil.disk_usage(there).free
    except OSError as exc:
        return unknown(name, required, f"{there}: {exc.strerror}")
    fix = f"make room, or another place than {path}"
    found = f"{free / 1e9:,.1f} GB ({there})"
    return judged(name, free >= needed, required, found, fix, otherwise=Status.WARNING, free_bytes=free, path=str(path))


def check_state_folder(root: Path) -> Condition:
    """Do in the state folder what the start of a cluster does, and take it back.

    Args:
        root: As state_root() has it; removed again when it was not there.
    """
    name, required = "state folder", "this user's alone"
    was_there = root.exists()
    try:
        folder = ClusterFolder(f"doctor-{os.getpid()}")
        folder.acquire()
        folder.release(keep_logs=False)
    except ImctlError as exc:
        return Condition(name, Status.FAILED, required, exc.message, exc.hint)
    finally:
        if not was_there and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
    return Condition(name, Status.OK, required, str(root))


def check_clock(now_s: float, installed_s: float) -> Condition:
    """Judge the system clock, which tokens and kept messages are dated by.

    Args:
        now_s: As time.time() has it.
        installed_s: When the files of this package were written.
    """
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now_s))
    required = "after imctl's install"
    return judged(
        "system clock",
        now_s >= installed_s,
        required,
        shown,
        "set it: timedatectl set-ntp true",
        otherwise=Status.WARNING,
    )


def check_monotonic(read_ns: Callable[[], int] = time.monotonic_ns) -> Condition:
    """Judge the clock that latencies are measured by.

    Args:
        read_ns: The clock.
    """
    reads = [read_ns() for _ in range(_STEPS)]
    steps = [after - before for before, after in pairwise(reads)]
    smallest_ns = min((step for step in steps if step > 0), default=None)
    required = "never back, steps under 1 ms"
    if min(steps) < 0:
        return Condition("monotonic clock", Status.FAILED, required, f"went back by {-min(steps):,} ns", "none here")
    if smallest_ns is None:
        return Condition(
            "monotonic clock", Status.WARNING, required, "stood still for 1,000 reads", "latencies are coarse"
        )
    is_fine = smallest_ns / 1e9 < _COARSEST_S
    fix = "latencies below its step show as 0"
    return judged(
        "monotonic clock",
        is_fine,
        required,
        f"steps of {smallest_ns:,} ns",
        fix,
        otherwise=Status.WARNING,
        step_ns=smallest_ns,
    )
