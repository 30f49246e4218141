"""bilibili discovery's HTTP API as values: instances and replies; `discovery_forms` has the requests.

All paths start with `/discovery/`. A POST is a form, a GET a query; a reply is
JSON with HTTP status 200 and its own code (`{"code","message","ttl","data"}`),
save for unknown routes and wrong methods, which are plain text.

Source: bilibili discovery http/*.go and model/*.go, kratos' blademaster for
the envelope and for what a form may look like; goim's client reads only
`code` and `data`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "ROUTES",
    "AppInfo",
    "Code",
    "DiscoveryFormatError",
    "Instance",
    "Reply",
    "Status",
    "app_info_to_json",
    "bad_request",
    "dump_json",
    "empty_reply",
    "instance_from_json",
    "instance_to_json",
    "parse_apps",
    "polls_reply",
    "reply",
    "text_reply",
    "unknown_app_reply",
    "with_place",
]

ROUTES: Final[Mapping[str, str]] = {
    "/discovery/register": "POST",
    "/discovery/renew": "POST",
    "/discovery/cancel": "POST",
    "/discovery/set": "POST",
    "/discovery/fetch": "GET",
    "/discovery/fetchs": "GET",
    "/discovery/fetch/all": "GET",
    "/discovery/poll": "GET",
    "/discovery/polls": "GET",
    "/discovery/nodes": "GET",
}
"""Path to the one method it takes; every other method is answered with 405."""


class Code(IntEnum):
    """The `code` of a reply."""

    OK = 0
    NOT_MODIFIED = -304
    BAD_REQUEST = -400
    NOT_FOUND = -404
    CONFLICT = -409
    SERVER_ERROR = -500


class Status(IntFlag):
    """What an instance is, and, or-ed, what a fetch asks for."""

    UP = 1
    WAITING = 2
    ALL = 3


class DiscoveryFormatError(ValueError):
    """A registry answered with something that is not discovery's JSON."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One registered node.

    Args:
        appid: goim.comet, goim.logic, infra.discovery, ...
        hostname: Unique a node; the server id of a comet.
        addrs: Such as ("grpc://127.0.0.1:3109",).
        metadata: String values only, as goim's clients need them.
        status: 1 up, 2 waiting.
        latest_timestamp: Nanoseconds; changes with every register and set.
    """

    appid: str
    hostname: str
    addrs: tuple[str, ...] = ()
    region: str = ""
    zone: str = ""
    env: str = ""
    version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    status: int = 1
    reg_timestamp: int = 0
    up_timestamp: int = 0
    renew_timestamp: int = 0
    dirty_timestamp: int = 0
    latest_timestamp: int = 0


@dataclass(frozen=True, slots=True)
class AppInfo:
    """What a fetch or poll says of one app.

    Args:
        instances: By zone; a zone whose instances all have another status is an empty tuple.
        latest_timestamp: Nanoseconds, never 0; grows with every register and
            cancel of the app, not with a set. A poll sends it back.
    """

    instances: Mapping[str, tuple[Instance, ...]]
    latest_timestamp: int

    def flat(self) -> tuple[Instance, ...]:
        """Return the instances of all zones, ordered by zone and hostname."""
        every = [instance for zone in self.instances.values() for instance in zone]
        return tuple(sorted(every, key=lambda instance: (instance.zone, instance.hostname)))


# --- instances as JSON ---

_TEXTS = ("region", "zone", "env", "appid", "hostname", "version")
_TIMESTAMPS = ("reg_timestamp", "up_timestamp", "renew_timestamp", "dirty_timestamp", "latest_timestamp")

_NO_INSTANCE: Final[Mapping[str, object]] = {
    **dict.fromkeys(("region", "zone", "env", "appid", "hostname"), ""),
    "addrs": None,
    "version": "",
    "metadata": None,
    "status": 0,
    **dict.fromkeys(_TIMESTAMPS, 0),
}


def instance_to_json(instance: Instance | None, *, null_metadata: bool = False) -> dict[str, object]:
    """Return an instance as discovery writes it, members in its order.

    Args:
        instance: None gives the all-zero instance of a renew of an unknown host.
        null_metadata: Write no metadata as null instead of {}, as fetch/all does.
    """
    if instance is None:
        return dict(_NO_INSTANCE)
    return {
        "region": instance.region,
        "zone": instance.zone,
        "env": instance.env,
        "appid": instance.appid,
        "hostname": instance.hostname,
        "addrs": list(instance.addrs),
        "version": instance.version,
        # Go writes maps ordered by key.
        "metadata": dict(sorted(instance.metadata.items())) or (None if null_metadata else {}),
        "status": int(instance.status),
        **{name: getattr(instance, name) for name in _TIMESTAMPS},
    }


def instance_from_json(data: object) -> Instance:
    """Read an instance of a registry's reply; null addrs and metadata are empty.

    Raises:
        DiscoveryFormatError: a member is missing or of another type.
    """
    if not isinstance(data, dict):
        raise DiscoveryFormatError(f"instance is {type(data).__name__}; expected an object")
    texts = {name: data.get(name, "") for name in _TEXTS}
    numbers = {name: data.get(name, 0) for name in ("status", *_TIMESTAMPS)}
    addrs, metadata = data.get("addrs") or [], data.get("metadata") or {}
    wrong = [name for name, value in texts.items() if not isinstance(value, str)]
    wrong += [name for name, value in numbers.items() if not isinstance(value, int)]
    if not isinstance(addrs, list) or not all(isinstance(addr, str) for addr in addrs):
        wrong.append("addrs")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        wrong.append("metadata")
    if wrong or not texts["appid"] or not texts["hostname"]:
        raise DiscoveryFormatError(f"instance with bad {', '.join(wrong) or 'appid or hostname'}")
    return Instance(addrs=tuple(addrs), metadata=metadata, **texts, **numbers)


# --- replies ---


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply.

    Args:
        code: For the header Kratos-Status-Code; None leaves it out.
    """

    body: bytes
    code: int | None = None
    status: int = 200
    content_type: str = "application/json; charset=utf-8"


