"""bilibili discovery's HTTP API: register, renew, set, fetch, polls, cancel. All of it in an env of its own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from imctl.conform.case import Case, SilentError
from imctl.conform.lab import Answer, Lab

__all__ = ["CASES"]

_AREA = "discovery"
_ENV, _ZONE = "conform", "conform1"
_NUMBER = re.compile(r'"(\w+_timestamp)":\s*[1-9]\d*')
_HOLD_S = 35.0  # a poll is held for 30 s

_Params = Mapping[str, object]


def _reply_text(lab: Lab, answer: Answer) -> str:
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


class _Registry:
    """Calls of one case: an app of its own, cancelled when the case is over."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.app = f"conform.{lab.tag}"

    async def post(self, path: str, params: _Params) -> Answer:
        body = urlencode(params, doseq=True).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.lab.http("POST", f"/discovery/{path}", body, headers=headers, part="discovery")

    async def get(self, path: str, params: _Params | None = None, *, wait_s: float | None = None) -> Answer:
        query = f"?{urlencode(params, doseq=True)}" if params else ""
        return await self.lab.http("GET", f"/discovery/{path}{query}", part="discovery", wait_s=wait_s)

    async def register(self, host: str = "h1", **changes: object) -> Answer:
        """Register a host of the app; None leaves a parameter out."""
        params = {
            "region": "sh",
            "zone": _ZONE,
            "env": _ENV,
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
        params = {"zone": _ZONE, "env": _ENV, "appid": self.app, "hostname": host, **changes}
        return await self.post(path, {name: value for name, value in params.items() if value is not None})

    async def fetch(self, **changes: object) -> Answer:
        """Fetch the app."""
        params = {"env": _ENV, "appid": self.app, "status": 1, **changes}
        return await self.get("fetch", {name: value for name, value in params.items() if value is not None})

    async def polls(self, *, since: int = 0, wait_s: float | None = None, **changes: object) -> Answer:
        """Poll the app."""
        params = {"env": _ENV, "appid": self.app, "hostname": "c1", "latest_timestamp": since, **changes}
        kept = {name: value for name, value in params.items() if value is not None}
        return await self.get("polls", kept, wait_s=wait_s)

    async def since(self) -> int:
        """Return the app's latest timestamp."""
        document = (await self.fetch()).json() or {}
        return int((document.get("data") or {}).get("latest_timestamp", 0))

    def text(self, *answers: Answer) -> str:
        return "; ".join(_reply_text(self.lab, answer) for answer in answers).replace("conform.", "APP")

    async def instance(self, **changes: object) -> dict[str, Any]:
        """Return the first instance that a fetch shows, {} when there is none. Any: JSON."""
        document = (await self.fetch(**changes)).json() or {}
        for instances in ((document.get("data") or {}).get("instances") or {}).values():
            for one in instances:
                return dict(one)
        return {}


_Call = Callable[[_Registry], Awaitable[Answer | Sequence[Answer] | str]]


def _run(call: _Call) -> Callable[[Lab], Awaitable[str]]:
    async def run(lab: Lab) -> str:
        registry = _Registry(lab)
        found = await call(registry)
        if isinstance(found, str):
            return lab.plain(found)
        return registry.text(*([found] if isinstance(found, Answer) else found))

    return run


def _instance(host: str = "h1", *, status: int = 1, zone: str = _ZONE, addrs: str = "", metadata: str = "") -> str:
    """Return the JSON of an instance, with its members in discovery's order."""
    addrs = addrs or '"grpc://192.0.2.1:3109"'
    metadata = metadata or '"weight":"10"'
    up = "T" if status == 1 else "0"
    return (
        f'{{"region":"sh","zone":"{zone}","env":"{_ENV}","appid":"APP","hostname":"{host}","addrs":[{addrs}],'
        f'"version":"","metadata":{{{metadata}}},"status":{status},"reg_timestamp":T,"up_timestamp":{up},'
        '"renew_timestamp":T,"dirty_timestamp":T,"latest_timestamp":T}'
    )


def _app(*instances: str, zone: str = _ZONE) -> str:
    return f'{{"instances":{{"{zone}":[{",".join(instances)}]}},"latest_timestamp":T}}'


_NOBODY = (
    '{"region":"","zone":"","env":"","appid":"","hostname":"","addrs":null,"version":"","metadata":null,"status":0,'
    '"reg_timestamp":0,"up_timestamp":0,"renew_timestamp":0,"dirty_timestamp":0,"latest_timestamp":0}'
)


# --- calls that answer at once ---


async def _register_twice(registry: _Registry) -> list[Answer]:
    first = await registry.register()
    again = await registry.register(metadata='{"weight":"20"}')
    return [first, again, await registry.fetch()]


def _register_then_fetch(wanted: int = 1, **changes: object) -> _Call:
    async def call(registry: _Registry) -> list[Answer]:
        return [await registry.register(**changes), await registry.fetch(status=wanted)]

    return call


def _register_only(**changes: object) -> _Call:
    async def call(registry: _Registry) -> Answer:
        return await registry.register(**changes)

    return call


async def _register_in_query(registry: _Registry) -> list[Answer]:
    params = {"zone": _ZONE, "env": _ENV, "appid": registry.app, "hostname": "h1", "status": 1, "addrs": "grpc://x:1"}
    registry.lab.later(lambda: registry.host("cancel"))
    answer = await registry.lab.http("POST", f"/discovery/register?{urlencode(params)}", part="discovery")
    return [answer, await registry.host("cancel")]


async def _register_get(registry: _Registry) -> Answer:
    return await registry.get("register", {"zone": _ZONE, "env": _ENV, "appid": registry.app})


async def _fetch_zones(registry: _Registry) -> list[Answer]:
    await registry.register()
    return [
        await registry.fetch(zone=_ZONE),
        await registry.fetch(zone="conform9"),
        await registry.fetch(env="conform9"),
        await registry.fetch(appid=f"{registry.app}.none"),
    ]


def _fetch_only(**changes: object) -> _Call:
    async def call(registry: _Registry) -> Answer:
        return await registry.fetch(**changes)

    return call


async def _fetchs(registry: _Registry) -> list[Answer]:
    await registry.register()
    apps = [registry.app, f"{registry.app}.none"]
    query = {"env": _ENV, "status": 1}
    return [await registry.get("fetchs", {**query, "appid": some}) for some in (apps, apps[1:])]


async def _fetch_all(registry: _Registry) -> str:
    await registry.register()
    data = (await registry.get("fetch/all")).json()["data"]
    ours = [one["hostname"] for one in data.get(registry.app, [])]
    return f"infra.discovery {'in' if 'infra.discovery' in data else 'not in'} it, the app with {' '.join(ours)}"


async def _nodes(registry: _Registry) -> str:
    document = (await registry.get("nodes")).json()
    members = sorted({tuple(node) for node in document["data"]})
    return f"code {document['code']}; " + " ".join("/".join(names) for names in members)


async def _envelope(registry: _Registry) -> str:
    answer = await registry.register()
    return f"{answer.headers.get('content-type')} {answer.body.decode()}"


async def _infra(registry: _Registry) -> str:
    """Look for what goim's client needs before it does anything else."""
    document = (await registry.get("fetch/all")).json()
    found = [one for one in document["data"].get("infra.discovery", []) if one.get("status") == 1]
    schemes = {addr.partition("://")[0] for one in found for addr in one["addrs"]}
    return "an instance with an http address" if "http" in schemes else f"{len(found)} instances, {sorted(schemes)}"


async def _renew(registry: _Registry) -> list[Answer]:
    await registry.register()
    return [await registry.host("renew"), await registry.host("renew", region="sh")]


async def _renew_unknown(registry: _Registry) -> list[Answer]:
    await registry.register()
    return [
        await registry.host("renew", "nobody"),
        await registry.host("renew", appid=f"{registry.app}.none"),
        await registry.host("renew", zone="conform9"),
    ]


def _host_only(path: str, **changes: object) -> _Call:
    async def call(registry: _Registry) -> Answer:
        await registry.register()
        return await registry.host(path, **changes)

    return call


async def _set(registry: _Registry) -> str:
    await registry.register(metadata='{"weight":"10","offline":"false"}')
    before, app_before = await registry.instance(), await registry.since()
    code = (await registry.host("set", metadata='{"conn_count":"3","weight":"20"}')).json()["code"]
    after, app_after = await registry.instance(), await registry.since()
    merged = json.dumps(dict(sorted(after.get("metadata", {}).items())), separators=(",", ":"))
    grew = "grew" if after["latest_timestamp"] > before["latest_timestamp"] else "did not grow"
    app = "stayed" if app_after == app_before else "changed"
    return f"code {code}; {merged}; the instance's latest_timestamp {grew}, the app's {app}"


async def _set_two(registry: _Registry) -> list[Answer]:
    await registry.register("h1")
    await registry.register("h2")
    hosts = ["h1", "h2"]
    return [
        await registry.host("set", hostname=hosts, status=[1, 2]),
        await registry.fetch(),
        await registry.host("set", hostname=hosts, status=[1]),
    ]


async def _set_number(registry: _Registry) -> str:
    await registry.register()
    code = (await registry.host("set", metadata='{"weight":10}')).json()["code"]
    return f"code {code}"


async def _cancel(registry: _Registry) -> list[Answer]:
    await registry.register("h1")
    await registry.register("h2")
    return [
        await registry.host("cancel", "h2"),
        await registry.host("cancel", "h2"),
        await registry.host("cancel", "h1"),
        await registry.fetch(status=3),
        await registry.host("cancel", appid=f"{registry.app}.none"),
    ]


async def _polls_at_once(registry: _Registry) -> list[Answer]:
    await registry.register()
    return [await registry.polls()]


async def _poll_at_once(registry: _Registry) -> list[Answer]:
    await registry.register()
    query = {"env": _ENV, "appid": registry.app, "hostname": "c1"}
    return [await registry.get("poll", {**query, "latest_timestamp": 0}), await registry.get("poll", query)]


async def _polls_unknown(registry: _Registry) -> str:
    await registry.register()
    none = f"{registry.app}.none"
    answer = await registry.polls(appid=[registry.app, none], latest_timestamp=[0, 0])
    document = answer.json()
    if document["code"] != 0:
        return f"code {document['code']}"
    error = document.get("error") or {}
    known = "the known app" if list(document["data"]) == [registry.app] else f"{sorted(document['data'])}"
    return f"{known}; -404: {'the unknown one' if error.get('-404') == [none] else error}"


async def _polls_newer(registry: _Registry) -> str:
    await registry.register()
    other = f"{registry.app}.other"
    await registry.register(appid=other)
    answer = await registry.polls(appid=[registry.app, other], latest_timestamp=[await registry.since(), 0])
    return "only the newer app" if list(answer.json()["data"]) == [other] else f"{sorted(answer.json()['data'])}"


async def _polls_cancelled(registry: _Registry) -> str:
    await registry.register()
    first = await registry.since()
    await registry.register("h2")
    second = await registry.since()
    await registry.host("cancel", "h2")
    third = await registry.since()
    return "grows with a register and a cancel" if first < second < third else f"{first} {second} {third}"


def _polls_only(**changes: object) -> _Call:
    async def call(registry: _Registry) -> Answer:
        return await registry.polls(**changes)

    return call


def _route(method: str, path: str) -> _Call:
    async def call(registry: _Registry) -> Answer:
        return await registry.lab.http(method, path, part="discovery")

    return call


# --- held polls ---


async def _held(
    registry: _Registry, news: Callable[[], Awaitable[Answer]], *, known: bool = True, polls: int = 1
) -> str:
    """Hold polls, make news, and tell what answers them: code and host names."""
    if known:
        await registry.register()
    since = await registry.since()
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(registry.polls(since=since), name="held poll") for _ in range(polls)]
        await registry.lab.pause(0.4)
        early = sum(poll.done() for poll in held)
        await news()
    if early:
        return "answered before there was any news"
    return "; ".join(_hosts(registry, poll.result()) for poll in held)


