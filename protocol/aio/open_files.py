"""Room for many sockets: a shell's limit of open files is often 1,024, and a connection is one."""

from __future__ import annotations

import resource

__all__ = ["raise_open_files"]

# Above the first Linux has nothing by default; macOS refuses more than its kern.maxfilesperproc,
# also where the hard limit is infinite.
_WANTED = (1_048_576, 245_760, 65_536, 10_240)


def raise_open_files() -> int:
    """Raise this process's limit of open files as far as it may, and return it; never lower it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    most = _WANTED[0] if hard == endless else min(hard, _WANTED[0])
    for wanted in (most, *(one for one in _WANTED if one < most)):
        if soft == endless or wanted <= soft:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            break
        except (ValueError, OSError):
            continue
    found = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _WANTED[0] if found == endless else found
