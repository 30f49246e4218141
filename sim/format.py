"""The scenario format: every key, what it takes, and its JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim import kinds
from sim.fields import REQUIRED, Either, Field, Kind, ListOf, Section, Spec
from sim.kinds import one_of
from sim.scenario import DEFAULT_OP, Arrival, EventKind, PublishTo

__all__ = ["CLIENTS", "EVENT", "EVENT_DOCS", "EVENT_KEYS", "PHASE", "PUBLISH", "SCENARIO", "scenario_schema"]

UNIFORM = Section(
    (
        Field("min", kinds.SIZE, "Smallest size; every size up to `max` is as likely."),
        Field("max", kinds.SIZE, "Largest size."),
    ),
)
LOGNORMAL = Section(
    (
        Field("median", kinds.SIZE, "Half of the messages are smaller; a few are much larger, as in real chats."),
        Field("sigma", kinds.SIGMA, "Spread: standard deviation of the size's natural logarithm.", 1.0, "1.0"),
        Field("max", kinds.SIZE, "Larger draws are cut to it.", 65536, "64KiB"),
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
        Field("tcp", kinds.SHARE, "Share of the clients on TCP.", None, "the rest"),
        Field("ws", kinds.SHARE, "Share of the clients on WebSocket.", None, "the rest"),
    )
)
CONNECT = Section(
    (
        Field("rate", kinds.RATE, "Connects started a second.", 1000.0, "1000/s"),
        Field("inflight", kinds.INFLIGHT, "Connects under way at any time, at most.", 200, "200"),
    )
)
RECONNECT = Section(
    (
        Field(
            "backoff",
            kinds.BACKOFF,
            "Wait before each attempt to connect: `100ms..2s` begins with 100 ms, doubled by each failure up to 2 s; "
            "chance takes up to half of it off. `500ms` does not grow.",
        ),
    )
)
CHURN = Section(
    (
        Field("rate", kinds.RATE, "Clients of the population that leave a second; which ones is drawn by the seed."),
        Field("away", kinds.BACKOFF, "How long each stays away: `1s`, or drawn from `500ms..2s`."),
    )
)
CLIENTS = Section(
    (
        Field("name", kinds.NAME, "What publishers, events and reports call this population."),
        Field("count", kinds.COUNT, "Number of clients, from 1."),
        Field(
            "transport", Either(one_of(("tcp", "ws")), TRANSPORT), "`tcp`, `ws`, or the share of each.", "tcp", "tcp"
        ),
        Field(
            "room",
            kinds.ROOM,
            "Room key such as `live://1`; `live://${1..4}` spreads the clients over four rooms, one after the other.",
            None,
            "no room",
        ),
        Field(
            "mid",
            kinds.MID,
            "Mid of the first client, `1000` or `${1000..}`; the next has the next. No two populations share one.",
            None,
            "0 for all",
        ),
        Field(
            "key",
            kinds.KEY,
            "What keys begin with: `viewer-` gives `viewer-0`, `viewer-1` and so on.",
            None,
            "made by logic",
        ),
        Field(
            "accepts",
            ListOf(kinds.OP),
            "Operations taken from pushes by mid, by key and to all. A push to a room asks nobody, as in goim.",
            (DEFAULT_OP,),
            "[1000]",
        ),
        Field("connect", CONNECT, "How fast the clients connect, before the first phase begins.", None),
        Field("heartbeat", kinds.DURATION, "Time between a client's heartbeats.", 30.0, "30s"),
        Field(
            "reconnect",
            RECONNECT,
            "What a client does that loses its connection without wanting to.",
            None,
            "it stays away",
        ),
        Field("churn", CHURN, "Clients that leave and come back while the phases run.", None, "all stay"),
    )
)
PUBLISH = Section(
    (
        Field("to", one_of(tuple(PublishTo)), "Which of goim's pushes: `room`, `mid`, `key` or `all`."),
        Field("rooms", kinds.POPULATION, "The population whose rooms are pushed to in turn.", None, "needed by `room`"),
        Field("mids", kinds.POPULATION, "The population whose mids are pushed to in turn.", None, "needed by `mid`"),
        Field("keys", kinds.POPULATION, "The population whose keys are pushed to in turn.", None, "needed by `key`"),
        Field("rate", kinds.RATE, "Messages a second over all its targets together."),
        Field(
            "burst",
            kinds.BURST,
            "Messages that leave at one instant, to targets in turn; the rate still counts messages.",
            1,
            "1",
        ),
        Field(
            "arrival",
            one_of(tuple(Arrival)),
            "`uniform`: evenly spaced. `poisson`: at random, as when many people write who do not know of each other; "
            "as many in each phase.",
            Arrival.UNIFORM,
            "uniform",
        ),
        Field("size", Either(kinds.SIZE, DISTRIBUTION), "Bytes of a message's body, from 24.", 64, "64"),
        Field("op", kinds.OP, "Operation, from 18 (goim's own are below).", DEFAULT_OP, "1000"),
        Field(
            "speed",
            kinds.SPEED,
            "With `to: all`: messages a second each comet sends at most; 0 for no limit.",
            None,
            "0",
        ),
        Field("name", kinds.NAME, "What reports call this publisher.", None, "made up"),
    )
)
PHASE = Section(
    (
        Field("name", kinds.NAME, "What expectations and reports call this phase."),
        Field("duration", kinds.DURATION, "How long it lasts."),
        Field(
            "measure",
            kinds.BOOL,
            "`false`: runs as the others do, and counts for nothing (a warm-up).",
            True,
            "true",
        ),
        Field(
            "publish",
            kinds.FACTORS,
            "Every publisher's rate times this; `x0` for silence, `x1..x4` for a ramp over the phase.",
            (1.0, 1.0),
            "x1",
        ),
    )
)
EVENT_KEYS: Mapping[EventKind, tuple[str, ...]] = {
    EventKind.DISCONNECT: ("who", "fraction", "reconnect"),
    EventKind.STOP_READING: ("who", "fraction", "for"),
    EventKind.SILENCE: ("who", "fraction", "for"),
    EventKind.CHANGE_ROOM: ("who", "fraction", "room"),
    EventKind.KILL: ("node",),
    EventKind.PAUSE: ("node", "for"),
    EventKind.RESTART: ("node",),
}
"""What an event of each kind can have beside `at` and `do`; the first one it must have."""

EVENT_DOCS: Mapping[EventKind, str] = {
    EventKind.DISCONNECT: "The clients close their connections at once.",
    EventKind.STOP_READING: "The clients leave what arrives in the socket: slow consumers.",
    EventKind.SILENCE: "The clients send no heartbeats; comet closes who is silent for too long.",
    EventKind.CHANGE_ROOM: "The clients ask comet for another room (operation 12).",
    EventKind.KILL: "The node's process ends as by `kill -9`; the cluster starts it again.",
    EventKind.PAUSE: "The node's process stands still, as by `kill -STOP`, and then goes on.",
    EventKind.RESTART: "The node's process stops in good order and starts again.",
}
"""What an event of each kind does."""

EVENT = Section(
    (
        Field("at", kinds.AT, "When, from the start of the first phase."),
        Field("do", one_of(tuple(EventKind)), "What happens, to clients or to a node."),
        Field("who", kinds.POPULATION, "The population it happens to.", None, "needed for clients"),
        Field(
            "fraction",
            kinds.FRACTION,
            "Share of that population; which clients follows from the seed.",
            1.0,
            "100%",
        ),
        Field("node", kinds.NODE, "The node, as `imctl ps` shows it: `comet-1`, `core`.", None, "needed for nodes"),
        Field("for", kinds.DURATION, "How long it goes on. A `pause` always has it.", None, "to the end"),
        Field("reconnect", RECONNECT, "With `disconnect`: when the clients come back.", None, "they stay away"),
        Field(
            "room", kinds.NEW_ROOM, "With `change_room`: where to; `none` for out of every room.", None, "needed by it"
        ),
    )
)
SCENARIO = Section(
    (
        Field(
            "include",
            kinds.FILE,
            "Another scenario file, from this one's folder, of which this one says what is different: its mappings "
            "are merged key by key, its lists replace.",
            None,
            "no other",
        ),
        Field("name", kinds.NAME, "What reports call this scenario: letters, digits, _ and -."),
        Field("seed", kinds.SEED, "Same seed: same schedule, same sizes, the same clients chosen by events.", 1, "1"),
        Field("clients", ListOf(CLIENTS, at_least=1), "Populations of clients that are alike."),
        Field("publish", ListOf(PUBLISH), "Open-loop streams of messages.", (), "nothing is sent"),
        Field("phases", ListOf(PHASE, at_least=1), "The time line; connecting comes before the first."),
        Field("events", ListOf(EVENT), "Faults and changes on the time line.", (), "nothing happens"),
        Field("expect", ListOf(kinds.EXPECT), "What must hold for the run to pass.", (), "every run passes"),
    )
)


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a scenario file, for editors."""
    scenario = _schema(SCENARIO)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "imctl scenario",
        **{key: value for key, value in scenario.items() if key != "required"},
        # What a file includes may have what must be there.
        "anyOf": [{"required": scenario["required"]}, {"required": ["include"]}],
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