def _hosts(registry: _Registry, answer: Answer) -> str:
    document = answer.json() or {}
    info = (document.get("data") or {}).get(registry.app) or {}
    hosts = sorted(one["hostname"] for zone in (info.get("instances") or {}).values() for one in zone)
    return f"code {document.get('code')} {' '.join(hosts)}".strip()


async def _held_register(registry: _Registry) -> str:
    return await _held(registry, lambda: registry.register("h2"))


async def _held_set(registry: _Registry) -> str:
    return await _held(registry, lambda: registry.host("set", metadata='{"x":"1"}'))


async def _held_cancel(registry: _Registry) -> str:
    await registry.register("h2")
    return await _held(registry, lambda: registry.host("cancel", "h2"))


async def _held_renew(registry: _Registry) -> str:
    """A renew is no news; the set behind it is."""

    async def news() -> Answer:
        await registry.host("renew")
        await registry.lab.pause(0.3)
        return await registry.host("set", metadata='{"renewed":"first"}')

    await registry.register()
    since = await registry.since()
    poll = asyncio.create_task(registry.polls(since=since), name="held poll")
    try:
        await registry.lab.pause(0.3)
        await news()
        answer = await poll
    finally:
        poll.cancel()
    metadata = answer.json()["data"][registry.app]["instances"][_ZONE][0]["metadata"]
    return "answered by the set" if "renewed" in metadata else "answered by the renew"


