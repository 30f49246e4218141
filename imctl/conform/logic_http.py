"""Logic's HTTP API: routes, parameters, codes, content types, redirects. What is pushed here reaches nobody."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from imctl.conform.case import Case
from imctl.conform.lab import Answer, Lab

__all__ = ["CASES", "answer_text"]

_AREA = "logic-http"
_JSON, _TEXT = "application/json; charset=utf-8", "text/plain; charset=utf-8"
_DONE = '200 {"code":0,"message":""}'
_NO_REASON = '200 {"code":-400,"message":""}'
_BAD = '400 text {"code":-400,"message":...}'
_LOST = "404 text/plain 404 page not found"
_EMPTY_LIST = '200 {"code":0,"message":"","data":[]}'

_WITH_REASON = {'200 {"code":-400,"message":...}': "says why, where goim leaves the message empty"}


def answer_text(answer: Answer, *, any_data: bool = False) -> str:
    """Return an answer as text: status, content type where it is not JSON, body.

    The message of a refusal, which is Go's validator's, shows as dots, and data with `any_data` as its JSON type.
    """
    kind = answer.headers.get("content-type", "no content type")
    shown = {_JSON: "", _TEXT: "text "}.get(kind, f"{kind} ")
    if answer.status in (301, 307):
        location = answer.headers.get("location", "nowhere")
        page = " with a page" if answer.body else ""
        return f"{answer.status} to {location}{page}"
    if not answer.body:
        return f"{answer.status} {shown}and no body"
    document = answer.json()
    if not isinstance(document, dict) or "code" not in document:
        return f"{answer.status} {shown}{answer.body.decode('utf-8', 'replace').strip()[:100]}"
    if document["code"] != 0 and document.get("message"):
        return f'{answer.status} {shown}{{"code":{document["code"]},"message":...}}'
    if any_data and "data" in document:
        found = {dict: "object", list: "array", type(None): "null"}.get(type(document["data"]), "something else")
        return f'{answer.status} {shown}{{"code":{document["code"]},"message":"","data":{found}}}'
    return f"{answer.status} {shown}{answer.body.decode('utf-8', 'replace')}"


# The recording's `what`; method; path and query (KEY, MID and OP are replaced by names of the case); what comes.
_PUSH: list[tuple[str, str, str, str]] = [
    ("push/keys ok", "POST", "/goim/push/keys?operation=OP&keys=KEY", _DONE),
    ("push/keys two keys", "POST", "/goim/push/keys?operation=OP&keys=KEY&keys=KEY2", _DONE),
    ("push/keys comma list is one key", "POST", "/goim/push/keys?operation=OP&keys=KEY,KEY2", _DONE),
    ("push/keys no keys", "POST", "/goim/push/keys?operation=OP", _NO_REASON),
    ("push/keys empty key", "POST", "/goim/push/keys?operation=OP&keys=", _DONE),
    ("push/keys no operation", "POST", "/goim/push/keys?keys=KEY", _DONE),
    ("push/keys operation empty", "POST", "/goim/push/keys?operation=&keys=KEY", _DONE),
    ("push/keys operation 0", "POST", "/goim/push/keys?operation=0&keys=KEY", _DONE),
    ("push/keys operation not a number", "POST", "/goim/push/keys?operation=abc&keys=KEY", _BAD),
    ("push/keys operation 1.5", "POST", "/goim/push/keys?operation=1.5&keys=KEY", _BAD),
    ("push/keys operation out of int32", "POST", "/goim/push/keys?operation=2147483648&keys=KEY", _BAD),
    ("push/keys operation negative", "POST", "/goim/push/keys?operation=-1&keys=KEY", _DONE),
    ("push/keys operation +5", "POST", "/goim/push/keys?operation=%2B5&keys=KEY", _DONE),
    ("push/keys operation 0x10", "POST", "/goim/push/keys?operation=0x10&keys=KEY", _BAD),
    ("push/keys operation 010", "POST", "/goim/push/keys?operation=010&keys=KEY", _DONE),
    ("push/keys operation 1_000", "POST", "/goim/push/keys?operation=1_000&keys=KEY", _BAD),
    ("push/keys operation twice", "POST", "/goim/push/keys?operation=1&operation=2&keys=KEY", _DONE),
    ("push/keys GET", "GET", "/goim/push/keys?operation=OP&keys=KEY", _LOST),
    ("push/keys PUT", "PUT", "/goim/push/keys?operation=OP&keys=KEY", _LOST),
    ("push/keys OPTIONS", "OPTIONS", "/goim/push/keys", _LOST),
    ("push/keys HEAD", "HEAD", "/goim/push/keys", "404 text/plain and no body"),
    ("push/keys trailing slash", "POST", "/goim/push/keys/?keys=KEY", "307 to /goim/push/keys?keys=conform-KEY"),
    ("push/keys upper-case path", "POST", "/goim/push/KEYS?operation=OP&keys=KEY", _LOST),
    ("push/keys upper-case parameter", "POST", "/goim/push/keys?Operation=OP&Keys=KEY", _NO_REASON),
    ("push/keys[] style", "POST", "/goim/push/keys?operation=OP&keys[]=KEY", _NO_REASON),
    ("push/keys semicolon separator", "POST", "/goim/push/keys?operation=OP;keys=KEY", _NO_REASON),
    ("push/keys bad percent escape", "POST", "/goim/push/keys?operation=OP&keys=%zz", _NO_REASON),
    ("push/mids ok", "POST", "/goim/push/mids?operation=OP&mids=MID", _DONE),
    ("push/mids comma list", "POST", "/goim/push/mids?operation=OP&mids=401,402", _BAD),
    ("push/mids none", "POST", "/goim/push/mids?operation=OP", _DONE),
    ("push/mids empty value", "POST", "/goim/push/mids?operation=OP&mids=", _DONE),
    ("push/mids 0", "POST", "/goim/push/mids?operation=OP&mids=0", _DONE),
    ("push/mids negative", "POST", "/goim/push/mids?operation=OP&mids=-1", _DONE),
    ("push/mids not a number", "POST", "/goim/push/mids?operation=OP&mids=abc", _BAD),
    ("push/mids out of int64", "POST", "/goim/push/mids?operation=OP&mids=9223372036854775808", _BAD),
    ("push/mids no operation", "POST", "/goim/push/mids?mids=MID", _DONE),
    ("push/mids GET", "GET", "/goim/push/mids?operation=OP&mids=MID", _LOST),
    ("push/mids=1 (old style path)", "POST", "/goim/push/mids=401", _LOST),
    ("push/room ok", "POST", "/goim/push/room?operation=OP&type=TYPE&room=none", _DONE),
    ("push/room nothing", "POST", "/goim/push/room", _BAD),
    ("push/room no room", "POST", "/goim/push/room?operation=OP&type=TYPE", _BAD),
    ("push/room no type", "POST", "/goim/push/room?operation=OP&room=h1", _BAD),
    ("push/room no operation", "POST", "/goim/push/room?type=TYPE&room=h1", _BAD),
    ("push/room operation 0", "POST", "/goim/push/room?operation=0&type=TYPE&room=h1", _BAD),
    ("push/room operation not a number", "POST", "/goim/push/room?operation=x&type=TYPE&room=h1", _BAD),
    ("push/room empty room", "POST", "/goim/push/room?operation=OP&type=TYPE&room=", _BAD),
    ("push/room non-ASCII", "POST", "/goim/push/room?operation=OP&type=TYPE%E7%9B%B4&room=%E6%88%BF", _DONE),
    ("push/room GET", "GET", "/goim/push/room?operation=OP&type=TYPE&room=h1", _LOST),
    ("push/all ok", "POST", "/goim/push/all?operation=OP", _DONE),
    ("push/all speed", "POST", "/goim/push/all?operation=OP&speed=1000000", _DONE),
    ("push/all speed 0", "POST", "/goim/push/all?operation=OP&speed=0", _DONE),
    ("push/all speed negative", "POST", "/goim/push/all?operation=OP&speed=-1", _DONE),
    ("push/all speed not a number", "POST", "/goim/push/all?operation=OP&speed=fast", _BAD),
    ("push/all no operation", "POST", "/goim/push/all", _BAD),
    ("push/all operation 0", "POST", "/goim/push/all?operation=0", _BAD),
    ("push/all GET", "GET", "/goim/push/all?operation=OP", _LOST),
]

_READ: list[tuple[str, str, str, str]] = [
    ("online/top unknown type", "GET", "/goim/online/top?type=TYPE&limit=10", _EMPTY_LIST),
    ("online/top non-ASCII type", "GET", "/goim/online/top?type=TYPE%E7%9B%B4&limit=10", _EMPTY_LIST),
    ("online/top no type", "GET", "/goim/online/top?limit=10", _BAD),
    ("online/top no limit", "GET", "/goim/online/top?type=TYPE", _BAD),
    ("online/top limit 0", "GET", "/goim/online/top?type=TYPE&limit=0", _BAD),
    ("online/top limit not a number", "GET", "/goim/online/top?type=TYPE&limit=x", _BAD),
    ("online/top nothing", "GET", "/goim/online/top", _BAD),
    ("online/top POST", "POST", "/goim/online/top?type=TYPE&limit=10", _LOST),
    (
        "online/room several",
        "GET",
        "/goim/online/room?type=TYPE&rooms=b&rooms=a&rooms=%E6%88%BF%E9%97%B4",
        '200 {"code":0,"message":"","data":{"a":0,"b":0,"房间":0}}',
    ),
    (
        "online/room comma list",
        "GET",
        "/goim/online/room?type=TYPE&rooms=h1,h2",
        '200 {"code":0,"message":"","data":{"h1,h2":0}}',
    ),
    (
        "online/room empty rooms",
        "GET",
        "/goim/online/room?type=TYPE&rooms=",
        '200 {"code":0,"message":"","data":{"":0}}',
    ),
    ("online/room no rooms", "GET", "/goim/online/room?type=TYPE", _BAD),
    ("online/room no type", "GET", "/goim/online/room?rooms=h1", _BAD),
    ("online/room POST", "POST", "/goim/online/room?type=TYPE&rooms=h1", _LOST),
    ("online/total POST", "POST", "/goim/online/total", _LOST),
    ("nodes/weighted POST", "POST", "/goim/nodes/weighted", _LOST),
    ("nodes/instances POST", "POST", "/goim/nodes/instances", _LOST),
    ("route /", "GET", "/", _LOST),
    ("route / POST", "POST", "/", _LOST),
    ("route /goim", "GET", "/goim", _LOST),
    ("route /goim/", "GET", "/goim/", _LOST),
    ("route /goim/push", "GET", "/goim/push", _LOST),
    ("route /goim/unknown", "GET", "/goim/unknown", _LOST),
    ("route /goim/online/total/", "GET", "/goim/online/total/", "301 to /goim/online/total with a page"),
    ("route /goim//online/total", "GET", "/goim//online/total", _LOST),
    ("route //goim/online/total", "GET", "//goim/online/total", _LOST),
    ("route /goim/online/../online/total", "GET", "/goim/online/../online/total", _LOST),
]


def _slug(what: str) -> str:
    """Return the last part of an id made of a recording's title."""
    title = what.lower().replace("//", "-double-slash-")
    if title.endswith("/"):
        title += "slash"
    kept = "".join(letter if letter.isalnum() or letter in "._=+" else "-" for letter in title)
    return "-".join(part for part in kept.split("-") if part)


