"""Each sort of value a scenario has: what it is called, an example, how it is read, and its JSON Schema."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from sim.language import units
from sim.language.fields import Kind
from sim.language.yaml_tree import Scalar
from sim.scenario.expect import EXPECTATION_PATTERN
from sim.scenario.scenario import DEFAULT_OP, MAX_SIZE_BYTES, MIN_SIZE_BYTES, Backoff

__all__ = [
    "AT",
    "BACKOFF",
    "BANDWIDTH",
    "BOOL",
    "BURST",
    "CONNECTIONS",
    "COUNT",
    "DELAY",
    "DURATION",
    "EVENT",
    "EXPECT",
    "EXPONENT",
    "FILE",
    "FACTORS",
    "FEED_NAME",
    "FRACTION",
    "INFLIGHT",
    "KEY",
    "MID",
    "NAME",
    "NEW_ROOM",
    "NODE",
    "OP",
    "PEM",
    "PHASE_NAME",
    "POPULATION",
    "PUBLISHER_NAME",
    "RATE",
    "ROOM",
    "SCENARIO_NAME",
    "SEED",
    "SHARE",
    "SIGMA",
    "SIZE",
    "SOURCE",
    "SPEED",
    "TRACE",
    "WEIGHT",
    "one_of",
]

FIRST_FREE_OP = 18
"""goim's own operations are 0 to 17."""

MAX_CLIENTS = 1_000_000
MAX_ROOMS = 100_000
MAX_SOURCES = 65_536
MAX_DURATION_S = 720 * 3600.0
MAX_DELAY_S = 60.0
"""A run waits for what is on its way at its end."""

MAX_TRACE_PER_S = 100.0
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


def one_of(words: tuple[str, ...]) -> Kind:
    """Return the kind of a word out of a few."""

    def parse(value: Scalar) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Kind(" or ".join(words), words[0], parse, {"enum": list(words)}, words)


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


def _parse_source(value: Scalar) -> tuple[str, ...]:
    """Return the addresses of `127.0.0.2` or `127.0.0.2..127.0.0.9`."""
    first, dots, last = value.partition("..") if isinstance(value, str) else ("", "", "")
    try:
        low = ipaddress.ip_address(first.strip())
        high = ipaddress.ip_address(last.strip()) if dots else low
    except ValueError:
        raise ValueError from None
    if low.version != high.version or not 0 <= int(high) - int(low) < MAX_SOURCES:
        raise ValueError(f"a range that goes up and has at most {MAX_SOURCES} addresses")
    return tuple(str(low + number) for number in range(int(high) - int(low) + 1))


def _parse_weight(value: Scalar) -> float:
    if not units.is_number(value) or not 0 <= float(value or 0) <= 1e9:
        raise ValueError
    return float(value or 0)


def _parse_new_room(value: Scalar) -> str:
    """Return the room key of `live://1`; empty for `none`."""
    if value == "none":
        return ""
    if not isinstance(value, str) or not _ROOM.fullmatch(value):
        raise ValueError
    return value


def _parse_trace(value: Scalar) -> float:
    """Return messages a second; 0 for `none`."""
    rate_per_s = 0.0 if value == "none" else units.parse_rate_per_s(value)
    if value != "none" and not 0 < rate_per_s <= MAX_TRACE_PER_S:
        raise ValueError(f"{units.RATE}, over 0 and at most {MAX_TRACE_PER_S:g}/s, or none")
    return rate_per_s


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


def _parse_factors(value: Scalar) -> tuple[float, float]:
    factors = units.parse_ramp(value)
    if max(factors) > 1000:
        raise ValueError(f"{units.RAMP}, at most x1000")
    return factors


def _parse_at(value: Scalar) -> float:
    at_s = units.parse_duration_s(value)
    if at_s > MAX_DURATION_S:
        raise ValueError(f"{AT.expected}, at most 720h")
    return at_s


def _parse_backoff(value: Scalar) -> Backoff:
    low, high = units.parse_duration_range_s(value)
    if not 0 < low <= high <= MAX_DURATION_S:
        raise ValueError(f"{units.DURATION_RANGE}, over 0 and at most 720h")
    return Backoff(low, high)


def _parse_fraction(value: Scalar) -> float:
    share = units.parse_share(value)
    if not share:
        raise ValueError(f"{units.SHARE}, over 0%")
    return share


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
_DURATION = r"([0-9]+(\.[0-9]+)?(us|ms|s|m|h))+"

