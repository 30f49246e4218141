"""bilibili discovery's HTTP API: register, renew, set, fetch, cancel. All of it in an env of its own."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from imctl.conform.case import Case
from imctl.conform.discovery_kit import (
    BAD,
    ENV,
    NOBODY,
    ONE,
    WRONG_METHOD,
    ZONE,
    Call,
    Registry,
    app_json,
    discovery_case,
    instance_json,
    route,
)
from imctl.conform.lab import Answer

__all__ = ["CASES"]


async def _register_twice(registry: Registry) -> list[Answer]:
    first = await registry.register()
    again = await registry.register(metadata='{"weight":"20"}')
    return [first, again, await registry.fetch()]


def _register_then_fetch(wanted: int = 1, **changes: Any) -> Call:
    async def call(registry: Registry) -> list[Answer]:
        return [await registry.register(**changes), await registry.fetch(status=wanted)]

    return call


def _register_only(**changes: Any) -> Call:
    async def call(registry: Registry) -> Answer:
        return await registry.register(**changes)

    return call


async def _register_in_query(registry: Registry) -> list[Answer]:
    params = {"zone": ZONE, "env": ENV, "appid": registry.app, "hostname": "h1", "status": 1, "addrs": "grpc://x:1"}
    registry.lab.later(lambda: registry.host("cancel"))
    answer = await registry.lab.http("POST", f"/discovery/register?{urlencode(params)}", part="discovery")
    return [answer, await registry.host("cancel")]


async def _register_get(registry: Registry) -> Answer:
    return await registry.get("register", {"zone": ZONE, "env": ENV, "appid": registry.app})


async def _fetch_zones(registry: Registry) -> list[Answer]:
    await registry.register()
    return [
        await registry.fetch(zone=ZONE),
        await registry.fetch(zone="conform9"),
        await registry.fetch(env="conform9"),
        await registry.fetch(appid=f"{registry.app}.none"),
    ]


def _fetch_only(**changes: Any) -> Call:
    async def call(registry: Registry) -> Answer:
        return await registry.fetch(**changes)

    return call


async def _fetchs(registry: Registry) -> list[Answer]:
    await registry.register()
    apps = [registry.app, f"{registry.app}.none"]
    query = {"env": ENV, "status": 1}
    return [await registry.get("fetchs", {**query, "appid": some}) for some in (apps, apps[1:])]


async def _fetch_all(registry: Registry) -> str:
    await registry.register()
    data = (await registry.get("fetch/all")).json()["data"]
    ours = [one["hostname"] for one in data.get(registry.app, [])]
    return f"infra.discovery {'in' if 'infra.discovery' in data else 'not in'} it, the app with {' '.join(ours)}"


async def _nodes(registry: Registry) -> str:
    document = (await registry.get("nodes")).json()
    members = sorted({tuple(node) for node in document["data"]})
    return f"code {document['code']}; " + " ".join("/".join(names) for names in members)


async def _envelope(registry: Registry) -> str:
    answer = await registry.register()
    return f"{answer.headers.get('content-type')} {answer.body.decode()}"


async def _infra(registry: Registry) -> str:
    """Look for what goim's client needs before it does anything else."""
    document = (await registry.get("fetch/all")).json()
    found = [one for one in document["data"].get("infra.discovery", []) if one.get("status") == 1]
    schemes = {addr.partition("://")[0] for one in found for addr in one["addrs"]}
    return "an instance with an http address" if "http" in schemes else f"{len(found)} instances, {sorted(schemes)}"


async def _renew(registry: Registry) -> list[Answer]:
    await registry.register()
    return [await registry.host("renew"), await registry.host("renew", region="sh")]


async def _renew_unknown(registry: Registry) -> list[Answer]:
    await registry.register()
    return [
        await registry.host("renew", "nobody"),
        await registry.host("renew", appid=f"{registry.app}.none"),
        await registry.host("renew", zone="conform9"),
    ]


def _host_only(path: str, **changes: Any) -> Call:
    async def call(registry: Registry) -> Answer:
        await registry.register()
        return await registry.host(path, **changes)

    return call


async def _set(registry: Registry) -> str:
    await registry.register(metadata='{"weight":"10","offline":"false"}')
    before, app_before = await registry.instance(), await registry.since()
    code = (await registry.host("set", metadata='{"conn_count":"3","weight":"20"}')).json()["code"]
    after, app_after = await registry.instance(), await registry.since()
    merged = json.dumps(dict(sorted(after.get("metadata", {}).items())), separators=(",", ":"))
    grew = "grew" if after["latest_timestamp"] > before["latest_timestamp"] else "did not grow"
    app = "stayed" if app_after == app_before else "changed"
    return f"code {code}; {merged}; the instance's latest_timestamp {grew}, the app's {app}"


async def _set_two(registry: Registry) -> list[Answer]:
    await registry.register("h1")
    await registry.register("h2")
    hosts = ["h1", "h2"]
    return [
        await registry.host("set", hostname=hosts, status=[1, 2]),
        await registry.fetch(),
        await registry.host("set", hostname=hosts, status=[1]),
    ]


async def _set_number(registry: Registry) -> str:
    await registry.register()
    code = (await registry.host("set", metadata='{"weight":10}')).json()["code"]
    return f"code {code}"


async def _cancel(registry: Registry) -> list[Answer]:
    await registry.register("h1")
    await registry.register("h2")
    return [
        await registry.host("cancel", "h2"),
        await registry.host("cancel", "h2"),
        await registry.host("cancel", "h1"),
        await registry.fetch(status=3),
        await registry.host("cancel", appid=f"{registry.app}.none"),
    ]


