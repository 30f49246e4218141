"""The scenario format: every key, what it takes, and its JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.language import kinds
from sim.language.fields import REQUIRED, Either, Field, Kind, ListOf, Section, Spec
from sim.language.format_clients import CLIENTS, NETWORK_FIELDS, RECONNECT
from sim.language.format_expect import EXPECTATION
from sim.language.format_publish import FEED, PUBLISH
from sim.language.kinds import one_of
from sim.scenario.scenario import EventKind, Side

__all__ = ["CLIENTS", "EVENT", "EVENT_DOCS", "EVENT_KEYS", "FEED", "PHASE", "PUBLISH", "SCENARIO", "scenario_schema"]

PHASE = Section(
    (
        Field("name", kinds.PHASE_NAME, "What expectations and reports call this phase."),
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
    EventKind.SUBSCRIBE: ("who", "fraction", "ops"),
    EventKind.UNSUBSCRIBE: ("who", "fraction", "ops"),
    EventKind.TAKE_OVER: ("who", "fraction", "comet"),
    EventKind.ADD_DEVICE: ("who", "fraction", "comet", "for"),
    EventKind.NETWORK: ("who", "fraction", "latency", "jitter", "bandwidth", "for"),
    EventKind.STALL: ("who", "fraction", "for"),
    EventKind.BLACK_HOLE: ("who", "fraction", "for"),
    EventKind.RESET: ("who", "fraction", "for"),
    EventKind.CUT: ("who", "fraction", "for"),
    EventKind.HALF_OPEN: ("who", "fraction", "side", "for"),
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
    EventKind.SUBSCRIBE: "The clients accept `ops` too (operation 14).",
    EventKind.UNSUBSCRIBE: "The clients accept `ops` no longer (operation 16).",
    EventKind.TAKE_OVER: "The clients log in once more with the same key, on a second connection that takes over; "
    "comet may end the first.",
    EventKind.ADD_DEVICE: "The clients' users log in once more: a second connection with the same mid and a key of "
    "its own.",
    EventKind.NETWORK: "The clients' network gets worse by `latency`, `jitter` and `bandwidth`; what goes on already "
    "stays, delays add up, and of two bandwidths the lower one holds.",
    EventKind.STALL: "Nothing gets through, either way; then everything does, late: a phone in a tunnel.",
    EventKind.BLACK_HOLE: "What either side sends vanishes, and nobody is told; at its end the connection is reset: "
    "a router that forgot it.",
    EventKind.RESET: "The connection ends on both sides with a RST; with `for`, new ones are refused as long.",
    EventKind.CUT: "The connection ends on both sides with a FIN; with `for`, new ones are refused as long.",
    EventKind.HALF_OPEN: "One side's end is gone, and the other does not hear of it; after `for` it is reset.",
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
        Field(
            "for",
            kinds.DURATION,
            "How long it goes on, less in a phase that `--duration` makes shorter. A `pause` always has it; a `reset` "
            "or `cut` without it is over at once.",
            None,
            "to the end",
        ),
        Field("reconnect", RECONNECT, "With `disconnect`: when the clients come back.", None, "they stay away"),
        Field(
            "room", kinds.NEW_ROOM, "With `change_room`: where to; `none` for out of every room.", None, "needed by it"
        ),
        Field("ops", ListOf(kinds.OP, at_least=1), "With `subscribe`, `unsubscribe`: which.", None, "needed by them"),
        Field(
            "comet",
            one_of(("same", "other")),
            "With `take_over` and `add_device`: the comet of the first connection, or the next one.",
            "same",
            "same",
        ),
        *NETWORK_FIELDS,
        Field(
            "side",
            one_of(tuple(Side)),
            "With `half_open`: whose end is gone. The `client`: it comes back if it can, and comet keeps the old "
            "connection. The `comet`: it ends the session, and the client waits for messages that never come.",
            Side.CLIENT,
            "client",
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
        Field("name", kinds.SCENARIO_NAME, "What reports call this scenario: letters, digits, _ and -."),
        Field(
            "seed",
            kinds.SEED,
            "Same seed: same schedule, same contents and sizes, the same clients chosen by events.",
            1,
            "1",
        ),
        Field("clients", ListOf(CLIENTS, at_least=1), "Populations of clients that are alike."),
        Field("feeds", ListOf(FEED), "Files of rows that messages take texts and targets from.", (), "none"),
        Field("publish", ListOf(PUBLISH), "Streams of messages.", (), "nothing is sent"),
        Field("phases", ListOf(PHASE, at_least=1), "The time line; connecting comes before the first."),
        Field("events", ListOf(EVENT), "Faults and changes on the time line.", (), "nothing happens"),
        Field(
            "trace",
            kinds.TRACE,
            "Messages a second that are followed through the nodes, for `hops_ms`; `none` for none.",
            5.0,
            "5/s",
        ),
        Field(
            "expect",
            ListOf(Either(kinds.EXPECT, EXPECTATION)),
            "What must hold for the run to pass; a mapping says more about one.",
            (),
            "every run passes",
        ),
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