NAME = _matching(_NAME, "a name of letters, digits, _ and - (64 at most)", "viewers")
PHASE_NAME = dataclasses.replace(NAME, example="steady")
PUBLISHER_NAME = dataclasses.replace(NAME, example="chat")
FEED_NAME = dataclasses.replace(NAME, example="user")
SCENARIO_NAME = dataclasses.replace(NAME, example="evening")
OP = _whole(FIRST_FREE_OP, 2**31 - 1, f"an operation from {FIRST_FREE_OP} (goim's own are below)", str(DEFAULT_OP))
COUNT = _whole(1, MAX_CLIENTS, f"a whole number from 1 to {MAX_CLIENTS}", "100")
INFLIGHT = _whole(1, 100_000, "a whole number from 1 to 100000", "200")
BURST = _whole(1, 1000, "a whole number from 1 to 1000", "10")
DURATION = Kind(
    units.DURATION,
    "10s",
    _positive(units.parse_duration_s, units.DURATION, MAX_DURATION_S, "720h"),
    _unit_schema(_DURATION),
)
DELAY = Kind(
    "a duration such as 50ms, at most 1m",
    "50ms",
    _positive(units.parse_duration_s, units.DURATION, MAX_DELAY_S, "1m"),
    _unit_schema(_DURATION),
)
BANDWIDTH = Kind(
    units.BANDWIDTH,
    "1MB/s",
    _positive(units.parse_bandwidth_bytes_per_s, units.BANDWIDTH, 1e12, "1000GB/s"),
    _unit_schema(_NUMBER + r"([kKmMgG][iI]?)?B\s*/\s*s\s*"),
)
AT = Kind("a time from the start of the first phase, such as 8s", "8s", _parse_at, _unit_schema(_DURATION))
BACKOFF = Kind(units.DURATION_RANGE, "100ms..2s", _parse_backoff, _unit_schema(rf"{_DURATION}\s*(\.\.\s*{_DURATION})?"))
RATE = Kind(
    units.RATE,
    "40/s",
    _positive(units.parse_rate_per_s, units.RATE, 1e6, "1000000/s"),
    _unit_schema(_NUMBER + r"/\s*(s|m|h)\s*"),
)
TRACE = Kind(f"{units.RATE}, or none", "5/s", _parse_trace, _unit_schema(rf"(none|{_NUMBER}/\s*(s|m|h)\s*)"))
SHARE = Kind(units.SHARE, "70%", units.parse_share, _unit_schema(_NUMBER + r"%\s*"))
FRACTION = Kind(units.SHARE, "20%", _parse_fraction, _unit_schema(_NUMBER + r"%\s*"))
FACTORS = Kind(units.RAMP, "x4", _parse_factors, _unit_schema(rf"x{_NUMBER}(\.\.\s*x{_NUMBER})?"))
BOOL = Kind("true or false", "false", _parse_bool, {"type": "boolean"})
ROOM = Kind(
    "a room key such as live://1, or several as live://${1..4}",
    "live://${1..4}",
    _parse_room,
    _unit_schema(r"[^\s:/]+://\S+"),
)
NEW_ROOM = Kind(
    "a room key such as live://1, or none for out of every room",
    "live://1",
    _parse_new_room,
    _unit_schema(r"(none|[^\s:/$]+://[^\s$]+)"),
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
CONNECTIONS = _whole(1, 1000, "a whole number from 1 to 1000", "3")
EXPONENT = Kind(
    "a number over 0, at most 5", "1.1", _parse_sigma, {"type": "number", "exclusiveMinimum": 0, "maximum": 5}
)
WEIGHT = Kind("a number from 0", "3", _parse_weight, {"type": "number", "minimum": 0, "maximum": 1e9})
SOURCE = Kind(
    "an address of this machine, or several as 127.0.0.2..127.0.0.9",
    "127.0.0.2..127.0.0.9",
    _parse_source,
    _unit_schema(r"\s*[0-9a-fA-F.:]+\s*"),
)
SIGMA = Kind("a number over 0, at most 5", "1.0", _parse_sigma, {"type": "number", "exclusiveMinimum": 0, "maximum": 5})
SPEED = _whole(0, 1_000_000, "messages a second, or 0 for as fast as can be", "0")
SEED = _whole(0, 2**63 - 1, "a whole number from 0", "7")
POPULATION = _matching(_NAME, "the name of an entry of clients", "viewers")
NODE = _matching(_NAME, "a node's name as imctl ps shows it, such as comet-1", "comet-1")
FILE = Kind("the path of a scenario file, from this one's folder", "base.yaml", _parse_text, _unit_schema(r".*\S.*"))
PEM = Kind("the path of a PEM file, from this one's folder", "certs/ca.pem", _parse_text, _unit_schema(r".*\S.*"))
EVENT = Kind("what an event does and to whom", "kill comet-1", _parse_text, _unit_schema(r".*\S.*"))
EXPECT = Kind(
    "<metric> <operator> <number and unit>",
    "latency.p99 < 50ms",
    _parse_text,
    {"type": "string", "pattern": EXPECTATION_PATTERN},
)
