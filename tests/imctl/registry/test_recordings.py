"""The recorded dialogues of a real discovery, replayed against our registry.

Timestamps are compared by a mapping from recorded to own ones, which must be
one to one: where discovery repeats a timestamp, so do we, and a poll carries
the timestamp that stands in the place of the recorded one.

The dialogues are played once, as a whole, since each call depends on those
before it; then there is a test for each line.

Where ours is meant to differ:
- "aborted poll steals the answer": ours gives the news to the poll that is still there.
- GET /metadata and GET /metrics belong to the framework of discovery's server, and are not found here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlencode

import aiohttp
import pytest
from yarl import URL

from imctl.registry.config import RegistryConfig
from imctl.registry.node import RegistryServer
from protocol.discovery_api import parse_apps
from protocol.discovery_forms import (
    parse_cancel,
    parse_params,
    parse_poll,
    parse_register,
    parse_renew,
    parse_set,
    register_form,
)
from tests.imctl.registry.test_registry_contract import until
from tests.vectors.lines import line_params, lines

ALL = lines("discovery-http")
for _number, _entry in enumerate(ALL, 1):
    _entry["line"] = _number
DIRECT = [entry for entry in ALL if entry["kind"] == "direct"]

STEAL = "aborted poll steals the answer (what goim nodes do at start-up)"
PROTECTED = "server with enableprotect=true, first 60 s"
TIMEOUT = "timeout"
OF_THE_FRAMEWORK = ("route GET /metadata", "route GET /metrics")

RECORDED_ADDRESS = "127.0.0.1:30171"
HELD_MS = 500  # a recorded request that took longer was held


class Replay:
    """Sends recorded requests to a server and compares the answers."""

    def __init__(self, server, session):
        self.server = server
        self.address = server.addresses["registry.http"]
        self.session = session
        self.own = {}  # recorded timestamp -> ours
        self.held = []
        self.problems = {}  # by line, "" where all is as recorded

    async def play(self, entries):
        for entry in sorted(entries, key=lambda each: each["started_ms"]):
            if entry["took_ms"] < HELD_MS:
                self.compare(entry, *await self.send(entry["request"]))
                if entry["request"]["method"] == "POST":
                    await self.collect()
                continue
            waiting = self.server.stats()["gauges"]["polls_held"]
            self.held.append((entry, asyncio.create_task(self.send(entry["request"]))))
            await until(lambda: self.server.stats()["gauges"]["polls_held"] > waiting)  # noqa: B023  # awaited here
        await self.collect(everything=True)

    async def collect(self, *, everything=False):
        """Compare the answers of held polls that have come."""
        if self.held and not everything:
            await asyncio.sleep(0.03)  # for an answer that, by the recording, may not come now
        for entry, task in tuple(self.held):
            if everything or task.done():
                self.held.remove((entry, task))
                self.compare(entry, *await asyncio.wait_for(task, 10))

    async def send(self, request):
        path, _, query = request["url"].partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        apps = iter([value for name, value in pairs if name == "appid"])
        mapped = [
            (name, await self.timestamp(value, next(apps)) if name == "latest_timestamp" else value)
            for name, value in pairs
        ]
        url = URL(
            f"http://{self.address}{path}?{urlencode(mapped)}" if query else f"http://{self.address}{path}",
            encoded=True,
        )
        headers = {"Content-Type": "", **request["headers"]}
        skip = () if headers["Content-Type"] else ("Content-Type",)
        if skip:
            del headers["Content-Type"]
        body = request.get("body", "").encode() or None
        async with self.session.request(
            request["method"], url, data=body, headers=headers, skip_auto_headers=skip
        ) as response:
            return response.status, response.headers, await response.text()

    async def timestamp(self, recorded, appid):
        """Return ours for a recorded one; one the recording never shows is that of the app."""
        if not recorded.isdigit() or int(recorded) < 10**18 or int(recorded) == 9 * 10**18:
            return recorded
        if int(recorded) not in self.own:
            url = f"http://{self.address}/discovery/fetch?env=dev&status=3&appid={appid}"
            async with self.session.get(url) as response:
                self.own[int(recorded)] = (await response.json())["data"]["latest_timestamp"]
        return str(self.own[int(recorded)])

    def compare(self, entry, status, headers, text):
        try:
            self.assert_same(entry, status, headers, text)
        except AssertionError as exc:
            self.problems[entry["line"]] = str(exc)
        else:
            self.problems[entry["line"]] = ""

    def assert_same(self, entry, status, headers, text):
        expected, what = entry["response"], entry["what"]
        recorded = dict(map(tuple, expected["headers"]))
        assert status == expected["status"], what
        for name in ("Content-Type", "Kratos-Status-Code"):
            assert headers.get(name) == recorded.get(name), f"{what}: {name}"
        wanted = expected["body"].replace(RECORDED_ADDRESS, self.address)
        if not wanted.startswith("{"):
            assert text == wanted, what
            return
        assert self.masked(what, json.loads(wanted), json.loads(text)), f"{what}: {text} instead of {wanted}"
        if "_timestamp" not in wanted and "json:" not in wanted:
            assert text == wanted, what  # member order and spacing too

    def masked(self, what, wanted, found):
        """Return whether two JSON values are equal but for timestamps and the order of instances."""
        if isinstance(wanted, dict):
            return (
                isinstance(found, dict)
                and list(wanted) == list(found)
                and all(self.masked(what, wanted[name], found[name]) for name in wanted)
            )
        if isinstance(wanted, list):
            if not isinstance(found, list) or len(wanted) != len(found):
                return False
            if wanted and isinstance(wanted[0], dict):
                wanted, found = (
                    sorted(each, key=lambda one: (one.get("zone"), one.get("hostname"))) for each in (wanted, found)
                )
            return all(map(self.masked, [what] * len(wanted), wanted, found))
        if isinstance(wanted, int) and wanted > 10**18:
            given = wanted == 17 * 10**17  # a test client set it itself
            return found == (wanted if given else self.own.setdefault(wanted, found))
        if isinstance(wanted, str) and wanted.startswith("json:"):
            return isinstance(found, str)  # a text of Go's JSON library
        return type(wanted) is type(found) and wanted == found


async def with_server(act: Callable[[Replay], Awaitable[None]], **config) -> Replay:
    server = RegistryServer(RegistryConfig(port=0, hostname="test1", **config))
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            replay = Replay(server, session)
            await act(replay)
            return replay
    finally:
        await server.stop()


def of_scenario(*names):
    return [entry for entry in DIRECT if entry.get("scenario") in names]


def of_one_server():
    """Return the long dialogue, without what is told apart in other tests."""
    entries = [
        entry
        for entry in DIRECT
        if entry.get("scenario") not in (STEAL, PROTECTED, TIMEOUT) and entry["what"] not in OF_THE_FRAMEWORK
    ]
    # app.stolen belongs to the scenario left out, and fetch/all at the end shows it.
    return entries + [entry for entry in of_scenario(STEAL) if "register" in entry["what"]]


@pytest.fixture(scope="module")
def one_server():
    return asyncio.run(with_server(lambda replay: replay.play(of_one_server())))


@pytest.fixture(scope="module")
def problems(one_server):
    """What differs, by line, in all dialogues."""
    held = asyncio.run(with_server(lambda replay: replay.play(of_scenario(TIMEOUT)), hold_s=0.4))
    protected = asyncio.run(with_server(lambda replay: replay.play(of_scenario(PROTECTED)), protect_s=60))
    return one_server.problems | held.problems | protected.problems


def number_of(request: pytest.FixtureRequest) -> int:
    return int(request.node.get_closest_marker("recording").args[1])


@pytest.mark.parametrize(
    "entry",
    line_params(
        "discovery-http",
        when=lambda entry: (
            entry["kind"] == "direct"
            and (entry.get("scenario") != STEAL or "register" in entry["what"])
            and entry["what"] not in OF_THE_FRAMEWORK
        ),
    ),
)
def test_a_call_is_answered_as_by_discovery(request, problems, entry):
    assert problems[number_of(request)] == ""


@pytest.mark.parametrize("entry", line_params("discovery-http", when=lambda entry: entry["what"] in OF_THE_FRAMEWORK))
async def test_routes_of_the_framework_are_not_found(entry):
    async def ask(replay):
        status, _, _ = await replay.send(entry["request"])
        assert (entry["response"]["status"], status) == (200, 404)

    await with_server(ask)


def test_timestamps_have_the_order_of_the_recording(one_server):
    # 30 s into the recording the server renewed its own entry; the replay takes less.
    own = dict(one_server.own)
    assert own.pop(1795410939701039975) == own[1795410909699361297]
    in_order = [own[recorded] for recorded in sorted(own)]

    assert in_order == sorted(in_order)
    assert len(set(in_order)) == len(in_order)


@pytest.mark.parametrize(
    "entry",
    line_params(
        "discovery-http",
        when=lambda entry: entry.get("scenario") == STEAL and "register" not in entry["what"],
    ),
)
async def test_aborted_poll_steals_nothing(entry):
    entries = {one["what"]: one for one in of_scenario(STEAL)}
    poll, register = (next(one for what, one in entries.items() if word in what) for word in ("and a new", "register"))

    async def act(one):
        def gauges():
            return one.server.stats()["gauges"]["polls_held"]

        known = await one.timestamp("1795410909699361297", "infra.discovery")
        target = "/discovery/polls?env=dev&appid=infra.discovery&hostname=c-steal"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await one.session.get(f"http://{one.address}{target}&latest_timestamp={known}")
        await until(lambda: gauges() == 0)
        waiting = asyncio.create_task(one.send(poll["request"]))
        await until(lambda: gauges() == 1)
        one.assert_same(register, *await one.send(register["request"]))
        _, _, text = await asyncio.wait_for(waiting, 10)

        assert list(json.loads(text)["data"]) == ["app.stolen"]

    await with_server(act)


PARSERS = {
    "register": parse_register,
    "renew": parse_renew,
    "cancel": parse_cancel,
    "set": parse_set,
    "polls": lambda params: parse_poll(params, many=True),
}


@pytest.mark.parametrize(
    "entry",
    line_params(
        "discovery-http",
        lambda entry: f"{entry['node']} {entry['what']}",
        when=lambda entry: entry["kind"] != "direct",
    ),
)
def test_calls_of_go_nodes_bind_and_their_answers_parse(entry):
    target = entry["request_head"].split()[1]
    path, _, query = target.partition("?")
    name = path.rsplit("/", 1)[1]
    params = parse_params(query, entry["request_body"])

    request = PARSERS[name](params)

    assert [[key, value] for key, values in params.items() for value in values] == entry["request_params"]
    if name == "register":
        assert register_form(request.instance) == entry["request_body"]
    if name == "polls" and "response_body" in entry:
        answer = json.loads(entry["response_body"])
        if answer["code"] == 0:
            assert all(info.latest_timestamp for info in parse_apps(answer["data"]).values())
