from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys

from protocol.aio.open_files import raise_open_files

soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


# In a process of its own: a limit that was lowered cannot be raised again.
@pytest.mark.parametrize(("soft", "hard", "expected"), [(64, 500, 500), (500, 500, 500), (64, 64, 64)])
def test_the_limit_is_raised_as_far_as_it_may(soft: int, hard: int, expected: int) -> None:
    command = [sys.executable, "-c", SCRIPT, str(soft), str(hard)]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)

    assert ended.stdout.split() == [str(expected), str(expected), str(hard)]
