"""Our registry client against a discovery that answers what a real one answered Go nodes, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import pytest

from imctl.registry.client import DiscoveryRegistry
from protocol.discovery_api import Instance, parse_apps
from protocol.discovery_forms import parse_params, parse_register, parse_set
from tests.vectors.lines import line_params

TAKEN = b'{"code":0,"message":"0","ttl":1}'


def path_of(line: dict[str, Any]) -> str:
    return line["request_head"].split()[1].partition("?")[0]


def calls(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "line",
        line_params(
            "discovery-http",
            lambda line: f"{line['node']} {line['what']}",
            when=lambda line: line["kind"] != "direct" and path_of(line).rpartition("/")[2] in names,
        ),
    )


class Discovery:
    """Answers one kind of call with recorded bytes, the first time; what it was asked is in `asked`.

    Without an answer it closes the connection, as for a poll that the recorded client gave up. Later polls are held.
    """

    def __init__(self, line: dict[str, Any]) -> None:
        self._path = path_of(line)
        self._answer = (line["response_head"] + line["response_body"]).encode() if "response_body" in line else b""
        self._answered = False
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []
        self.more = asyncio.Event()
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (int(row.split(":")[1]) for row in head.lower().split("\r\n") if row.startswith("content-length")),
                    0,
                )
                body = (await reader.readexactly(length)).decode()
                path, _, query = head.split()[1].partition("?")
                params: dict[str, list[str]] = {}
                for name, value in parse_qsl(query or body, keep_blank_values=True):
                    params.setdefault(name, []).append(value)
                self.asked.append((path, params, body))
                self.more.set()
                if path == self._path and not self._answered:
                    self._answered = True
                    if not self._answer:
                        return
                    writer.write(self._answer)
                elif path == "/discovery/polls":
                    await reader.read()  # until the client goes
                    return
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(TAKEN), TAKEN))

    async def wait_for(self, path: str, count: int = 1) -> list[tuple[dict[str, list[str]], str]]:
        """Return parameters and body of the calls of a path once there are so many."""
        async with asyncio.timeout(10):
            while len(found := [(params, body) for asked, params, body in self.asked if asked == path]) < count:
                self.more.clear()
                await self.more.wait()
        return found


@asynccontextmanager
async def discovery_of(line: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Discovery, DiscoveryRegistry]]:
    discovery = Discovery(line)
    server = await asyncio.start_server(discovery.serve, "127.0.0.1", 0)
    registry = DiscoveryRegistry([f"127.0.0.1:{server.sockets[0].getsockname()[1]}"], **options)
    try:
        yield discovery, registry
    finally:
        await registry.close()
        server.close()


def registered_by(line: dict[str, Any]) -> Instance:
    """Return the instance whose node made the call, as far as the call shows it."""
    given = dict(line["request_params"])
    return Instance(
        appid=given["appid"],
        hostname=given["hostname"],
        addrs=("grpc://192.0.2.2:23109",),
        region=given["region"],
        zone=given["zone"],
        env=given["env"],
        metadata={"weight": "10"},
    )


@calls("register")
async def test_register(line):
    async with discovery_of(line) as (discovery, registry):
        await registry.register(parse_register(parse_params("", line["request_body"])).instance)

        assert [body for _, body in await discovery.wait_for("/discovery/register")] == [line["request_body"]]


@calls("renew")
async def test_renew(line):
    is_known = json.loads(line["response_body"])["code"] == 0
    async with discovery_of(line, renew_every_s=0.02) as (discovery, registry):
        await registry.register(registered_by(line))

        assert (await discovery.wait_for("/discovery/renew"))[0][1] == line["request_body"]
        # Refused because it is not known any more, a node registers anew; else it renews again.
        await discovery.wait_for(*(("/discovery/renew", 2) if is_known else ("/discovery/register", 2)))
        assert len(await discovery.wait_for("/discovery/register")) == (1 if is_known else 2)


@calls("set")
async def test_set(line):
    wanted = parse_set(parse_params("", line["request_body"]))
    async with discovery_of(line) as (discovery, registry):
        await registry.register(registered_by(line))
        metadata = json.loads(dict(line["request_params"])["metadata"])

        await registry.set_metadata("goim.comet", dict(line["request_params"])["hostname"], metadata)

        ((_, body),) = await discovery.wait_for("/discovery/set")
        assert parse_set(parse_params("", body)) == wanted


@calls("cancel")
async def test_cancel(line):
    given = dict(line["request_params"])
    async with discovery_of(line) as (discovery, registry):
        await registry.register(registered_by(line))

        await registry.cancel(given["appid"], given["hostname"])

        assert [body for _, body in await discovery.wait_for("/discovery/cancel")] == [line["request_body"]]


@calls("polls")
async def test_polls(line):
    recorded = parse_params(line["request_head"].split()[1].partition("?")[2], "")
    reported: dict[str, tuple[Instance, ...]] = {}
    came = asyncio.Event()

    def report(appid: str) -> Any:
        def callback(instances: tuple[Instance, ...]) -> None:
            reported[appid] = instances
            came.set()

        return callback

    answer = json.loads(line["response_body"]) if "response_body" in line else {"code": None}
    # A real discovery mixes up the polls of one host: some answers are of an app that was not asked for.
    data = {appid: app for appid, app in answer.get("data", {}).items() if appid in recorded["appid"]}
    news = parse_apps(data)
    async with discovery_of(line) as (discovery, registry):
        watches = [registry.watch(appid, report(appid)) for appid in recorded["appid"]]
        asked = await discovery.wait_for("/discovery/polls")
        # Whatever came, the next poll follows; where there was no answer, after a look whether discovery is there.
        await discovery.wait_for("/discovery/polls", 2)
        for watch in watches:
            watch.close()

    assert {name for name, _ in asked[0][0].items()} == set(recorded)
    assert (sorted(asked[0][0]["appid"]), asked[0][0]["env"]) == (sorted(recorded["appid"]), recorded["env"])
    assert {appid: sorted(each.hostname for each in instances) for appid, instances in reported.items()} == {
        appid: sorted(each.hostname for each in info.flat()) for appid, info in news.items()
    }
    for appid, instances in reported.items():
        assert {each.hostname: (each.addrs, dict(each.metadata)) for each in instances} == {
            each.hostname: (each.addrs, dict(each.metadata)) for each in news[appid].flat()
        }
