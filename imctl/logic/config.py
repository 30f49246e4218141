"""Logic's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Backoff", "LogicConfig"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a client should wait before it tries a comet again; told to clients, not used here.

    Args:
        max_delay_s: Longest wait.
        base_delay_s: First wait.
        factor: How much longer each wait is than the one before.
        jitter: Part of a wait that is random.
    """

    max_delay_s: int = 300
    base_delay_s: int = 3
    factor: float = 1.8
    jitter: float = 0.3


@dataclass(frozen=True, slots=True)
class LogicConfig:
    """One logic node; defaults are goim's example file.

    Args:
        hostname: Its name in the registry, unique among logics.
        weight: Its share of the comets' calls.
        compat_goim: Keep goim's delays and faults that a client can see: room
            counts change only every `online_every_s`, and a registry update
            with fewer than half of the known comets is not believed.
        host: Address to listen on.
        http_port: 3111 is goim's; 0 takes any free one.
        grpc_port: 3119 is goim's; 0 takes any free one.
        advertise_host: Host that other nodes reach it by; empty is `host`, or
            this machine's own address when it listens on all of them.
        heartbeat_s: How often a client should send a heartbeat.
        heartbeat_max: A client is dropped after so many of these without one.
        default_domain: Told to clients while no comet is known.
        host_domain: Put after a comet's hostname for browsers (`platform=web`).
        tcp_port: Port of comets as told to clients; so are ws_port and wss_port.
        region_weight: How much a comet in the client's own region is preferred.
        max_message_bytes: Largest push; 1,000,000 is goim's limit, from Kafka's default.
        http_request_timeout_s: Limit for the arrival of an HTTP request once it has begun.
        http_idle_timeout_s: An HTTP connection without a request for so long is closed.
        http_max_connections: One more is closed at once; the limit of open files can make it fewer.
        online_every_s: Time between two rebuilds of the room counts from the store.
        hooks: Hooks in the order they are asked, each as `--hooks` takes it.
        hook_timeout_s: Time for one decision, all hooks together; under the
            comets' `logic_timeout_s`, after which they give up.
    """

    hostname: str = "logic"
    region: str = "sh"
    zone: str = "sh001"
    env: str = "dev"
    weight: int = 10
    compat_goim: bool = False
    host: str = "127.0.0.1"
    http_port: int = 3111
    grpc_port: int = 3119
    advertise_host: str = ""
    heartbeat_s: float = 240.0
    heartbeat_max: int = 2
    default_domain: str = "conn.goim.io"
    host_domain: str = ".goim.io"
    tcp_port: int = 3101
    ws_port: int = 3102
    wss_port: int = 3103
    region_weight: float = 1.6
    backoff: Backoff = field(default_factory=Backoff)
    max_message_bytes: int = 1_000_000
    http_request_timeout_s: float = 10.0
    http_idle_timeout_s: float = 600.0
    http_max_connections: int = 10_000
    online_every_s: float = 10.0
    hooks: tuple[str, ...] = ()
    hook_timeout_s: float = 3.0

    @property
    def heartbeat_limit_ns(self) -> int:
        """How long a client may be silent, as Connect tells the comet."""
        return round(self.heartbeat_s * self.heartbeat_max * 1e9)
