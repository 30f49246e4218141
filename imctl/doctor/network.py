"""What the kernel's network allows: ports and addresses to connect from, queues of connects, loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence

from imctl.doctor.contract import Condition, Status, judged, unknown
from imctl.doctor.load import Load

__all__ = [
    "check_accept_queue",
    "check_ephemeral_ports",
    "check_loopback",
    "check_overflows",
    "check_sources",
    "check_tracking",
]

_LOOPBACK_S = 2.0
_HELLO = b"imctl doctor"


def check_ephemeral_ports(found: Sequence[int] | None, clients_of_a_source: int, listening: Sequence[int]) -> Condition:
    """Judge the range that connects take their own port from.

    Args:
        found: First and last; None where the system does not tell.
        clients_of_a_source: Most connections from one address to one port.
        listening: Ports that nodes want, which no connect should have taken.
    """
    name, required = "ephemeral ports", f"{clients_of_a_source:,}, twice that to be quick"
    if found is None or len(found) != 2:
        return unknown(name, required, "no ip_local_port_range")
    first, last = found
    count = max(last - first + 1, 0)
    shown, facts = f"{count:,} ({first}-{last})", {"first": first, "last": last, "needed": clients_of_a_source}
    wide = 'sysctl -w net.ipv4.ip_local_port_range="10240 60999"'
    if count < clients_of_a_source:
        return Condition(name, Status.FAILED, required, shown, wide, facts)
    if count < 2 * clients_of_a_source:
        # Past half of the range the kernel's search for a free port gets slow.
        return Condition(name, Status.WARNING, required, shown, f"connects get slow; {wide}", facts)
    if any(first <= port <= last for port in listening):
        reserve = f"sysctl -w net.ipv4.ip_local_reserved_ports={','.join(map(str, listening))}"
        return Condition(name, Status.WARNING, "none that a node listens on", shown, reserve, facts)
    return Condition(name, Status.OK, required, shown, "", facts)


def check_sources(
    sources: Sequence[str], load: Load, most_of_a_source: int, try_source: Callable[[str], None]
) -> Condition:
    """Judge the addresses that clients connect from.

    Args:
        sources: What `imctl sim` would take; () when it leaves that to the system.
        load: For whom.
        most_of_a_source: How many clients it gives one address.
        try_source: Raises when one cannot be had.
    """
    needed = -(-load.clients // most_of_a_source)
    required = f"{needed} of 127.0.0.0/8" if needed > 1 else "1 is enough"
    if not sources:
        fix = f"only Linux has all of 127.0.0.0/8; {most_of_a_source:,} clients here, or imctl sim --locust"
        return judged("source addresses", needed <= 1, required, "127.0.0.1", fix, otherwise=Status.WARNING)
    problems = []
    for source in sources:
        try:
            try_source(source)
        except Exception as exc:  # the simulator's own error, which this package does not know
            problems.append(str(exc))
    shown = problems[0] if problems else f"{sources[0]} to {sources[-1]}"
    fix = "ip addr add 127.0.0.1/8 dev lo"
    return judged("source addresses", not problems, required, shown, fix, sources=len(sources))


def check_accept_queue(found: Sequence[int] | None, wanted: int) -> Condition:
    """Judge how many connects may wait for a node to accept them.

    Args:
        found: net.core.somaxconn, which cuts what a node asks for.
        wanted: What a comet asks for.
    """
    name, required = "somaxconn", f"{wanted:,} (comet's backlog)"
    if not found:
        return unknown(name, required, "no net.core.somaxconn")
    fix = f"sysctl -w net.core.somaxconn={wanted}; else many connects at once take seconds"
    return judged(name, found[0] >= wanted, required, f"{found[0]:,}", fix, otherwise=Status.WARNING, value=found[0])


def check_overflows(counters: Mapping[str, int]) -> Condition:
    """Judge the connects that any listener of this machine had no room for.

    Args:
        counters: Of TcpExt since the boot.
    """
    name, required = "backlog overflows", "0 since boot"
    lost = counters.get("ListenOverflows")
    if lost is None:
        return unknown(name, required, "no ListenOverflows")
    fix = "a server here was too slow to accept: a lower connect.rate, or more comets; watch if it grows"
    return judged(
        name,
        lost == 0,
        required,
        f"{lost:,}",
        fix,
        otherwise=Status.WARNING,
        overflows=lost,
        drops=counters.get("ListenDrops", 0),
    )


def check_tracking(found: tuple[int, int] | None, load: Load) -> list[Condition]:
    """Judge the firewall's table of connections; [] where there is none.

    Args:
        found: How many are in it, and how many at most.
        load: For whom.
    """
    if found is None:
        return []
    now, most = found
    fix = f"sysctl -w net.netfilter.nf_conntrack_max={now + 2 * load.clients}"
    free = max(most - now, 0)
    return [
        judged(
            "tracked connections",
            free >= load.clients,
            f"{load.clients:,} free",
            f"{free:,} free of {most:,}",
            fix,
            otherwise=Status.WARNING,
            now=now,
            most=most,
        )
    ]


def check_loopback(host: str, *, is_needed: bool) -> Condition:
    """Connect to ourselves and send some bytes.

    Args:
        host: 127.0.0.1 or ::1.
        is_needed: Whether clusters listen there unless they are told otherwise.
    """
    name = f"loopback {host}"
    otherwise = Status.FAILED if is_needed else Status.WARNING
    fix = "ip link set lo up" if is_needed else "nothing, unless clients or --host are to use IPv6"
    try:
        _echo(host)
    except OSError as exc:
        return Condition(name, otherwise, "carries bytes", exc.strerror or str(exc), fix)
    return Condition(name, Status.OK, "carries bytes", "does")


def _echo(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.settimeout(_LOOPBACK_S)
        server.bind((host, 0))
        server.listen(1)
        with socket.create_connection(server.getsockname()[:2], _LOOPBACK_S) as client:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(_LOOPBACK_S)
                client.sendall(_HELLO)
                got = peer.recv(len(_HELLO), socket.MSG_WAITALL)
    if got != _HELLO:
        raise OSError("other bytes came than were sent")
