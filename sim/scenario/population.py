"""The clients of a scenario as checked values: who they are, how they connect, and how long they stay.

Times are seconds and rates per second, whatever the file wrote.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sim.scenario.publishing import DEFAULT_OP
from sim.scenario.times import ExponentialTime

__all__ = ["Backoff", "Churn", "ConnectArrival", "Network", "Population", "Session", "Transport"]


class Transport(enum.StrEnum):
    """How a client reaches its comet."""

    TCP = "tcp"
    WS = "ws"
    TLS = "tls"
    WSS = "wss"

    @property
    def is_ws(self) -> bool:
        """Whether frames travel in WebSocket messages."""
        return self in (Transport.WS, Transport.WSS)

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self in (Transport.TLS, Transport.WSS)


class ConnectArrival(enum.StrEnum):
    """How the connects of a population are spread over time; who is first is the same for all."""

    UNIFORM = "uniform"
    """The same time from one to the next."""

    POISSON = "poisson"
    """Exponential gaps."""

    AT_ONCE = "at_once"
    """No gaps: as fast as the limit of connects under way allows."""


@dataclass(frozen=True, slots=True)
class Network:
    """What is between a client and its comet; each direction has it.

    Args:
        latency_s: What everything takes at least.
        jitter_s: What it may take more; drawn for each chunk of bytes, and nothing overtakes.
        bandwidth_bytes_per_s: Bytes a second of each client. None for no limit.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bandwidth_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits: between attempts to connect from `min_s`, doubled with each failure, up to `max_s`."""

    min_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Churn:
    """Clients that leave and come back all the time.

    Args:
        rate_per_s: Clients of the population that leave a second.
        away: How long each stays away, drawn between the two; also the waits between attempts that fail.
    """

    rate_per_s: float
    away: Backoff


@dataclass(frozen=True, slots=True)
class Session:
    """How long each client stays, from the first phase or from coming back.

    Args:
        length: How long: drawn between the two, or exponential.
        away: How long it then is away, drawn between the two; also the waits between attempts
            that fail. None: it leaves for good.
    """

    length: Backoff | ExponentialTime
    away: Backoff | None = None


@dataclass(frozen=True, slots=True)
class Population:
    """Clients that are alike.

    Args:
        name: What publishers and reports call it.
        count: Number of clients, at least 1.
        transports: What share of the clients uses which, together 1.0.
        rooms: Room keys. Empty: no client is in a room.
        room_weights: For each room how many of the clients it has, as against the others; who is in which is
            drawn by the seed. Empty: client i joins `rooms[i % len(rooms)]`.
        mids: First mid; client i has `mids + i // connections_per_mid`. None: every client has mid 0.
        connections_per_mid: Clients that share a mid.
        keys: Client i has key `keys + str(i)`. None: logic makes the keys.
        accepts: Operations the clients take from pushes by mid, by key and to all.
        connect_rate_per_s: Connects started a second.
        connect_inflight: Connects under way at any time, at most.
        connect_arrival: How those starts are spread over time.
        heartbeat_s: Time between heartbeats of a client.
        reconnect: Waits of a client that lost its connection without wanting to. None: it stays away.
        churn: Clients that leave and come back while the phases run. None: all stay.
        session: How long each client stays. None: to the end.
        sources: Addresses of this machine that the clients connect from in turn. Empty: chosen where it is needed.
        tls_ca: PEM file with the certificates trusted for TLS. Empty: those of the target, or of the system.
        tls_verify: Whether the server's certificate is checked.
        network: What is between the clients and their comets. None for nothing but the real one.
    """

    name: str
    count: int
    transports: tuple[tuple[Transport, float], ...] = ((Transport.TCP, 1.0),)
    rooms: tuple[str, ...] = ()
    room_weights: tuple[float, ...] = ()
    mids: int | None = None
    connections_per_mid: int = 1
    keys: str | None = None
    accepts: tuple[int, ...] = (DEFAULT_OP,)
    connect_rate_per_s: float = 1000.0
    connect_inflight: int = 200
    connect_arrival: ConnectArrival = ConnectArrival.UNIFORM
    heartbeat_s: float = 30.0
    reconnect: Backoff | None = None
    churn: Churn | None = None
    session: Session | None = None
    sources: tuple[str, ...] = ()
    tls_ca: str = ""
    tls_verify: bool = True
    network: Network | None = None
