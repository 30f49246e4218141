"""What cases of pushes share: who gets what, over TCP and WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from imctl.conform.case import Case
from imctl.conform.connection import Connection
from imctl.conform.lab import Lab

__all__ = ["JSON", "LAST", "LATE_S", "ONE", "Push", "Run", "push_cases", "pushed", "shown", "until_last"]

JSON = b'{"test":1}'
ONE = "op 1000 seq 0 '{\"test\":1}'"
"""How it looks when it was pushed with operation 1000."""
LAST = "op 1000 seq 0 'last'"
LATE_S = 10.0
"""A push may take so long: a Go node that is new to the others is seen by them after up to that."""

Run = Callable[[Lab, str], Awaitable[str]]
"""A case, given `tcp` or `ws` for its clients."""


@dataclass(frozen=True, slots=True)
class Push:
    """A case of pushes, for TCP and WebSocket clients.

    Args:
        recording: Its name in tcp-pushes and ws-pushes.
        clients: Texts that each client gets; over WebSocket each comes in a container.
        text: What comes, where that is not what clients get.
        otherwise: What the clients get by a known defect, and what that is.
    """

    name: str
    shows: str
    recording: str
    clients: Sequence[Sequence[str]]
    run: Run
    text: str = ""
    otherwise: tuple[Sequence[Sequence[str]], str] | None = None


def push_cases(pushes: Sequence[Push]) -> list[Case]:
    """Return a case for each push and transport."""
    return [_case(push, part) for part in ("tcp", "ws") for push in pushes]


def _case(push: Push, part: str) -> Case:
    def seen(clients: Sequence[Sequence[str]]) -> str:
        return " | ".join(shown(part, *texts) or "nothing" for texts in clients)

    return Case(
        f"{part}-push.{push.name}",
        f"{part}-push",
        push.shows,
        f"{part}-pushes.jsonl: {push.recording}",
        (part, "http"),
        push.text or seen(push.clients),
        lambda lab: push.run(lab, part),
        {} if push.otherwise is None else {seen(push.otherwise[0]): push.otherwise[1]},
        limit_s=30.0,
    )


def shown(part: str, *texts: str) -> str:
    """Return how pushed frames look: WebSocket clients get them in a container, which shows as brackets."""
    return "; ".join(f"[{text}]" if part == "ws" else text for text in texts)


async def pushed(lab: Lab, *clients: Connection, count: int = 1) -> str:
    """Return what each client got: at least `count` texts, and what came behind them."""
    first = [await client.take(count, wait_s=LATE_S) for client in clients]
    rest = [await lab.rest(client) for client in clients]
    return " | ".join(lab.seen(one + two) for one, two in zip(first, rest, strict=True))


async def until_last(lab: Lab, client: Connection) -> str:
    """Return what a client gets up to a message that says `last`."""
    seen: list[str] = []
    while not client.closed and not any("last" in text for text in seen):
        seen += await client.take(wait_s=LATE_S)
    return lab.seen(seen)