def _fill(lab: Lab, target: str) -> str:
    filled = target.replace("KEY2", lab.key("KEY2")).replace("keys=KEY", f"keys={lab.key('KEY')}")
    return filled.replace("MID", str(lab.mid(0))).replace("OP", str(lab.op(0))).replace("TYPE", f"conform{lab.tag}")


def _sender(method: str, target: str) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        body = b'{"test":1}' if method in ("POST", "PUT") else b""
        return lab.plain(answer_text(await lab.http(method, _fill(lab, target), body)))

    return run


def _row(what: str, method: str, target: str, expected: str) -> Case:
    return Case(
        f"{_AREA}.{_slug(what)}",
        _AREA,
        f"{method} {target}",
        f"logic-http.jsonl: {what}",
        ("http",),
        expected,
        _sender(method, target),
        _WITH_REASON if expected == _NO_REASON else {},
    )


async def _form_body(lab: Lab) -> str:
    body = f"operation=1000&keys={lab.key('a')}".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return answer_text(await lab.http("POST", "/goim/push/keys", body, headers=headers))


async def _empty_body(lab: Lab) -> str:
    return answer_text(await lab.http("POST", f"/goim/push/keys?operation=1000&keys={lab.key('a')}"))


async def _negative_limit(lab: Lab) -> str:
    return answer_text(await lab.http("GET", f"/goim/online/top?type=conform{lab.tag}&limit=-1"))