async def _held_new_app(registry: _Registry) -> str:
    return await _held(registry, registry.register, known=False)


async def _held_two(registry: _Registry) -> str:
    return await _held(registry, lambda: registry.host("set", metadata='{"x":"1"}'), polls=2)


async def _held_apart(registry: _Registry) -> str:
    """Two watchers of one host that poll different apps, as goim's nodes do."""
    other = f"{registry.app}.other"
    await registry.register()
    await registry.register(appid=other)
    since = await registry.since()
    document = (await registry.fetch(appid=other)).json()
    other_since = document["data"]["latest_timestamp"]
    wait_s = min(3.0, registry.lab.wait_s)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(_patient(registry.polls(since=other_since, appid=other, wait_s=wait_s)))
        second = group.create_task(_patient(registry.polls(since=since, wait_s=wait_s)))
        await registry.lab.pause(0.4)
        await registry.host("set", metadata='{"x":"1"}')
    own, strange = second.result(), first.result()
    if strange is not None and own is None:
        return "the other poll is answered"
    if own is None:
        return "no poll is answered"
    return "the right poll is answered" if strange is None else "both polls are answered"


async def _patient(call: Awaitable[Answer]) -> Answer | None:
    try:
        return await call
    except SilentError:
        return None


async def _held_after_abort(registry: _Registry) -> str:
    """A poll whose client goes must not take the news from the next one."""
    await registry.register()
    since = await registry.since()
    gone = asyncio.create_task(registry.polls(since=since), name="poll that is given up")
    await registry.lab.pause(0.3)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    wait_s = min(3.0, registry.lab.wait_s)
    async with asyncio.TaskGroup() as group:
        poll = group.create_task(_patient(registry.polls(since=since, wait_s=wait_s)), name="held poll")
        await registry.lab.pause(0.3)
        await registry.host("set", metadata='{"x":"1"}')
    answer = poll.result()
    return "no answer" if answer is None else _hosts(registry, answer)