LOST = "404 text/plain 404 page not found"
_ADDRS = '"grpc://192.0.2.1:1","http://192.0.2.1:2"'
_COMMA = '"grpc://192.0.2.1:1,http://192.0.2.1:2"'
_WEIGHT_20 = '"weight":"20"'
_NULL_DATA = "code -404"

# name, what it shows, recording, what comes, calls
_TABLE: list[tuple[str, str, str, str, Call]] = [
    (
        "register",
        "register, and again with other metadata",
        "register ok; register again, same host: accepted",
        f"code 0; code 0; code 0 {app_json(instance_json(metadata=_WEIGHT_20))}",
        _register_twice,
    ),
    *(
        (
            f"register-no-{name}",
            f"register without {name}",
            f"register without {name}",
            BAD,
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
    ("register-empty-zone", "an empty zone", "register with empty zone", BAD, _register_only(zone="")),
    ("register-status-0", "status 0", "register status 0", BAD, _register_only(status=0)),
    (
        "register-status-3",
        "status 3 is answered by nothing",
        "register status 3",
        "200 and no body",
        _register_only(status=3),
    ),
    ("register-status-text", "a status that is no number", "register status x", BAD, _register_only(status="x")),
    (
        "register-status-2",
        "an instance that waits is shown to who asks for it",
        "register status 2; fetch app.status2",
        f"code 0; code 0 {app_json(instance_json(status=2))}",
        _register_then_fetch(3, status=2),
    ),
    (
        "register-status-2-up",
        "and not to others",
        "fetch app.status2 with status 1",
        f"code 0; code 0 {app_json()}",
        _register_then_fetch(1, status=2),
    ),
    (
        "register-metadata-bad",
        "metadata that is no JSON",
        "register metadata not JSON",
        BAD,
        _register_only(metadata="{bad"),
    ),
    (
        "register-metadata-number",
        "a value that is no text becomes an empty one",
        "register metadata with number value; fetch app.meta2",
        "code 0; code 0 " + app_json(instance_json(metadata='"weight":""')),
        _register_then_fetch(metadata='{"weight":10}'),
    ),
    (
        "register-addrs",
        "repeated addrs are a list",
        "register two addrs repeated; fetch app.addr2",
        f"code 0; code 0 {app_json(instance_json(addrs=_ADDRS))}",
        _register_then_fetch(addrs=["grpc://192.0.2.1:1", "http://192.0.2.1:2"]),
    ),
    (
        "register-addrs-comma",
        "a comma in addrs stays",
        "register two addrs with comma; fetch app.addrc",
        f"code 0; code 0 {app_json(instance_json(addrs=_COMMA))}",
        _register_then_fetch(addrs="grpc://192.0.2.1:1,http://192.0.2.1:2"),
    ),
    (
        "register-query",
        "parameters may stand in the query",
        "register parameters in the query string of a POST",
        "code 0; code 0",
        _register_in_query,
    ),
    ("register-get", "a wrong method", "register with GET", WRONG_METHOD, _register_get),
    (
        "fetch-zones",
        "fetch of a zone, of one without instances, of another env, of an unknown app",
        "fetch app.one zone sh001, zone sh009, env prod; fetch unknown app",
        f'code 0 {ONE}; code -404 {{"instances":{{}},"latest_timestamp":T}}; {_NULL_DATA}; {_NULL_DATA}',
        _fetch_zones,
    ),
    *(
        (f"fetch-no-{name}", f"fetch without {name}", f"fetch without {name}", BAD, _fetch_only(**{name: None}))
        for name in ("env", "appid", "status")
    ),
    ("fetch-status-0", "fetch of status 0", "fetch status 0", BAD, _fetch_only(status=0)),
    (
        "fetchs",
        "fetchs leaves out unknown apps",
        "fetchs two apps and an unknown one; fetchs only unknown",
        f'code 0 {{"APP":{ONE}}}; code 0 {{}}',
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
    (
        "renew",
        "renew answers with the instance",
        "renew ok",
        f"code 0 {instance_json()}; code 0 {instance_json()}",
        _renew,
    ),
    (
        "renew-unknown",
        "renew of an unknown host, app and zone",
        "renew unknown host; renew unknown app; renew other zone",
        f"code -404 {NOBODY}; code -404; code -404",
        _renew_unknown,
    ),
    *(
        (
            f"renew-no-{name}",
            f"renew without {name}",
            f"renew without {name}",
            BAD,
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
        f"code 0; code 0 {ONE}; code -400",
        _set_two,
    ),
    ("set-number", "set of metadata that is no text is refused", "set number metadata", BAD, _set_number),
    (
        "set-unknown-host",
        "set of an unknown host",
        "set unknown host",
        BAD,
        _host_only("set", hostname="nobody", status=1),
    ),
    ("set-status-5", "set of status 5", "set status 5", BAD, _host_only("set", status=5)),
    (
        "set-no-hostname",
        "set without hostname",
        "set without hostname",
        BAD,
        _host_only("set", hostname=None, status=1),
    ),
    ("set-no-appid", "set without appid", "set without appid", BAD, _host_only("set", appid=None, status=1)),
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
            BAD,
            _host_only("cancel", **{name: None}),
        )
        for name in ("zone", "env", "appid", "hostname")
    ),
    ("route-unknown", "an unknown path", "route GET /discovery/unknown", LOST, route("GET", "/discovery/unknown")),
    ("route-slash", "a slash behind", "route GET /discovery/nodes/", LOST, route("GET", "/discovery/nodes/")),
    (
        "route-options",
        "OPTIONS",
        "route OPTIONS /discovery/nodes",
        WRONG_METHOD,
        route("OPTIONS", "/discovery/nodes"),
    ),
]

CASES: list[Case] = [discovery_case(*row) for row in _TABLE]
