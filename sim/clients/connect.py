"""Opening very many connections from one machine.

One source address can hold some 28,000 connections to one address and port,
and beyond about 12,000 the kernel's search for a free port gets slow. On
loopback every address of 127.0.0.0/8 is ours, so many clients are spread over
several of them. Three things keep that fast, run after run (measured with
18,000 connections: 33,000 connects a second, against 600 to 7,000 without):
IP_BIND_ADDRESS_NO_PORT leaves the port to connect(), SO_LINGER with 0 leaves
nothing in TIME_WAIT for the next run to trip over, and on loopback connect()
is over at once unless the server's queue is full, which asking twice shows
without a turn of the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
import struct
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from sim.errors import SimError
from sim.run.target import Target
from sim.scenario.scenario import Population

__all__ = ["CLIENTS_PER_SOURCE", "check_sources", "open_from", "reset_when_closed", "source_of", "tls_context"]

CLIENTS_PER_SOURCE = 10_000
_IP_BIND_ADDRESS_NO_PORT = 24
_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)  # Linux: saves a call a client
_UNDER_WAY = frozenset((errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN))
_LINGER_0 = struct.pack("ii", 1, 0)


class Lingering(Protocol):
    """A socket, or what a transport shows of one."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        """As of a socket."""


def source_of(client: int, clients: int, host: str, sources: Sequence[str] = ()) -> str | None:
    """Return the address a client connects from, None to leave it to the system.

    Args:
        client: Its index over all clients of the run.
        clients: How many there are.
        host: Where it connects to.
        sources: Addresses to take in turn; with none, loopback addresses where one would not be enough.
    """
    if sources:
        return sources[client % len(sources)]
    if clients <= CLIENTS_PER_SOURCE or not host.startswith("127.") or sys.platform != "linux":
        return None
    return f"127.0.{client // CLIENTS_PER_SOURCE // 250 + 1}.{client // CLIENTS_PER_SOURCE % 250 + 1}"


async def open_from(source: str, host: str, port: int) -> socket.socket:
    """Return a connected, non-blocking socket from an address of this machine to an address or name.

    Raises:
        OSError: the host has no address of the source's family, or connect() failed.
    """
    sock = socket.socket(_family(source), socket.SOCK_STREAM | _NONBLOCK)
    try:
        if not _NONBLOCK:
            sock.setblocking(False)
        if not _is_address(host):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=sock.family, type=socket.SOCK_STREAM
            )
            host = str(found[0][4][0])
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        reset_when_closed(sock)
        sock.bind((source, 0))
        await _connect(sock, host, port)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(sock: socket.socket, host: str, port: int) -> None:
    address = (host, port)
    # On loopback the connection is there when the first call returns, which says that it is under way; the second
    # says so. Waiting for the loop to tell would be a third of what a connect costs.
    if (code := sock.connect_ex(address)) in _UNDER_WAY:
        code = sock.connect_ex(address)
    if code in _UNDER_WAY:
        # Elsewhere, a full queue, or a server that stands still: the other clients' messages must not wait for it.
        await asyncio.get_running_loop().sock_connect(sock, address)
    elif code not in (0, errno.EISCONN):
        raise OSError(code, os.strerror(code))


def reset_when_closed(sock: Lingering) -> None:
    """Let closing the socket send a RST, and leave nothing in TIME_WAIT."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)


def check_sources(sources: Iterable[str]) -> None:
    """See that clients can connect from each of the addresses.

    Raises:
        SimError: one is not of this machine.
    """
    for source in sources:
        with socket.socket(_family(source), socket.SOCK_STREAM) as sock:
            try:
                sock.bind((source, 0))
            except OSError as exc:
                if exc.errno != errno.EADDRNOTAVAIL:
                    raise SimError(f"source {source}: {exc.strerror}") from exc
                raise SimError(
                    f"source {source} is no address of this machine",
                    hint="ip addr lists them; on Linux every address of 127.0.0.0/8 is one",
                ) from exc


def tls_context(population: Population, target: Target) -> ssl.SSLContext:
    """Return how clients of a population encrypt, and what they check.

    Raises:
        SimError: the certificates to trust cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not population.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    ca = population.tls_ca or target.ca
    try:
        if ca:
            # The comet's own certificate will do, whoever signed it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(ca)
        else:
            context.load_default_certs()
    except OSError as exc:
        raise SimError(f"{ca}: no certificates can be read: {exc}", hint="tls.ca is the path of a PEM file") from exc
    return context


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@lru_cache(maxsize=256)  # asked for each client, of a few comets
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
