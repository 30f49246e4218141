"""`python -m imctl.cluster.execute PARENT_PID PROGRAM ARGUMENTS...`: become a program that dies with the supervisor.

The process stays the same, so that its pid, CPU time and memory are the
program's, and a signal to it reaches the program.
"""

from __future__ import annotations

import os
import signal
import sys

from imctl.cluster.parent import die_with_parent, die_with_stdin

__all__ = ["main"]


def main() -> None:
    """Become the program."""
    die_with_parent(int(sys.argv[1]))
    if sys.platform != "linux":
        die_with_stdin()
    # As nodes do: Ctrl-C is for the supervisor. What is ignored stays so in the program.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
