"""What each drop that nodes count means, in a line; docs/stats.md has the whole of it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MEANINGS", "NORMAL", "meaning_of"]

MEANINGS: Mapping[str, str] = {
    "comet.slow_client": "clients read too slowly: send less, or raise write_buffer_bytes",
    "comet.client_gone": "left while a message was on its way; normal",
    "comet.unknown_key": "sessions outlived their connection; normal after a comet died",
    "comet.broadcast_queue_full": "too many broadcasts with a speed at a time",
    "comet.stopped": "a broadcast was cut short by the stop of a comet",
    "logic.offline": "pushed to somebody who was not connected; imctl up --messages keeps those",
    "logic.bus": "the bus took no more: do job and comets keep up?",
    "logic.too_large": "messages over max_message_bytes",
    "logic.bad_token": "clients whose op 7 is no token: imctl logs has the reason",
    "logic.connect_store": "the session store failed as clients connected",
    "logic.kick_failed": "an old login stayed: its comet did not answer",
    "logic.login_too_late": "a login was not decided in time: look at the store",
    "logic.disconnect_store": "the session store failed as clients left",
    "logic.refresh_store": "the session store failed at a refresh",
    "logic.online_store": "the session store did not take room counts",
    "logic.bad_params": "HTTP requests that could not be read",
    "logic.http_backend": "HTTP requests that bus or store stopped",
    "logic.http_bug": "a fault of imctl: imctl logs has the traceback",
    "logic.http_bad_request": "no HTTP came on the HTTP port",
    "logic.http_slow_request": "HTTP requests that took too long to arrive",
    "logic.http_slow_reader": "HTTP callers that did not read their answers",
    "logic.http_connections": "more HTTP connections than http_max_connections",
    "hooks.NAME.REASON": "a hook failed or said no: imctl hooks",
    "hooks.offline.over_count": "more messages waited for a user than max_messages",
    "hooks.offline.over_bytes": "more bytes waited for a user than max_bytes",
    "hooks.offline.over_age": "messages waited longer than max_age_s",
    "hooks.offline.history": "the history could not be written: look at the message store",
    "hooks.NAME.notices_full": "a hook is too slow to be told of connects: imctl hooks",
    "job.unknown_server": "pushed to keys of a comet that is gone; normal after one died",
    "job.no_comet": "pushed while there was no comet",
    "job.comet_queue_full": "a comet is too slow: imctl ps, more comets",
    "job.comet_unavailable": "a comet could not be reached",
    "job.comet_timeout": "a comet did not answer in time: paused, or overloaded",
    "job.comet_error": "a comet refused calls: log of the job at debug level",
    "job.bad_record": "somebody else writes to the bus's topic",
    "registry.instances_over_limit": "more registrations than max_instances",
    "registry.metadata_over_limit": "a node publishes too much metadata",
    "registry.connections_over_limit": "more connections than max_connections or open files allow",
    "registry.polls_over_limit": "more polls than max_polls",
}
"""By name; NAME is that of a hook, and REASON any of its reasons."""

NORMAL = frozenset(("comet.client_gone", "logic.offline"))
"""What a cluster without any fault drops, as goim does."""


def meaning_of(name: str) -> str:
    """Return what a drop means; for a name that is not known, which command tells more."""
    known = MEANINGS.get(name)
    if known is not None:
        return known
    if name.startswith("hooks."):
        of_any = "hooks.NAME.notices_full" if name.endswith(".notices_full") else "hooks.NAME.REASON"
        return MEANINGS[of_any]
    return "imctl stats; of another version of imctl?"
