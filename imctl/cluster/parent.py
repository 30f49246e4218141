"""A process that never outlives the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["die_with_parent", "die_with_stdin"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process, and what it executes, when its parent ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the call above
        os._exit(1)


def die_with_stdin() -> None:
    """Have a process of its own kill this one when stdin, a pipe that the parent holds, is closed.

    For programs that do not look at their stdin, on systems that have nothing like die_with_parent().
    Call it while there are no threads.
    """
    watched = os.getpid()
    if os.fork():
        return
    os.setsid()  # what signals the watched process's group is not meant for the watcher
    while os.read(0, 1):
        pass
    if os.getppid() == watched:
        os.kill(watched, signal.SIGKILL)
    os._exit(0)
