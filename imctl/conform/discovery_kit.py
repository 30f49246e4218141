"""What cases of discovery share: its calls, and its JSON as text."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from imctl.conform.case import Case
from imctl.conform.lab import Answer, Lab

__all__ = [
    "BAD",
    "ENV",
    "NOBODY",
    "ONE",
    "WRONG_METHOD",
    "ZONE",
    "Call",
    "Registry",
    "app_json",
    "discovery_case",
    "instance_json",
    "route",
    "run_call",
]

AREA = "discovery"
ENV, ZONE = "conform", "conform1"
"""Nobody else's."""
BAD = "code -400"
WRONG_METHOD = "405 text/plain Method Not Allowed"

_NUMBER = re.compile(r'"(\w+_timestamp)":\s*[1-9]\d*')

Params = Mapping[str, object]


def reply_text(lab: Lab, answer: Answer) -> str:
    """Return code and data of an answer, which is all that goim's client reads; times show as `T`."""
    if answer.status != 200:
        body = answer.body.decode("utf-8", "replace").strip()
        return f"{answer.status} {answer.headers.get('content-type', 'no content type')} {body}".strip()
    if not answer.body:
        return "200 and no body"
    document = answer.json()
    if not isinstance(document, dict) or "code" not in document:
        return f"200 {answer.body[:100]!r}"
    text = f"code {document['code']}"
    data = document.get("data")
    if data is not None:
        text += " " + _NUMBER.sub(r'"\1":T', json.dumps(data, separators=(",", ":")))
    return lab.plain(text)


class Registry:
    """Calls of one case: an app of its own, cancelled when the case is over."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.app = f"conform.{lab.tag}"

    async def post(self, path: str, params: Params) -> Answer:
        body = urlencode(params, doseq=True).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.lab.http("POST", f"/discovery/{path}", body, headers=headers, part="discovery")

    async def get(self, path: str, params: Params | None = None, *, wait_s: float | None = None) -> Answer:
        query = f"?{urlencode(params, doseq=True)}" if params else ""
        return await self.lab.http("GET", f"/discovery/{path}{query}", part="discovery", wait_s=wait_s)

    async def register(self, host: str = "h1", **changes: object) -> Answer:
        """Register a host of the app; None leaves a parameter out."""
        params = {
            "region": "sh",
            "zone": ZONE,
            "env": ENV,
            "appid": self.app,
            "hostname": host,
            "status": 1,
            "addrs": "grpc://192.0.2.1:3109",
            "version": "",
            "metadata": '{"weight":"10"}',
            **changes,
        }
        where = {name: params[name] for name in ("zone", "env", "appid", "hostname")}
        self.lab.later(lambda: self.post("cancel", where))
        return await self.post("register", {name: value for name, value in params.items() if value is not None})

    async def host(self, path: str, host: str = "h1", **changes: object) -> Answer:
        """Call renew, cancel or set for a host of the app."""
        params = {"zone": ZONE, "env": ENV, "appid": self.app, "hostname": host, **changes}
        return await self.post(path, {name: value for name, value in params.items() if value is not None})

    async def fetch(self, **changes: object) -> Answer:
        """Fetch the app."""
        params = {"env": ENV, "appid": self.app, "status": 1, **changes}
        return await self.get("fetch", {name: value for name, value in params.items() if value is not None})

    async def polls(self, *, since: int = 0, wait_s: float | None = None, **changes: object) -> Answer:
        """Poll the app."""
        params = {"env": ENV, "appid": self.app, "hostname": "c1", "latest_timestamp": since, **changes}
        kept = {name: value for name, value in params.items() if value is not None}
        return await self.get("polls", kept, wait_s=wait_s)

    async def since(self) -> int:
        """Return the app's latest timestamp."""
        document = (await self.fetch()).json() or {}
        return int((document.get("data") or {}).get("latest_timestamp", 0))

    def text(self, *answers: Answer) -> str:
        return "; ".join(reply_text(self.lab, answer) for answer in answers).replace("conform.", "APP")

    async def instance(self, **changes: object) -> dict[str, Any]:
        """Return the first instance that a fetch shows, {} when there is none. Any: JSON."""
        document = (await self.fetch(**changes)).json() or {}
        for instances in ((document.get("data") or {}).get("instances") or {}).values():
            for one in instances:
                return dict(one)
        return {}


Call = Callable[[Registry], Awaitable[Answer | Sequence[Answer] | str]]


def run_call(call: Call) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        registry = Registry(lab)
        found = await call(registry)
        if isinstance(found, str):
            return lab.plain(found)
        return registry.text(*([found] if isinstance(found, Answer) else found))

    return run


def instance_json(host: str = "h1", *, status: int = 1, zone: str = ZONE, addrs: str = "", metadata: str = "") -> str:
    """Return the JSON of an instance, with its members in discovery's order."""
    addrs = addrs or '"grpc://192.0.2.1:3109"'
    metadata = metadata or '"weight":"10"'
    return (
        f'{{"region":"sh","zone":"{zone}","env":"{ENV}","appid":"APP","hostname":"{host}","addrs":[{addrs}],'
        f'"version":"","metadata":{{{metadata}}},"status":{status},"reg_timestamp":T,"up_timestamp":T,'
        '"renew_timestamp":T,"dirty_timestamp":T,"latest_timestamp":T}'
    )


def app_json(*instances: str, zone: str = ZONE) -> str:
    return f'{{"instances":{{"{zone}":[{",".join(instances)}]}},"latest_timestamp":T}}'


NOBODY = (
    '{"region":"","zone":"","env":"","appid":"","hostname":"","addrs":null,"version":"","metadata":null,"status":0,'
    '"reg_timestamp":0,"up_timestamp":0,"renew_timestamp":0,"dirty_timestamp":0,"latest_timestamp":0}'
)


ONE = app_json(instance_json())
"""A fetch of the app with one host."""


def route(method: str, path: str) -> Call:
    async def call(registry: Registry) -> Answer:
        return await registry.lab.http(method, path, part="discovery")

    return call


def discovery_case(
    name: str, shows: str, recording: str, expected: str, call: Call, accepted: Mapping[str, str] | None = None
) -> Case:
    source = f"discovery-http.jsonl: {recording}"
    return Case(f"{AREA}.{name}", AREA, shows, source, ("discovery",), expected, run_call(call), accepted or {})