async def _held_out(registry: _Registry) -> str:
    await registry.register()
    since = await registry.since()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    answers = await asyncio.gather(
        registry.polls(since=since, wait_s=_HOLD_S),
        registry.polls(since=9 * 10**18, hostname="c2", wait_s=_HOLD_S),
        registry.polls(appid=f"{registry.app}.never", hostname="c3", wait_s=_HOLD_S),
        registry.polls(zone="conform9", hostname="c4", wait_s=_HOLD_S),
    )
    took_s = loop.time() - began_s
    held = "30 s" if 29 < took_s < 32 else f"{took_s:.0f} s"
    return f"{registry.text(*answers)} after {held}"


_BAD = "code -400"
_WRONG_METHOD = "405 text/plain Method Not Allowed"
_LOST = "404 text/plain 404 page not found"
_ONE = _app(_instance())
_POLLED = f'code 0 {{"APP":{_ONE}}}'

_ADDRS = '"grpc://192.0.2.1:1","http://192.0.2.1:2"'
_COMMA = '"grpc://192.0.2.1:1,http://192.0.2.1:2"'
_WEIGHT_20 = '"weight":"20"'
_NULL_DATA = "code -404"

# name, what it shows, recording, what comes, calls
_TABLE: list[tuple[str, str, str, str, _Call]] = [
    (
        "register",
        "register, and again with other metadata",
        "register ok; register again, same host: accepted",
        f"code 0; code 0; code 0 {_app(_instance(metadata=_WEIGHT_20))}",
        _register_twice,
    ),
    *(
        (
            f"register-no-{name}",
            f"register without {name}",
            f"register without {name}",
            _BAD,
            _register_only(**{name: None}),
        )
        for name in ("zone", "env", "appid", "hostname", "status", "addrs")
    ),
    *(
        (
            f"register-no-{name}",
            f"{name} may be left out",
            f"register without {name}",
            "code 0",
            _register_only(**{name: None}),
        )
        for name in ("region", "version", "metadata")
    ),
    ("register-empty-zone", "an empty zone", "register with empty zone", _BAD, _register_only(zone="")),
    ("register-status-0", "status 0", "register status 0", _BAD, _register_only(status=0)),
    (
        "register-status-3",
        "status 3 is answered by nothing",
        "register status 3",
        "200 and no body",
        _register_only(status=3),
    ),
    ("register-status-text", "a status that is no number", "register status x", _BAD, _register_only(status="x")),
    (
        "register-status-2",
        "an instance that waits is shown to who asks for it",
        "register status 2; fetch app.status2",
        f"code 0; code 0 {_app(_instance(status=2))}",
        _register_then_fetch(3, status=2),
    ),
    (
        "register-status-2-up",
        "and not to others",
        "fetch app.status2 with status 1",
        f"code 0; code 0 {_app()}",
        _register_then_fetch(1, status=2),
    ),
    (
        "register-metadata-bad",
        "metadata that is no JSON",
        "register metadata not JSON",
        _BAD,
        _register_only(metadata="{bad"),
    ),
    (
        "register-metadata-number",
        "a value that is no text becomes an empty one",
        "register metadata with number value; fetch app.meta2",
        "code 0; code 0 " + _app(_instance(metadata='"weight":""')),
        _register_then_fetch(metadata='{"weight":10}'),
    ),
    (
        "register-addrs",
        "repeated addrs are a list",
        "register two addrs repeated; fetch app.addr2",
        f"code 0; code 0 {_app(_instance(addrs=_ADDRS))}",
        _register_then_fetch(addrs=["grpc://192.0.2.1:1", "http://192.0.2.1:2"]),
    ),
    (
        "register-addrs-comma",
        "a comma in addrs stays",
        "register two addrs with comma; fetch app.addrc",
        f"code 0; code 0 {_app(_instance(addrs=_COMMA))}",
        _register_then_fetch(addrs="grpc://192.0.2.1:1,http://192.0.2.1:2"),
    ),
    (
        "register-query",
        "parameters may stand in the query",
        "register parameters in the query string of a POST",
        "code 0; code 0",
        _register_in_query,
    ),
    ("register-get", "a wrong method", "register with GET", _WRONG_METHOD, _register_get),
    (
        "fetch-zones",
        "fetch of a zone, of one without instances, of another env, of an unknown app",
        "fetch app.one zone sh001, zone sh009, env prod; fetch unknown app",
        f'code 0 {_ONE}; code -404 {{"instances":{{}},"latest_timestamp":T}}; {_NULL_DATA}; {_NULL_DATA}',
        _fetch_zones,
    ),
    *(
        (f"fetch-no-{name}", f"fetch without {name}", f"fetch without {name}", _BAD, _fetch_only(**{name: None}))
        for name in ("env", "appid", "status")
    ),
    ("fetch-status-0", "fetch of status 0", "fetch status 0", _BAD, _fetch_only(status=0)),
    (
        "fetchs",
        "fetchs leaves out unknown apps",
        "fetchs two apps and an unknown one; fetchs only unknown",
        f'code 0 {{"APP":{_ONE}}}; code 0 {{}}',
        _fetchs,
    ),
    (
        "fetch-all",
        "fetch/all has every app",
        "fetch/all at the end",
        "infra.discovery in it, the app with h1",
        _fetch_all,
    ),
    ("nodes", "nodes lists the servers", "nodes", "code 0; addr/status/zone", _nodes),
    (
        "infra",
        "infra.discovery has an http address: without it goim's nodes do not start",
        "fetch infra.discovery; naming/client.go serverproc",
        "an instance with an http address",
        _infra,
    ),
    (
        "envelope",
        "the envelope to the byte",
        "register ok",
        'application/json; charset=utf-8 {"code":0,"message":"0","ttl":1}',
        _envelope,
    ),
    ("renew", "renew answers with the instance", "renew ok", f"code 0 {_instance()}; code 0 {_instance()}", _renew),
    (
        "renew-unknown",
        "renew of an unknown host, app and zone",
        "renew unknown host; renew unknown app; renew other zone",
        f"code -404 {_NOBODY}; code -404; code -404",
        _renew_unknown,
    ),
    *(
        (
            f"renew-no-{name}",
            f"renew without {name}",
            f"renew without {name}",
            _BAD,
            _host_only("renew", **{name: None}),
        )
        for name in ("zone", "env", "appid", "hostname")
    ),
    (
        "set",
        "set adds to the metadata, and is seen in the instance's latest_timestamp only",
        "set metadata only, one new member: merged; fetch after merge",
        'code 0; {"conn_count":"3","offline":"false","weight":"20"}; '
        "the instance's latest_timestamp grew, the app's stayed",
        _set,
    ),
    (
        "set-two",
        "set of two hosts; lists of different length are refused",
        "set two hosts; set unequal lengths; set status 2 on h3",
        f"code 0; code 0 {_ONE}; code -400",
        _set_two,
    ),
    ("set-number", "set of metadata that is no text is refused", "set number metadata", _BAD, _set_number),
    (
        "set-unknown-host",
        "set of an unknown host",
        "set unknown host",
        _BAD,
        _host_only("set", hostname="nobody", status=1),
    ),
    ("set-status-5", "set of status 5", "set status 5", _BAD, _host_only("set", status=5)),
    (
        "set-no-hostname",
        "set without hostname",
        "set without hostname",
        _BAD,
        _host_only("set", hostname=None, status=1),
    ),
    ("set-no-appid", "set without appid", "set without appid", _BAD, _host_only("set", appid=None, status=1)),
    (
        "cancel",
        "cancel, twice, the last one, and of an unknown app; then the app is not there",
        "cancel ok; cancel again; fetch an app whose last instance was cancelled; cancel unknown app",
        "code 0; code -404; code 0; code -404; code -404",
        _cancel,
    ),
    *(
        (
            f"cancel-no-{name}",
            f"cancel without {name}",
            f"cancel without {name}",
            _BAD,
            _host_only("cancel", **{name: None}),
        )
        for name in ("zone", "env", "appid", "hostname")
    ),
    ("polls", "polls from the beginning answers at once", "polls timestamp 0: at once", _POLLED, _polls_at_once),
    (
        "poll",
        "so does poll, also without a timestamp",
        "poll timestamp 0: at once; poll without timestamp",
        f"code 0 {_ONE}; code 0 {_ONE}",
        _poll_at_once,
    ),
    (
        "polls-newer",
        "polls answers with the apps that are newer",
        "polls, one app up to date, the other not",
        "only the newer app",
        _polls_newer,
    ),
    (
        "polls-timestamp",
        "an app's latest_timestamp grows",
        "internal model of the server: model/application.go",
        "grows with a register and a cancel",
        _polls_cancelled,
    ),
    (
        "polls-lengths",
        "lists of different length",
        "polls unequal lengths",
        _BAD,
        _polls_only(appid=["a", "b"], latest_timestamp=0),
    ),
    *(
        (f"polls-no-{name}", f"polls without {name}", f"polls without {name}", _BAD, _polls_only(**{name: None}))
        for name in ("env", "hostname", "appid")
    ),
    (
        "polls-bad-timestamp",
        "a timestamp that is no number",
        "polls bad timestamp",
        _BAD,
        _polls_only(latest_timestamp="x"),
    ),
    ("polls-post", "polls with POST", "polls with POST", _WRONG_METHOD, _route("POST", "/discovery/polls")),
    (
        "held-register",
        "a held poll is answered by a register",
        "register a new host: the poll is answered",
        "code 0 h1 h2",
        _held_register,
    ),
    ("held-set", "by a set", "set: the poll is answered", "code 0 h1", _held_set),
    ("held-cancel", "by a cancel", "cancel h4: the poll is answered", "code 0 h1", _held_cancel),
    (
        "held-renew",
        "and not by a renew",
        "polls held; the renew at 1 s does not answer it",
        "answered by the set",
        _held_renew,
    ),
    (
        "held-new-app",
        "by the first register of an app",
        "polls held for an app nobody registered yet",
        "code 0 h1",
        _held_new_app,
    ),
    (
        "held-two",
        "two polls of one host are both answered",
        "second poll, same hostname; set: both are answered",
        "code 0 h1; code 0 h1",
        _held_two,
    ),
    ("route-unknown", "an unknown path", "route GET /discovery/unknown", _LOST, _route("GET", "/discovery/unknown")),
    ("route-slash", "a slash behind", "route GET /discovery/nodes/", _LOST, _route("GET", "/discovery/nodes/")),
    (
        "route-options",
        "OPTIONS",
        "route OPTIONS /discovery/nodes",
        _WRONG_METHOD,
        _route("OPTIONS", "/discovery/nodes"),
    ),
]


