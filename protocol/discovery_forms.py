"""The requests of bilibili discovery's HTTP API: forms and queries, bound and checked as its server does.

Source: bilibili discovery model/param.go for names, required members and
types; kratos' blademaster binding and validator for the order of the checks
and for their texts, which clients take as free text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from protocol.discovery_api import Instance, dump_json

__all__ = [
    "Cancel",
    "Fetch",
    "Params",
    "Poll",
    "Register",
    "Renew",
    "RequestError",
    "Set",
    "form_of_json",
    "merge_metadata",
    "parse_cancel",
    "parse_fetch",
    "parse_params",
    "parse_poll",
    "parse_register",
    "parse_renew",
    "parse_set",
    "register_form",
]

Params = Mapping[str, Sequence[str]]
"""A form or query: each name with its values in the order they came."""

_MAX_FIELDS = 1024  # of one form; goim sends about ten


class RequestError(ValueError):
    """A form or query that cannot be bound to its request.

    Its text is the `message` of a -400 reply; clients treat it as free text.
    """


@dataclass(frozen=True, slots=True)
class Register:
    """A registration.

    Args:
        metadata_ok: False where the text of the metadata is no JSON at all.
        latest_timestamp: Of the app, when a peer registry replicates; else 0.
        dirty_timestamp: As latest_timestamp.
    """

    instance: Instance
    metadata_ok: bool = True
    latest_timestamp: int = 0
    dirty_timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Renew:
    zone: str
    env: str
    appid: str
    hostname: str
    replication: bool = False
    dirty_timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Cancel:
    zone: str
    env: str
    appid: str
    hostname: str
    latest_timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Set:
    """Changes of some instances of one app, list by list; `status` and `metadata` may be empty as a whole."""

    zone: str
    env: str
    appid: str
    hostnames: tuple[str, ...]
    statuses: tuple[int, ...] = ()
    metadata: tuple[str, ...] = ()
    set_timestamp: int = 0

    def lengths_match(self) -> bool:
        """Return whether the lists that are there are as long as the host names."""
        wanted = len(self.hostnames)
        return wanted > 0 and len(self.statuses) in (0, wanted) and len(self.metadata) in (0, wanted)


@dataclass(frozen=True, slots=True)
class Fetch:
    """A fetch of one app or, as fetchs, of some; an empty zone is all zones."""

    env: str
    appids: tuple[str, ...]
    status: int
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll of one app or, as polls, of some; `timestamps` go with `appids`."""

    env: str
    hostname: str
    appids: tuple[str, ...]
    timestamps: tuple[int, ...]
    zone: str = ""


def parse_params(query: str, body: str = "") -> dict[str, list[str]]:
    """Return the parameters of a form body, then those of the query string, as Go's ParseForm orders them.

    Raises:
        RequestError: there are more than 1024 of them.
    """
    params: dict[str, list[str]] = {}
    for text in (body, query):
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError as exc:
            raise RequestError("too many parameters") from exc
        for name, value in pairs:
            params.setdefault(name, []).append(value)
    return params