def _big(size: int) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        # To a user who is not there: a body of this size is for nobody.
        answer = await lab.http(
            "POST", f"/goim/push/room?operation={lab.op(0)}&type=conform{lab.tag}&room=x", b"x" * size
        )
        return answer_text(answer)

    return run


def _shape(value: Any) -> Any:
    """Return JSON with the type of each value instead of it. Any: JSON."""
    if isinstance(value, dict):
        return {name: _shape(item) for name, item in value.items()}
    return {int: "int", float: "number", str: "text", list: "list", bool: "bool"}.get(type(value), "null")


def _shaped(target: str, headers: Mapping[str, str] | None = None) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        answer = await lab.http("GET", target, headers=headers)
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict) or document.get("code") != 0:
            return answer_text(answer)
        data = document.get("data")
        if isinstance(data, list):
            data = data[0] if data else {}
        extra = [name for name in ("content-encoding", "access-control-allow-origin") if name in answer.headers]
        return " ".join([json.dumps(_shape(data)), *extra])

    return run


async def _instances(lab: Lab) -> str:
    answer = await lab.http("GET", "/goim/nodes/instances")
    document = answer.json()
    if answer.status != 200 or not isinstance(document, dict):
        return answer_text(answer)
    data = document.get("data")
    if data is None:
        return "no comet is known"
    found = {tuple(instance) for instance in data}
    return "; ".join(" ".join(names) for names in sorted(found))


