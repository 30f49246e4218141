"""What so many clients take of a machine that runs both them and their cluster: open files, memory, connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imctl.doctor.contract import Condition, Status, judged, unknown
from imctl.open_files import connections_within, limit_for

__all__ = [
    "CLIENT_BYTES",
    "PROCESS_BYTES",
    "Load",
    "check_capacity",
    "check_memory",
    "check_open_files",
    "check_process_capacity",
    "most_by_files",
    "most_by_memory",
    "needed_bytes",
]

# Measured with 12,000 clients of `imctl sim`, 70 % of them TCP and 30 % WebSocket, against 2,000: comet 2.2 KB, core
# 0.4 KB, simulator 2.3 KB; and 10 KB of the kernel for the two sockets of a connection over loopback.
CLIENT_BYTES = 15_000
# Resident memory of a core or a comet with few clients; a worker of the simulator has half of it.
PROCESS_BYTES = 65_000_000
_OTHER_PROCESSES = 3
"""The core, the simulator itself and its publisher."""

_MOST = 10_000_000  # nobody asks for more, and the search needs an end


@dataclass(frozen=True, slots=True)
class Load:
    """So many clients, and the processes that `imctl sim` starts for them.

    Args:
        clients: How many.
        comets: Of a private cluster.
        workers: Of the simulator.
    """

    clients: int
    comets: int
    workers: int

    @property
    def clients_of_a_process(self) -> int:
        """The most that one process holds."""
        return -(-self.clients // min(self.comets, self.workers))


def check_open_files(soft: int, hard: int, reached: int, load: Load) -> Condition:
    """Judge the limit of open files of a process.

    Args:
        soft: As it was given to us; -1 is no limit.
        hard: As far as it may be raised; -1 is no limit.
        reached: What raising it came to: nodes and workers do that by themselves.
        load: For whom.
    """
    needed = limit_for(load.clients_of_a_process)
    wanted = -(-load.clients // max(connections_within(reached), 1))
    few = (
        f"imctl up --comet {wanted}" * (load.comets < wanted),
        f"imctl sim --workers {wanted}" * (load.workers < wanted),
    )
    return judged(
        "open files",
        reached >= needed,
        f"{needed:,} a process",
        f"soft {_limit(soft)}, hard {_limit(hard)}",
        f"more processes: {', '.join(filter(None, few))}; or ulimit -Hn {needed} (limits.conf, LimitNOFILE=)",
        soft=soft,
        hard=hard,
        reached=reached,
        needed=needed,
    )


def _limit(number: int) -> str:
    return "unlimited" if number < 0 else f"{number:,}"


def check_process_capacity(reached: int, load: Load) -> Condition:
    """Say how many clients one comet, or one worker of the simulator, can hold: each is an open file in both."""
    most = connections_within(reached)
    processes = f"{_count(load.comets, 'comet')}, {_count(load.workers, 'worker')}"
    facts = {"clients": most, "comets": load.comets, "workers": load.workers}
    required = f"{load.clients_of_a_process:,} ({processes})"
    # Not judged: that is done where the limit of open files is.
    return Condition("clients a process", Status.INFO, required, f"up to {most:,}", "", facts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def needed_bytes(load: Load) -> int:
    """Return the memory of so many idle clients and of all processes that hold them."""
    processes = load.comets + load.workers + _OTHER_PROCESSES
    return load.clients * CLIENT_BYTES + processes * PROCESS_BYTES


def check_memory(free_bytes: int | None, load: Load) -> Condition:
    """Judge what is free of memory; messages that wait for slow clients come on top."""
    needed = needed_bytes(load)
    required = f"{_gb(needed)} free"
    if free_bytes is None:
        return unknown("memory", required, "this system does not tell")
    return judged(
        "memory",
        free_bytes >= needed,
        required,
        f"{_gb(free_bytes)} free",
        "fewer clients, or the simulator on another machine: imctl sim --target",
        free_bytes=free_bytes,
        needed_bytes=needed,
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def most_by_memory(free_bytes: int | None, plan: Callable[[int], Load]) -> int | None:
    """Return how many clients the free memory is enough for; None when it is not known."""
    if free_bytes is None:
        return None
    low, high = 0, _MOST
    while low < high:
        middle = (low + high + 1) // 2
        if needed_bytes(plan(middle)) <= free_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def most_by_files(most: int | None, used: int | None) -> int | None:
    """Return how many clients the system's table of files has room for: both ends of a connection are in it."""
    return None if most is None or used is None else max(most - used, 0) // 2


def check_capacity(load: Load, limits: Mapping[str, int | None]) -> Condition:
    """Say how many clients this machine carries with as many processes as they need, and what ends it.

    Args:
        load: For whom.
        limits: How many each thing allows; None when that is not known.
    """
    known = sorted((most, name) for name, most in limits.items() if most is not None)
    if not known:
        return unknown("clients in all", f"{load.clients:,}", "this system tells no limit")
    most, bound = known[0]
    shown = f"over {_MOST - 1:,}" if most >= _MOST else f"some {_rounded(most):,}"
    return judged(
        "clients in all",
        most >= load.clients,
        f"{load.clients:,}",
        f"{shown} (bound by {bound})",
        "spread them over several machines: imctl sim --locust",
        otherwise=Status.FAILED,
        clients=most,
        bound_by=bound,
        limits=dict(limits),
    )


def _rounded(number: int) -> int:
    step = int(10 ** max(len(str(number)) - 2, 0))
    return number // step * step
