"""What a comet can be told; defaults are goim's where goim has the setting."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LISTEN_BACKLOG", "CometConfig"]

LISTEN_BACKLOG = 4096
"""Connects that may wait to be accepted: a shorter queue drops SYNs in a storm, each a second for its client."""


@dataclass(frozen=True, slots=True)
class CometConfig:
    """Settings of one comet.

    Args:
        hostname: Server id: unique in the cluster, the key of all routing to this comet.
        host: Address to bind; loopback unless asked otherwise.
        tcp_port: 0 lets the system choose, as for every port here.
        wss_port: None is off; needs tls_cert and tls_key. So does tls_port, TLS over TCP.
        advertise_host: Host that other nodes reach it by; empty is `host`, or
            this machine's own address when it listens on all of them.
        public_addrs: What clients should dial, published in the registry; empty publishes `host`.
        offline: Published in the registry: logic's balancer then leaves this comet out.
        handshake_timeout_s: From accept to successful auth.
        max_body_bytes: Largest body of a client's frame.
        write_buffer_bytes: What may wait in this process for one slow client; a message
            that does not fit is dropped and counted (goim: 10 messages).
        send_buffer_bytes: SO_SNDBUF of client sockets, 0 for the system's own sizing.
        max_connections: Further clients are closed at once and counted; the limit of open files can make it fewer.
        max_connections_per_source: Further clients from one address are closed at once and counted; 0 for no
            limit, as behind a proxy all come from one.
        max_rooms: Rooms on this comet; joining one more is refused and counted.
        max_broadcasts: Paced broadcasts at a time, goim's broadcast queue; more are dropped and counted.
        renew_online_s: Most time between two reports of room counts to logic.
        online_delay_s: Least time between two such reports when counts have changed.
        counts_s: Time between two updates of connection counts in the registry.
        logic_timeout_s: Longest wait for an answer of logic.
        compat_goim: goim's own timing and answers where ours are better by default.
    """

    hostname: str = "comet-1"
    host: str = "127.0.0.1"
    tcp_port: int = 3101
    ws_port: int = 3102
    wss_port: int | None = None
    tls_port: int | None = None
    grpc_port: int = 3109
    tls_cert: str = ""
    tls_key: str = ""
    advertise_host: str = ""
    public_addrs: tuple[str, ...] = ()
    region: str = "sh"
    zone: str = "sh001"
    env: str = "dev"
    weight: int = 10
    offline: bool = False
    reuse_port: bool = False
    handshake_timeout_s: float = 8.0
    max_body_bytes: int = 4096
    write_buffer_bytes: int = 65536
    send_buffer_bytes: int = 65536
    max_connections: int = 1_000_000
    max_connections_per_source: int = 0
    max_rooms: int = 1_000_000
    max_broadcasts: int = 32
    renew_online_s: float = 10.0
    online_delay_s: float = 0.5
    counts_s: float = 10.0
    logic_timeout_s: float = 5.0
    compat_goim: bool = False
