"""What `imctl doctor` looks at on this machine: the install, its resources and limits, the network, the optional."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imctl
from imctl.doctor import load as loads
from imctl.doctor import network, resources
from imctl.doctor.contract import Condition, Found, Section, examine
from imctl.doctor.install import (
    check_event_loop,
    check_extras,
    check_libraries,
    check_platform,
    check_programs,
    check_python,
    installed_version,
)
from imctl.doctor.proc import cgroup_cores, cgroup_free_bytes, netstat, sysctl, tracked_connections, used_files
from imctl.doctor.requirements import parse_requirements

if TYPE_CHECKING:
    from imctl.cluster.client import ClusterInfo

__all__ = ["install_sections", "load_of", "machine_sections"]

_ROOT = Path("/")


def load_of(clients: int, comets: int | None = None) -> loads.Load:
    """Return the processes that `imctl sim` has for so many clients.

    Args:
        clients: How many.
        comets: Of the cluster that runs; None for as many as a private one gets.
    """
    from imctl.cli.under_test import comets_for
    from sim.run.crew import default_workers

    return loads.Load(clients, comets or comets_for(clients), default_workers(clients))


def install_sections() -> tuple[Section, Section]:
    """Return the sections of what imctl needs, and of what is optional."""
    try:
        metadata = importlib.metadata.metadata("imctl")
        needs, lines = metadata["Requires-Python"] or "", importlib.metadata.requires("imctl")
    except importlib.metadata.PackageNotFoundError:  # run from its sources
        needs, lines = "", None
    needed = parse_requirements(lines)
    module = type(asyncio.get_running_loop()).__module__
    everybody = [one for one in needed if not one.extra]
    install = (
        *examine("Python", lambda: check_python(platform.python_version(), platform.python_implementation(), needs)),
        *examine("platform", lambda: check_platform(platform.system(), platform.machine())),
        *examine("libraries", lambda: check_libraries(everybody, installed_version)),
        *examine("event loop", lambda: check_event_loop(module)),
    )
    optional = (
        *examine("extras", lambda: check_extras(needed, installed_version)),
        *examine("programs", check_programs),
    )
    return Section("imctl", f"imctl {imctl.__version__}", install), Section("optional", "Optional", optional)


def machine_sections(load: loads.Load, info: ClusterInfo | None) -> tuple[Section, ...]:
    """Return the sections of this machine.

    Args:
        load: What it is to carry.
        info: The cluster that runs, whose ports are not in anybody's way.
    """
    free_bytes = _free_bytes()
    return (
        Section("machine", "Machine", _machine(load, free_bytes)),
        Section("clients", f"{load.clients:,} clients", _clients(load, free_bytes)),
        Section("network", "Loopback and ports", _ports(info)),
    )


def _free_bytes() -> int | None:
    import psutil

    try:
        here = int(psutil.virtual_memory().available)
    except (psutil.Error, OSError):
        return None
    of_container = cgroup_free_bytes(_ROOT)
    return here if of_container is None else min(here, of_container)


def _machine(load: loads.Load, free_bytes: int | None) -> tuple[Condition, ...]:
    from imctl.cluster.state import state_root

    return (
        *examine("cores", _cores),
        *examine("memory", lambda: loads.check_memory(free_bytes, load)),
        *examine("state folder", lambda: resources.check_state_folder(state_root())),
        *examine("disks", lambda: _disks(load)),
        *examine("system clock", lambda: resources.check_clock(time.time(), Path(imctl.__file__).stat().st_mtime)),
        *examine("monotonic clock", resources.check_monotonic),
    )


def _cores() -> Found:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        load_1m = os.getloadavg()[0]
    except OSError:
        load_1m = None
    return resources.check_cores(count, cgroup_cores(_ROOT), load_1m)


def _disks(load: loads.Load) -> Found:
    from imctl.cluster.state import state_root
    from imctl.messages.factory import default_path

    return resources.check_disks(
        {
            "state, logs": (state_root(), resources.log_bytes(load)),
            "messages": (default_path().parent, resources.MESSAGES_BYTES),
        }
    )


def _clients(load: loads.Load, free_bytes: int | None) -> tuple[Condition, ...]:
    from imctl.comet.config import LISTEN_BACKLOG
    from protocol.aio.open_files import raise_open_files
    from sim.clients.connect import CLIENTS_PER_SOURCE, check_sources, source_of

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reached = raise_open_files()
    clients = load.clients
    found = (source_of(client, clients, "127.0.0.1") for client in range(0, clients, CLIENTS_PER_SOURCE))
    sources = tuple(dict.fromkeys(source for source in found if source is not None))
    tracked = tracked_connections(_ROOT)
    most_files = sysctl(_ROOT, "fs.file-max")
    limits = {
        "memory": loads.most_by_memory(free_bytes, load_of),
        "fs.file-max": loads.most_by_files(most_files[0] if most_files else None, used_files(_ROOT)),
        "nf_conntrack_max": max(tracked[1] - tracked[0], 0) if tracked else None,
    }
    # One source is not ours to spread: all clients come from it.
    of_a_source = min(clients, CLIENTS_PER_SOURCE if sources else clients)
    listening = sorted(want.port for wants in _wanted() for want in wants)
    return (
        *examine("open files", lambda: loads.check_open_files(soft, hard, reached, load)),
        *examine("clients a process", lambda: loads.check_process_capacity(reached, load)),
        *examine("clients in all", lambda: loads.check_capacity(load, limits)),
        *examine(
            "ephemeral ports",
            lambda: network.check_ephemeral_ports(
                sysctl(_ROOT, "net.ipv4.ip_local_port_range"), of_a_source, listening
            ),
        ),
        *examine(
            "source addresses",
            lambda: network.check_sources(sources, load, CLIENTS_PER_SOURCE, lambda source: check_sources([source])),
        ),
        *examine("somaxconn", lambda: network.check_accept_queue(sysctl(_ROOT, "net.core.somaxconn"), LISTEN_BACKLOG)),
        *examine("backlog overflows", lambda: network.check_overflows(netstat(_ROOT))),
        *examine("tracked connections", lambda: network.check_tracking(tracked, load)),
    )


def _wanted() -> tuple[list[Any], list[Any]]:
    """Return the addresses that `imctl up` listens on, and those that are added by --tls. Any: Wanted."""
    from imctl.cluster.spec import ClusterOptions, plan

    def of(options: ClusterOptions) -> list[Any]:
        return [want for process in plan(options).processes for want in process.wanted()]

    plain = of(ClusterOptions())
    with_tls = of(ClusterOptions(tls_cert="cert.pem", tls_key="key.pem"))
    return plain, [want for want in with_tls if want not in plain]


def _ports(info: ClusterInfo | None) -> tuple[Condition, ...]:
    from imctl.doctor.ports import check_ports, own_ports

    wanted, with_tls = _wanted()
    return (
        *examine("loopback 127.0.0.1", lambda: network.check_loopback("127.0.0.1", is_needed=True)),
        *examine("loopback ::1", lambda: network.check_loopback("::1", is_needed=False)),
        *examine("ports", lambda: check_ports(wanted, with_tls, own_ports(info))),
    )
