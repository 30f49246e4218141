"""The recorded dialogues of a goim cluster, `tests/vectors/*.jsonl`, and ways to cut bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.vectors.lines import lines

__all__ = ["CLIENT_MASK", "CUTS", "UPGRADE_KEY", "Stream", "dialogues", "one_byte", "streams", "whole"]

CLIENT_MASK = bytes.fromhex("37fa213d")
UPGRADE_KEY = b"the sample nonce"


@dataclass(frozen=True, slots=True)
class Stream:
    """All bytes that one connection of a dialogue carried in one direction.

    Args:
        name: The dialogue, and the connection where there are several.
        data: The bytes.
        steps: The recorded steps they come from, with goim's decoded view.
    """

    name: str
    data: bytes
    steps: tuple[dict[str, Any], ...]


def dialogues(name: str) -> list[dict[str, Any]]:
    """Return the dialogues of a file, such as `tcp-sessions`."""
    return lines(name)


def streams(name: str, direction: str) -> list[Stream]:
    """Return each connection's bytes in one direction, `send` (by the client) or `recv`."""
    found = []
    for dialogue in dialogues(name):
        connections = {step.get("conn", ""): None for step in dialogue["steps"]}
        for connection in connections:
            steps = [step for step in dialogue["steps"] if step.get("conn", "") == connection and step.get(direction)]
            data = b"".join(bytes.fromhex(step[direction]) for step in steps)
            if data:
                title = f"{dialogue['name']}-{connection}" if connection else dialogue["name"]
                found.append(Stream(title, data, tuple(steps)))
    return found


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def one_byte(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        yield data[position : position + 1]


CUTS: list[Callable[[bytes], Iterator[bytes]]] = [whole, one_byte]
