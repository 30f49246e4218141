"""The scenario format: every key, what it takes, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sim import units
from sim.expect import EXPECTATION_PATTERN
from sim.fields import REQUIRED, Either, Field, Kind, ListOf, Section, Spec
from sim.scenario import DEFAULT_OP, MAX_SIZE_BYTES, MIN_SIZE_BYTES, PublishTo
from sim.yaml_tree import Scalar

__all__ = ["SCENARIO", "scenario_schema"]

FIRST_FREE_OP = 18
"""goim's own operations are 0 to 17."""

MAX_CLIENTS = 1_000_000
MAX_ROOMS = 100_000
MAX_MID = 2**63 - 1 - MAX_CLIENTS
"""A mid is an int64 on goim's wire."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_RANGE = re.compile(r"\$\{(\d{1,10})\.\.(\d{1,10})\}")
_OPEN_RANGE = re.compile(r"\$\{(\d{1,18})\.\.\}")
_ROOM = re.compile(r"[^\s:/$]+://[^\s$]+")
_KEY = re.compile(r"[^\s${},]{1,64}")


def _whole(low: int, high: int, expected: str, example: str) -> Kind:
    def parse(value: Scalar) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return Kind(expected, example, parse, {"type": "integer", "minimum": low, "maximum": high})


def _positive(parse: Any, expected: str, high: float, limit: str) -> Any:
    """Return `parse`, and 0 and what is over `high` refused: the largest load that is no slip of the hand."""

    def positive(value: Scalar) -> Any:
        number = parse(value)
        if not 0 < number <= high:
            raise ValueError(f"{expected}, over 0 and at most {limit}")
        return number

    return positive


def _matching(pattern: re.Pattern[str], expected: str, example: str) -> Kind:
    def parse(value: Scalar) -> str:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not pattern.fullmatch(text):
            raise ValueError
        return text

    return Kind(expected, example, parse, {"type": "string", "pattern": f"^{pattern.pattern}$"})


def _one_of(words: tuple[str, ...]) -> Kind:
    def parse(value: Scalar) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Kind(" or ".join(words), words[0], parse, {"enum": list(words)})


def _parse_bool(value: Scalar) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _parse_room(value: Scalar) -> tuple[str, ...]:
    """Return the room keys of `live://1` or `live://${1..4}`."""
    if not isinstance(value, str):
        raise ValueError
    ranges = _RANGE.findall(value)
    if len(ranges) > 1:
        raise ValueError("one range such as ${1..4} at most")
    if not ranges:
        rooms: tuple[str, ...] = (value,)
    else:
        first, last = int(ranges[0][0]), int(ranges[0][1])
        if not 0 <= last - first < MAX_ROOMS:
            raise ValueError(f"a range that goes up and has at most {MAX_ROOMS} rooms, such as live://${{1..4}}")
        rooms = tuple(_RANGE.sub(str(number), value) for number in range(first, last + 1))
    if not _ROOM.fullmatch(rooms[0]):
        raise ValueError
    return rooms


def _parse_mid(value: Scalar) -> int:
    """Return the first mid of `1000` or `${1000..}`."""
    match = _OPEN_RANGE.fullmatch(value) if isinstance(value, str) else None
    mid = int(match[1]) if match else value
    if not isinstance(mid, int) or isinstance(mid, bool) or not 1 <= mid <= MAX_MID:
        raise ValueError
    return mid


def _parse_key(value: Scalar) -> str:
    """Return the prefix of `viewer-` or `viewer-${0..}`."""
    text = value.removesuffix("${0..}") if isinstance(value, str) else ""
    if not _KEY.fullmatch(text):
        raise ValueError
    return text


def _parse_size(value: Scalar) -> int:
    size = units.parse_size_bytes(value)
    if not MIN_SIZE_BYTES <= size <= MAX_SIZE_BYTES:
        raise ValueError(f"{MIN_SIZE_BYTES} bytes (the simulator's stamp) to {MAX_SIZE_BYTES} bytes")
    return size


def _parse_times(value: Scalar) -> float:
    times = units.parse_times(value)
    if times > 1000:
        raise ValueError(f"{units.TIMES}, at most x1000")
    return times


def _parse_sigma(value: Scalar) -> float:
    if not units.is_number(value) or not 0 < float(value or 0) <= 5:
        raise ValueError
    return float(value or 0)


def _parse_text(value: Scalar) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _unit_schema(pattern: str) -> Mapping[str, Any]:
    return {"type": "string", "pattern": f"^{pattern}$"}


_NUMBER = r"\s*[0-9]+(\.[0-9]+)?\s*"
_DURATION_SCHEMA = _unit_schema(r"([0-9]+(\.[0-9]+)?(us|ms|s|m|h))+")

NAME = _matching(_NAME, "a name of letters, digits, _ and - (64 at most)", "viewers")
OP = _whole(FIRST_FREE_OP, 2**31 - 1, f"an operation from {FIRST_FREE_OP} (goim's own are below)", str(DEFAULT_OP))
COUNT = _whole(1, MAX_CLIENTS, f"a whole number from 1 to {MAX_CLIENTS}", "100")
INFLIGHT = _whole(1, 100_000, "a whole number from 1 to 100000", "200")
DURATION = Kind(
    units.DURATION, "10s", _positive(units.parse_duration_s, units.DURATION, 720 * 3600, "720h"), _DURATION_SCHEMA
)
RATE = Kind(
    units.RATE,
    "40/s",
    _positive(units.parse_rate_per_s, units.RATE, 1e6, "1000000/s"),
    _unit_schema(_NUMBER + r"/\s*(s|m|h)\s*"),
)
SHARE = Kind(units.SHARE, "70%", units.parse_share, _unit_schema(_NUMBER + r"%\s*"))
TIMES = Kind(units.TIMES, "x4", _parse_times, _unit_schema(r"x" + _NUMBER))
BOOL = Kind("true or false", "false", _parse_bool, {"type": "boolean"})
ROOM = Kind(
    "a room key such as live://1, or several as live://${1..4}",
    "live://${1..4}",
    _parse_room,
    _unit_schema(r"[^\s:/]+://\S+"),
)
MID = Kind(
    "the first client's mid, such as 1000 or ${1000..}",
    "1000",
    _parse_mid,
    {"anyOf": [{"type": "integer", "minimum": 1}, _unit_schema(r"\$\{[0-9]+\.\.\}")]},
)
KEY = Kind(
    "what keys begin with, such as viewer- (client 0 has viewer-0)",
    "viewer-",
    _parse_key,
    _unit_schema(r"[^\s${},]{1,64}(\$\{0\.\.\})?"),
)
SIZE = Kind(
    units.SIZE,
    "64",
    _parse_size,
    {
        "anyOf": [
            {"type": "integer", "minimum": MIN_SIZE_BYTES, "maximum": MAX_SIZE_BYTES},
            _unit_schema(_NUMBER + r"([kKmM]?[iI]?[bB])?"),
        ]
    },
)
SIGMA = Kind("a number over 0, at most 5", "1.0", _parse_sigma, {"type": "number", "exclusiveMinimum": 0, "maximum": 5})
SPEED = _whole(0, 1_000_000, "messages a second, or 0 for as fast as can be", "0")
SEED = _whole(0, 2**63 - 1, "a whole number from 0", "7")
POPULATION = _matching(_NAME, "the name of an entry of clients", "viewers")
EXPECT = Kind(
    "<metric> <operator> <number and unit>",
    "latency.p99 < 50ms",
    _parse_text,
    {"type": "string", "pattern": EXPECTATION_PATTERN},
)

UNIFORM = Section(
    (Field("min", SIZE, "Smallest size."), Field("max", SIZE, "Largest size.")),
)
LOGNORMAL = Section(
    (
        Field("median", SIZE, "Half of the messages are smaller."),
        Field("sigma", SIGMA, "Spread: standard deviation of the size's natural logarithm.", 1.0),
        Field("max", SIZE, "Larger draws are cut to it.", 65536),
    )
)
DISTRIBUTION = Section(
    (
        Field("uniform", UNIFORM, "Every size from min to max is as likely."),
        Field("lognormal", LOGNORMAL, "Most near the median, a few much larger, as in real chats."),
    ),
    one_of=True,
)
TRANSPORT = Section(
    (
        Field("tcp", SHARE, "Share of the clients on TCP.", None),
        Field("ws", SHARE, "Share of the clients on WebSocket.", None),
    )
)
CONNECT = Section(
    (
        Field("rate", RATE, "Connects started a second.", 1000.0),
        Field("inflight", INFLIGHT, "Connects under way at any time, at most.", 200),
    )
)
CLIENTS = Section(
    (
        Field("name", NAME, "What publishers and reports call this population."),
        Field("count", COUNT, "Number of clients."),
        Field("transport", Either(_one_of(("tcp", "ws")), TRANSPORT), "tcp, ws, or the share of each.", "tcp"),
        Field("room", ROOM, "Room key; a range spreads the clients over its rooms.", None),
        Field("mid", MID, "Mid of the first client; the next has the next.", None),
        Field("key", KEY, "What the clients' keys begin with; the client's number follows.", None),
        Field("accepts", ListOf(OP), "Operations taken from pushes by mid, by key and to all.", (DEFAULT_OP,)),
        Field("connect", CONNECT, "How fast the clients connect.", None),
        Field("heartbeat", DURATION, "Time between heartbeats of a client.", 30.0),
    )
)
PUBLISH = Section(
    (
        Field("name", NAME, "What reports call this publisher.", None),
        Field("to", _one_of(tuple(PublishTo)), "Which of goim's pushes."),
        Field("rooms", POPULATION, "With `to: room`: whose rooms.", None),
        Field("mids", POPULATION, "With `to: mid`: whose mids.", None),
        Field("keys", POPULATION, "With `to: key`: whose keys.", None),
        Field("rate", RATE, "Messages a second over all targets together; times come from the schedule."),
        Field("size", Either(SIZE, DISTRIBUTION), "Bytes of a message's body.", 64),
        Field("op", OP, "Operation of the messages.", DEFAULT_OP),
        Field("speed", SPEED, "With `to: all`: messages a second each comet sends at most; 0 for no limit.", None),
    )
)
PHASE = Section(
    (
        Field("name", NAME, "What expectations and reports call this phase."),
        Field("duration", DURATION, "How long it lasts."),
        Field("measure", BOOL, "Whether its messages count in the overall numbers.", True),
        Field("publish", TIMES, "Every publisher's rate times this; x0 for silence.", 1.0),
    )
)
SCENARIO = Section(
    (
        Field("name", NAME, "What reports call this scenario."),
        Field("seed", SEED, "Same seed, same schedule, same sizes.", 1),
        Field("clients", ListOf(CLIENTS, at_least=1), "Populations of clients."),
        Field("publish", ListOf(PUBLISH), "Open-loop publishers.", ()),
        Field("phases", ListOf(PHASE, at_least=1), "What happens when; connecting comes before the first."),
        Field("expect", ListOf(EXPECT), "What must hold for the run to pass.", ()),
    )
)


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a scenario file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "imctl scenario",
        **_schema(SCENARIO),
        "$defs": {
            "variable": {
                "description": "An environment variable, with or without a default.",
                "type": "string",
                "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
            }
        },
    }


def _schema(spec: Spec) -> dict[str, Any]:
    if isinstance(spec, Kind):
        return {"anyOf": [dict(spec.schema), {"$ref": "#/$defs/variable"}]}
    if isinstance(spec, ListOf):
        return {"type": "array", "items": _schema(spec.of), **({"minItems": spec.at_least} if spec.at_least else {})}
    if isinstance(spec, Either):
        return {"anyOf": [_schema(spec.scalar), _schema(spec.mapping)]}
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {known.name: {"description": known.doc, **_schema(known.spec)} for known in spec.fields},
    }
    if spec.one_of:
        schema["minProperties"] = schema["maxProperties"] = 1
    else:
        required = [known.name for known in spec.fields if known.default is REQUIRED]
        if required:
            schema["required"] = required
    return schema
