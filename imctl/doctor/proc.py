"""Numbers of the Linux kernel, read from a given root of `/proc` and `/sys`; None where there are none."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cgroup_cores", "cgroup_free_bytes", "netstat", "sysctl", "tracked_connections", "used_files"]

_NO_LIMIT_BYTES = 1 << 60  # cgroup v1 writes a number near 2**63 where nothing is limited


def _numbers(path: Path) -> list[int] | None:
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return None


def _first(path: Path) -> int | None:
    found = _numbers(path)
    return found[0] if found else None


def sysctl(root: Path, name: str) -> list[int] | None:
    """Return the numbers of a setting such as `net.core.somaxconn`.

    Args:
        root: Folder that has `proc/` in it.
        name: With dots.
    """
    return _numbers(root / "proc/sys" / name.replace(".", "/"))


def used_files(root: Path) -> int | None:
    """Return how many files are open in the whole system."""
    return _first(root / "proc/sys/fs/file-nr")


def tracked_connections(root: Path) -> tuple[int, int] | None:
    """Return how many connections the firewall follows now, and at most; None when it follows none at all."""
    now = _first(root / "proc/sys/net/netfilter/nf_conntrack_count")
    most = _first(root / "proc/sys/net/netfilter/nf_conntrack_max")
    # The module may be there without a rule that uses it.
    return None if not now or most is None else (now, most)


def netstat(root: Path, protocol: str = "TcpExt") -> dict[str, int]:
    """Return counters since the boot, such as ListenOverflows; {} where there are none."""
    try:
        lines = (root / "proc/net/netstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    # Two lines a protocol: names, then numbers.
    rows = [line.split()[1:] for line in lines if line.startswith(f"{protocol}:")]
    if len(rows) < 2:
        return {}
    return {name: int(number) for name, number in zip(rows[0], rows[1], strict=False) if number.lstrip("-").isdigit()}


def cgroup_free_bytes(root: Path) -> int | None:
    """Return what a container may still take of memory; None when nothing limits it."""
    for most_name, now_name in (
        ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        most, now = _first(root / most_name), _first(root / now_name)
        if most is not None and now is not None and most < _NO_LIMIT_BYTES:
            return max(most - now, 0)
    return None


def cgroup_cores(root: Path) -> float | None:
    """Return how many cores' worth of time a container gets; None when nothing limits it."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    quota_us = _first(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period_us = _first(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None
