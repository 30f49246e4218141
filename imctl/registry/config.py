"""The registry's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["LeaseRules", "RegistryConfig"]


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """When an instance that is no longer renewed is taken out.

    Args:
        silent_s: An instance silent for longer goes, unless the registry preserves itself.
        ceiling_s: An instance silent for longer than this goes in any case.
        evict_every_s: Time between two passes.
        self_preservation: With fewer than `keep_share` of the renewals to be
            expected (two a minute and instance) the network is more likely at
            fault than the nodes, and nobody goes before the ceiling.
        keep_share: Also the part of all instances that a single pass leaves in place.

    Source: bilibili discovery registry/guard.go and registry.go evict.
    """

    silent_s: float = 90.0
    ceiling_s: float = 3600.0
    evict_every_s: float = 60.0
    self_preservation: bool = True
    keep_share: float = 0.85


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """One registry node.

    Args:
        hostname: Its name in its own entry of `infra.discovery`.
        port: 7171 is discovery's; 0 takes any free one.
        advertise: `host:port` that other machines reach it by; empty means where it listens.
        hold_s: How long a poll waits for news before it is told that there is none.
        protect_s: For so long after the start reads are answered with -500, as
            discovery's `enableprotect` does, so that nobody takes the first few
            registrations for all of them.
        max_body_bytes: Largest form accepted.
        idle_timeout_s: A connection without a whole request for so long is closed.
        max_connections: One more is closed at once and counted; the limit of open files can make it fewer.
        max_polls: Polls held at one time; one more is answered with -500 and counted.
        max_instances: Registrations held; one more is answered with -500 and counted.
    """

    hostname: str = "registry"
    host: str = "127.0.0.1"
    port: int = 7171
    region: str = "sh"
    zone: str = "sh001"
    env: str = "dev"
    advertise: str = ""
    lease: LeaseRules = field(default_factory=LeaseRules)
    hold_s: float = 30.0
    renew_every_s: float = 30.0
    protect_s: float = 0.0
    max_body_bytes: int = 65536
    body_timeout_s: float = 5.0
    idle_timeout_s: float = 75.0
    max_connections: int = 10_000
    max_polls: int = 4096
    max_instances: int = 10_000