_ABSENT: Final = object()


def dump_json(data: object) -> bytes:
    """Return compact JSON with the characters escaped that Go's encoder escapes."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        if char in text:
            text = text.replace(char, f"\\u{ord(char):04x}")
    # A form may carry bytes that are no UTF-8; Go writes them as U+FFFD too.
    return text.encode("utf-8", "replace")


def reply(code: Code, data: object = _ABSENT) -> Reply:
    """Return the usual envelope; without `data` that member is left out, None is written as null."""
    envelope: dict[str, object] = {"code": int(code), "message": str(int(code)), "ttl": 1}
    if data is not _ABSENT:
        envelope["data"] = data
    return Reply(dump_json(envelope), int(code))


def bad_request(message: str) -> Reply:
    """Return the reply to parameters that cannot be bound; as discovery's, it has no Kratos-Status-Code."""
    return Reply(dump_json({"code": int(Code.BAD_REQUEST), "message": message, "ttl": 1}))


def empty_reply() -> Reply:
    """Return discovery's answer to a register with a status over 2: nothing at all."""
    return Reply(b"", content_type="")


def text_reply(status: int) -> Reply:
    """Return the plain text of an unknown route (404), a wrong method (405), a broken body (400), a large one (413)."""
    text = {
        400: "Bad Request: the body is not in the coding that its headers say",
        404: "404 page not found",
        405: "Method Not Allowed",
        413: "Request Entity Too Large",
    }[status]
    return Reply(text.encode(), status=status, content_type="text/plain")


def app_info_to_json(info: AppInfo) -> dict[str, object]:
    """Return what a fetch or poll says of one app."""
    zones = {
        zone: [instance_to_json(instance) for instance in instances]
        for zone, instances in sorted(info.instances.items())
    }
    return {"instances": zones, "latest_timestamp": info.latest_timestamp}


def polls_reply(infos: Mapping[str, AppInfo], missing: Iterable[str]) -> Reply:
    """Return the answer to polls: no ttl, unknown apps under `error`, members ordered by name."""
    data = {appid: app_info_to_json(info) for appid, info in sorted(infos.items())}
    error = {str(int(Code.NOT_FOUND)): list(missing) or None}
    return Reply(dump_json({"code": 0, "data": data, "error": error, "message": "0"}), 0)


def unknown_app_reply(appid: str) -> Reply:
    """Return the answer to a poll of an app nobody has registered."""
    return Reply(dump_json({"code": int(Code.NOT_FOUND), "message": f"{appid} not found"}), int(Code.NOT_FOUND))


def parse_apps(data: object) -> dict[str, AppInfo]:
    """Read the `data` of a polls or fetchs reply.

    Raises:
        DiscoveryFormatError: not an object of apps, or an app without a latest_timestamp, which no goim client takes.
    """
    if not isinstance(data, dict):
        raise DiscoveryFormatError(f"data is {type(data).__name__}; expected an object of apps")
    infos = {}
    for appid, app in data.items():
        zones = app.get("instances") if isinstance(app, dict) else None
        stamp = app.get("latest_timestamp") if isinstance(app, dict) else None
        lists = isinstance(zones, dict | None) and all(isinstance(each, list | None) for each in (zones or {}).values())
        if not isinstance(stamp, int) or stamp <= 0 or not lists:
            raise DiscoveryFormatError(f"app {appid} has no instances by zone or no latest_timestamp")
        infos[appid] = AppInfo(
            {zone: tuple(map(instance_from_json, instances or ())) for zone, instances in (zones or {}).items()}, stamp
        )
    return infos


def with_place(instance: Instance, *, region: str, zone: str, env: str) -> Instance:
    """Return the instance with the place of its node where it names none."""
    return replace(instance, region=instance.region or region, zone=instance.zone or zone, env=instance.env or env)
