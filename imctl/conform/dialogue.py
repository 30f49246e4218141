"""Cases that are one dialogue with a comet after auth: frames out, everything that comes of them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imctl.conform.case import Case
from imctl.conform.lab import Lab
from protocol.frame import HEADER, HEADER_LEN, pack_frame

__all__ = ["Dialogue", "dialogue_cases", "frame", "header"]

Steps = Callable[[Lab], Sequence[Sequence[bytes]]]


def frame(op: int, body: bytes = b"", *, seq: int = 2, ver: int = 1) -> bytes:
    """Return a goim frame."""
    return pack_frame(op, body, ver=ver, seq=seq)


def header(pack_len: int, *, header_len: int = HEADER_LEN, op: int = 1000, seq: int = 2) -> bytes:
    """Return a header alone that may break the rules."""
    return HEADER.pack(pack_len, header_len, 1, op, seq)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a client sends after auth and what it must see, the same over TCP and WebSocket unless said.

    Args:
        name: Last part of the case's id.
        shows: What it is about.
        steps: Frames, one write after another; the next write waits for all that comes of the last.
        expected: What comes, as text; "" for no WebSocket or TCP case where the source below is "" too.
        source: Recording of tcp-sessions, `name`; "" for no case over TCP.
        ws: Recording of ws-sessions; "" for no case over WebSocket.
        expected_ws: Where it differs.
        token: More fields of the auth token.
        file: goim's source file, where there is no recording.
        accepted: See Case.
        risky: See Case.
    """

    name: str
    shows: str
    steps: Steps
    expected: str
    source: str = ""
    ws: str = ""
    expected_ws: str = ""
    token: Mapping[str, Any] = field(default_factory=dict)  # Any: fields of AuthToken
    file: str = ""
    accepted: Mapping[str, str] = field(default_factory=dict)
    risky: bool = False


def dialogue_cases(area: str, dialogues: Sequence[Dialogue]) -> list[Case]:
    """Return a case for each dialogue and transport; the areas are `tcp-AREA` and `ws-AREA`."""
    found = []
    for dialogue in dialogues:
        for part, recording in (("tcp", dialogue.source), ("ws", dialogue.ws)):
            if not recording:
                continue
            from_recording = f"{part}-sessions.jsonl: {recording}"
            found.append(
                Case(
                    id=f"{part}-{area}.{dialogue.name}",
                    area=f"{part}-{area}",
                    shows=dialogue.shows,
                    source=dialogue.file if recording == "-" else from_recording,
                    needs=(part,),
                    expected=(dialogue.expected_ws or dialogue.expected) if part == "ws" else dialogue.expected,
                    run=_player(dialogue, part),
                    accepted=dialogue.accepted,
                    risky=dialogue.risky,
                )
            )
    return found


def _player(dialogue: Dialogue, part: str) -> Callable[[Lab], Any]:
    async def play(lab: Lab) -> str:
        token = dict(dialogue.token)
        if "room" in token:
            token["room_id"] = lab.room(token.pop("room"))
        connection = await lab.login(part, **token)
        seen: list[str] = []
        for frames in dialogue.steps(lab):
            seen += await connection.ask(*frames)
            if connection.closed:
                break
        return lab.seen(seen)

    return play
