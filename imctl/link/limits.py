"""Bounds of the link and the gRPC options both of its ends use."""

from __future__ import annotations

__all__ = [
    "BATCH_BYTES",
    "CLIENT_OPTIONS",
    "GO_CLIENT_OPTIONS",
    "MAX_IN_FLIGHT",
    "MAX_MESSAGE_BYTES",
    "MAX_WAITING",
    "OUTBOX_BYTES",
    "SERVER_OPTIONS",
]

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest request or reply; what goim's clients send and receive."""

MAX_IN_FLIGHT = 10_000
"""Calls of one stream whose handler is still waiting; more are refused with RESOURCE_EXHAUSTED."""

MAX_WAITING = 50_000
"""Calls to one peer without a reply; more are refused with RESOURCE_EXHAUSTED."""

BATCH_BYTES = 1024 * 1024
"""A batch takes no further message over this, so a big one delays small ones by 1 MiB at most."""

OUTBOX_BYTES = 64 * 1024 * 1024
"""What may wait for the socket of one stream."""

# The batch around a message of the full size needs some bytes itself.
_SIZES: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES + 64 * 1024),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES + 64 * 1024),
)

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *_SIZES,
    # On by default, and then two nodes share one port without a word.
    ("grpc.so_reuseport", 0),
    # goim's clients ping each 10 s, also without a call; the default answer is GOAWAY too_many_pings.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)

_CLIENT: tuple[tuple[str, int], ...] = (
    *_SIZES,
    # The proxy of the environment is not for calls between nodes.
    ("grpc.enable_http_proxy", 0),
    # Each channel has its own connection and back-off, not those of another peer object.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.keepalive_time_ms", 10_000),
    # Also TCP_USER_TIMEOUT. Longer than a call may take: a node that is only paused
    # for a while keeps its connection, so what it was sent need not be sent twice.
    ("grpc.keepalive_timeout_ms", 20_000),
)

CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    *_CLIENT,
    ("grpc.http2.max_pings_without_data", 0),
)

# A Go server counts pings without a call as strikes and closes at the third,
# so a link to one pings only while a call is under way.
GO_CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    *_CLIENT,
    ("grpc.keepalive_permit_without_calls", 0),
)