def form_of_json(body: str) -> dict[str, list[str]]:
    """Return a JSON body as parameters; numbers must be numbers there, names match in any case.

    Raises:
        RequestError: no JSON object, or a member of another type than its field.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise RequestError("invalid character in JSON body") from exc
    if not isinstance(data, dict):
        raise RequestError(f"json: cannot unmarshal {type(data).__name__} into a request")
    params: dict[str, list[str]] = {}
    for name, value in data.items():
        items = value if isinstance(value, list) else [value]
        for item in items:
            number = isinstance(item, int) and not isinstance(item, bool)
            if number != (name.lower() in ("status", "latest_timestamp", "dirty_timestamp", "set_timestamp")):
                raise RequestError(f"json: cannot unmarshal {type(item).__name__} into field {name}")
        params[name.lower()] = [str(item).lower() if isinstance(item, bool) else str(item) for item in items]
    return params


def parse_register(params: Params) -> Register:
    """Bind a register.

    Values of the metadata that are no strings become "", other JSON than an object no metadata, as in Go.
    """
    bound = _Binder("ArgRegister", params)
    status = bound.number("status")
    stamps = bound.number("latest_timestamp", signed=True), bound.number("dirty_timestamp", signed=True)
    bound.require("zone", "env", "appid", "hostname")
    bound.require_value("status", status)
    bound.require_some("addrs")
    bound.check()
    merged = merge_metadata({}, bound.text("metadata") or "{}")
    return Register(
        Instance(
            appid=bound.text("appid"),
            hostname=bound.text("hostname"),
            addrs=tuple(params["addrs"]),
            region=bound.text("region"),
            zone=bound.text("zone"),
            env=bound.text("env"),
            version=bound.text("version"),
            metadata={} if merged is None else merged[0],
            status=status,
        ),
        metadata_ok=merged is not None,
        latest_timestamp=stamps[0],
        dirty_timestamp=stamps[1],
    )


def parse_renew(params: Params) -> Renew:
    bound = _Binder("ArgRenew", params)
    dirty = bound.number("dirty_timestamp", signed=True)
    replication = bound.flag("replication")
    bound.require("zone", "env", "appid", "hostname")
    bound.check()
    return Renew(bound.text("zone"), bound.text("env"), bound.text("appid"), bound.text("hostname"), replication, dirty)


def parse_cancel(params: Params) -> Cancel:
    bound = _Binder("ArgCancel", params)
    latest = bound.number("latest_timestamp", signed=True)
    bound.require("zone", "env", "appid", "hostname")
    bound.check()
    return Cancel(bound.text("zone"), bound.text("env"), bound.text("appid"), bound.text("hostname"), latest)


def parse_set(params: Params) -> Set:
    bound = _Binder("ArgSet", params)
    statuses = bound.numbers("status")
    stamp = bound.number("set_timestamp", signed=True)
    bound.require("zone", "env", "appid")
    bound.check()
    return Set(
        zone=bound.text("zone"),
        env=bound.text("env"),
        appid=bound.text("appid"),
        hostnames=tuple(params.get("hostname", ())),
        statuses=statuses,
        metadata=tuple(params.get("metadata", ())),
        set_timestamp=stamp,
    )


def parse_fetch(params: Params, *, many: bool) -> Fetch:
    """Bind a fetch or, with `many`, a fetchs."""
    bound = _Binder("ArgFetchs" if many else "ArgFetch", params)
    status = bound.number("status")
    bound.require("env")
    if many:
        bound.require_some("appid")
    else:
        bound.require("appid")
    bound.require_value("status", status)
    bound.check()
    appids = tuple(params["appid"]) if many else (bound.text("appid"),)
    return Fetch(env=bound.text("env"), appids=appids, status=status, zone=bound.text("zone"))


def parse_poll(params: Params, *, many: bool) -> Poll:
    """Bind a poll or, with `many`, a polls; its lists may still differ in length."""
    bound = _Binder("ArgPolls" if many else "ArgPoll", params)
    stamps = bound.numbers("latest_timestamp", signed=True)
    bound.require("env")
    if many:
        bound.require_some("appid")
    else:
        bound.require("appid")
    bound.require("hostname")
    bound.check()
    return Poll(
        env=bound.text("env"),
        hostname=bound.text("hostname"),
        appids=tuple(params["appid"]) if many else (bound.text("appid"),),
        timestamps=stamps if many else (*stamps[:1], 0)[:1],
        zone=bound.text("zone"),
    )


def register_form(instance: Instance) -> str:
    """Return the form body of a register, parameters ordered by name as Go's url.Values does."""
    pairs = [("addrs", addr) for addr in instance.addrs]
    pairs += [("appid", instance.appid), ("env", instance.env), ("hostname", instance.hostname)]
    pairs += [("metadata", dump_json(dict(sorted(instance.metadata.items()))).decode())]
    pairs += [("region", instance.region), ("status", str(int(instance.status)))]
    return urlencode([*pairs, ("version", instance.version), ("zone", instance.zone)])


def merge_metadata(old: Mapping[str, str], text: str) -> tuple[dict[str, str], bool] | None:
    """Merge a JSON object into metadata as Go's json.Unmarshal into a map does.

    Returns:
        The merged metadata and whether all of the text fitted: a value that is
        no string is stored as "", and an array or a number changes nothing.
        None when the text is no JSON.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if data is None:
        return {}, True
    if not isinstance(data, dict):
        return dict(old), False
    fits = all(isinstance(value, str) or value is None for value in data.values())
    return {**old, **{name: value if isinstance(value, str) else "" for name, value in data.items()}}, fits


_GO_NAMES = {"appid": "AppID"}


class _Binder:
    """Reads parameters as kratos' form binding does and gathers what its validator would say."""

    def __init__(self, struct: str, params: Params) -> None:
        self._struct = struct
        self._params = params
        self._problems: list[str] = []

    def text(self, name: str) -> str:
        values = self._params.get(name)
        return values[0] if values else ""

    def number(self, name: str, *, signed: bool = False) -> int:
        return self._int(self.text(name), signed)

    def numbers(self, name: str, *, signed: bool = False) -> tuple[int, ...]:
        return tuple(self._int(value, signed) for value in self._params.get(name, ()))

    def flag(self, name: str) -> bool:
        text = self.text(name)
        if text in ("", "0", "f", "F", "false", "FALSE", "False"):
            return False
        if text in ("1", "t", "T", "true", "TRUE", "True"):
            return True
        raise RequestError(f'strconv.ParseBool: parsing "{text}": invalid syntax')

    def require(self, *names: str) -> None:
        for name in names:
            self.require_value(name, self.text(name))

    def require_value(self, name: str, value: object) -> None:
        if not value:
            self._fail(name, "required")

    def require_some(self, name: str) -> None:
        if not self._params.get(name):
            self._fail(name, "gt")

    def check(self) -> None:
        if self._problems:
            raise RequestError("\n".join(self._problems))

    def _fail(self, name: str, tag: str) -> None:
        go = _GO_NAMES.get(name, name.capitalize())
        self._problems.append(f"Key: '{self._struct}.{go}' Error:Field validation for '{go}' failed on the '{tag}' tag")

    @staticmethod
    def _int(text: str, signed: bool) -> int:
        if not text:
            return 0
        digits = text[1:] if signed and text[0] in "+-" else text
        parser = "ParseInt" if signed else "ParseUint"
        if not (digits.isascii() and digits.isdigit()):
            raise RequestError(f"strconv.{parser}: parsing {json.dumps(text)}: invalid syntax")
        # int64 timestamps, uint32 status. The length is checked first: int() of a long text is slow.
        if len(digits) > 19 or abs(int(digits)) >= (2**63 if signed else 2**32):
            raise RequestError(f"strconv.{parser}: parsing {json.dumps(text)}: value out of range")
        return int(text)
