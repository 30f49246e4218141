"""One message to a client of our own, as a condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imctl.doctor.contract import Condition, Status

__all__ = ["Delivery", "check_delivery"]

_SLOW_MS = 250.0  # room.yaml's own limit for a p99 on a shared machine


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of it.

    Args:
        total_ms: From the push to the last hop that was seen; None when none was.
        was_read: Whether the client has got it.
        hops: Milliseconds by hop, in the order of the way; None where nobody told.
        hidden: {hop: why nobody told}.
        lost: What nodes say about giving it up.
        waited_s: How long was waited for it.
    """

    total_ms: float | None
    was_read: bool
    hops: Mapping[str, float | None]
    waited_s: float
    hidden: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


def check_delivery(delivery: Delivery) -> Condition:
    """Judge a message that was pushed to a client of our own."""
    name, required = "push to a client", f"read within {delivery.waited_s:g} s"
    facts = {"total_ms": delivery.total_ms, "hops_ms": dict(delivery.hops), "lost": list(delivery.lost)}
    if not delivery.was_read:
        seen = ", ".join(delivery.hops) or "none"
        found = "; ".join(delivery.lost) or f"not read; hops seen: {seen}"
        fix = next(iter(delivery.hidden.values()), "") or "imctl trace, imctl stats and imctl logs tell where"
        return Condition(name, Status.FAILED, required, found, fix, facts)
    hops = ", ".join(f"{hop} {took_ms:.2f}" for hop, took_ms in delivery.hops.items() if took_ms is not None)
    total_ms = delivery.total_ms or 0.0
    found = f"{total_ms:.2f} ms" + (f": {hops}" if hops else "")
    if total_ms > _SLOW_MS:
        return Condition(name, Status.WARNING, required, found, "slow: the longest hop says where; is it busy?", facts)
    return Condition(name, Status.OK, required, found, "", facts)