def _case(
    name: str, shows: str, recording: str, expected: str, call: _Call, accepted: Mapping[str, str] | None = None
) -> Case:
    source = f"discovery-http.jsonl: {recording}"
    return Case(f"{_AREA}.{name}", _AREA, shows, source, ("discovery",), expected, _run(call), accepted or {})


CASES: list[Case] = [
    *(_case(*row) for row in _TABLE),
    _case(
        "polls-unknown",
        "polls of a known and an unknown app",
        "polls with one unknown app",
        "the known app; -404: the unknown one",
        _polls_unknown,
        {"code -404": "as the server of v1.0: one unknown app spoils the poll"},
    ),
    _case(
        "poll-unknown",
        "poll of an unknown app",
        "poll unknown app: -404 at once",
        "code -404",
        lambda registry: registry.get(
            "poll", {"env": _ENV, "appid": registry.app, "hostname": "c", "latest_timestamp": 0}
        ),
    ),
    _case(
        "held-apart",
        "polls of one host for different apps are not mixed up",
        "real calls of goim nodes: two clients of one host",
        "the right poll is answered",
        _held_apart,
        {
            "the other poll is answered": "discovery gives one poll's news to another of the same host",
            "both polls are answered": "discovery answers a poll of an app that has no news",
            "no poll is answered": "discovery gives the news to nobody",
        },
    ),
    _case(
        "held-after-abort",
        "a poll whose client has gone takes no news from the next",
        "aborted poll steals the answer (what goim nodes do at start-up)",
        "code 0 h1",
        _held_after_abort,
        {"no answer": "discovery keeps the poll that was given up, and it takes the news"},
    ),
    Case(
        f"{_AREA}.held-out",
        _AREA,
        "polls without news are held for 30 s, then answered with -304",
        "discovery-http.jsonl: polls up to date; in the future; unknown app; a zone it has no instance in",
        ("discovery",),
        "code -304; code -304; code -304; code -304 after 30 s",
        _run(_held_out),
        slow=True,
        limit_s=60.0,
    ),
]