_TOTAL = '{"conn_count": "int", "ip_count": "int"}'
_WEIGHTED = (
    '{"domain": "text", "tcp_port": "int", "ws_port": "int", "wss_port": "int", "heartbeat": "int", "nodes": "list", '
    '"backoff": {"max_delay": "int", "base_delay": "int", "factor": "number", "jitter": "number"}, '
    '"heartbeat_max": "int"}'
)


def _single(
    what: str,
    shows: str,
    expected: str,
    run: Callable[[Lab], Awaitable[str]],
    accepted: Mapping[str, str] | None = None,
) -> Case:
    source = f"logic-http.jsonl: {what}"
    return Case(f"{_AREA}.{_slug(what)}", _AREA, shows, source, ("http",), expected, run, accepted or {})


CASES: list[Case] = [
    *(_row(*row) for row in (*_PUSH, *_READ)),
    _single(
        "push/keys parameters in a form body are not read",
        "parameters come from the query only, the body is the message whatever its type",
        _NO_REASON,
        _form_body,
        _WITH_REASON,
    ),
    _single("push/keys empty body", "a message may be empty", _DONE, _empty_body),
    _single("push/all body of 999000 bytes", "a message may have 999,000 bytes", _DONE, _big(999_000)),
    _single(
        "push/room body of 1000001 bytes",
        "over 1,000,000 bytes it is refused with code -500",
        '200 {"code":-500,"message":...}',
        _big(1_000_001),
    ),
    _single(
        "online/top limit negative: panic",
        "a negative limit is refused",
        _BAD,
        _negative_limit,
        {"500 no content type and no body": "goim's handler panics"},
    ),
    _single("online/total", "two counts", _TOTAL, _shaped("/goim/online/total")),
    _single(
        "online/total with parameters",
        "parameters it does not know are ignored",
        _TOTAL,
        _shaped("/goim/online/total?x=1"),
    ),
    _single(
        "unsupported Accept is ignored",
        "the answer is JSON, plain and without CORS whatever the request's headers",
        _TOTAL,
        _shaped(
            "/goim/online/total",
            {"Accept": "text/html", "Accept-Encoding": "gzip", "Origin": "http://x.example"},
        ),
    ),
    _single("nodes/weighted", "members and their order", _WEIGHTED, _shaped("/goim/nodes/weighted")),
    _single(
        "nodes/weighted platform web", "the same for a browser", _WEIGHTED, _shaped("/goim/nodes/weighted?platform=web")
    ),
    _single(
        "nodes/instances",
        "comets as logic knows them, members in their order",
        "region zone env appid hostname addrs version latest_timestamp metadata",
        _instances,
        {"no comet is known": "no comet is known to this logic, so there is nothing to look at"},
    ),
]
