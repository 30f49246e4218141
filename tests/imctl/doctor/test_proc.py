from __future__ import annotations

from pathlib import Path

import pytest

from imctl.doctor.proc import cgroup_cores, cgroup_free_bytes, netstat, sysctl, tracked_connections, used_files

NETSTAT = """\
TcpExt: SyncookiesSent ListenOverflows ListenDrops
TcpExt: 0 36 41
IpExt: InOctets
IpExt: 17
"""


@pytest.fixture
def root(tmp_path: Path):
    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_a_setting_is_its_numbers(root):
    here = root({"proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n", "proc/sys/net/core/somaxconn": "4096\n"})

    assert sysctl(here, "net.ipv4.ip_local_port_range") == [32768, 60999]
    assert sysctl(here, "net.core.somaxconn") == [4096]


def test_what_is_not_there_or_no_number_is_none(root):
    here = root({"proc/sys/net/core/somaxconn": "many\n"})

    assert sysctl(here, "net.core.somaxconn") is None
    assert sysctl(here, "net.ipv4.ip_local_port_range") is None
    assert used_files(here) is None
    assert tracked_connections(here) is None
    assert netstat(here) == {}
    assert cgroup_free_bytes(here) is None
    assert cgroup_cores(here) is None


def test_used_files(root):
    assert used_files(root({"proc/sys/fs/file-nr": "17091\t0\t2466193\n"})) == 17091


def test_tracked_connections_are_those_now_and_at_most(root):
    files = {
        "proc/sys/net/netfilter/nf_conntrack_count": "12\n",
        "proc/sys/net/netfilter/nf_conntrack_max": "262144\n",
    }

    assert tracked_connections(root(files)) == (12, 262144)


def test_a_firewall_that_follows_nothing_is_none(root):
    files = {
        "proc/sys/net/netfilter/nf_conntrack_count": "0\n",
        "proc/sys/net/netfilter/nf_conntrack_max": "262144\n",
    }

    assert tracked_connections(root(files)) is None


def test_netstat_is_counters_by_name(root):
    here = root({"proc/net/netstat": NETSTAT})

    assert netstat(here) == {"SyncookiesSent": 0, "ListenOverflows": 36, "ListenDrops": 41}
    assert netstat(here, "IpExt") == {"InOctets": 17}
    assert netstat(here, "MPTcpExt") == {}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "400\n"}, 600),
        ({"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "400\n"}, None),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1400\n",
            },
            0,
        ),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1400\n",
            },
            None,
        ),
    ],
)
def test_memory_of_a_container(root, files, expected):
    assert cgroup_free_bytes(root(files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_cores_of_a_container(root, files, expected):
    assert cgroup_cores(root(files)) == expected
