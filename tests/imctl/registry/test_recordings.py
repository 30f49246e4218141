"""The recorded dialogues of a real discovery, replayed against our registry.

Timestamps are compared by a mapping from recorded to own ones, which must be
one to one: where discovery repeats a timestamp, so do we, and a poll carries
the timestamp that stands in the place of the recorded one.

Not replayed as recorded, because ours is meant to differ:
- "aborted poll steals the answer": ours gives the news to the poll that is still there.
- GET /metadata and GET /metrics belong to the framework of discovery's server.
"""

import asyncio
import json
from pathlib import Path
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

VECTORS = Path(__file__).parents[2] / "vectors" / "discovery-http.jsonl"
ALL = [json.loads(line) for line in VECTORS.read_text().splitlines()]
DIRECT = [entry for entry in ALL if entry["kind"] == "direct"]
REAL = [entry for entry in ALL if entry["kind"] != "direct"]

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

    async def play(self, entries):
        for entry in sorted(entries, key=lambda each: each["started_ms"]):
            if entry["took_ms"] < HELD_MS:
                self.compare(entry, *await self.send(entry["request"]))
                if entry["request"]["method"] == "POST":
                    await self.collect()
                continue
            waiting = self.server.stats()["gauges"]["polls_held"]
            self.held.append((entry, asyncio.create_task(self.send(entry["request"]))))
            await until(lambda: self.server.stats()["gauges"]["polls_held"] > waiting)  # noqa: B023
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


@pytest.fixture
async def replay():
    opened = []

    async def start(**config):
        server = RegistryServer(RegistryConfig(port=0, hostname="test1", **config))
        await server.start()
        session = aiohttp.ClientSession()
        opened.append((server, session))
        return Replay(server, session)

    yield start
    for server, session in opened:
        await session.close()
        await server.stop()


async def test_dialogue_with_one_server(replay):
    entries = [
        entry
        for entry in DIRECT
        if entry.get("scenario") not in (STEAL, PROTECTED, TIMEOUT) and entry["what"] not in OF_THE_FRAMEWORK
    ]
    # app.stolen belongs to the scenario left out, and fetch/all at the end shows it.
    entries += [entry for entry in DIRECT if entry.get("scenario") == STEAL and "register" in entry["what"]]
    one = await replay()

    await one.play(entries)

    assert len(entries) == 129
    # 30 s into the recording the server renewed its own entry; the replay takes less.
    assert one.own.pop(1795410939701039975) == one.own[1795410909699361297]
    # In the order of time, too: a later recorded timestamp is a later one of ours.
    own = [one.own[recorded] for recorded in sorted(one.own)]
    assert own == sorted(own)
    assert len(set(own)) == len(own)


async def test_polls_without_news_are_held_and_then_answered_with_304(replay):
    entries = [entry for entry in DIRECT if entry.get("scenario") == TIMEOUT]
    one = await replay(hold_s=0.4)

    await one.play(entries)

    assert len(entries) == 6


async def test_protected_server_refuses_reads_and_takes_writes(replay):
    entries = [entry for entry in DIRECT if entry.get("scenario") == PROTECTED]

    await (await replay(protect_s=60)).play(entries)

    assert len(entries) == 8


async def test_aborted_poll_steals_nothing(replay):
    entries = {entry["what"]: entry for entry in DIRECT if entry.get("scenario") == STEAL}
    poll, register = (
        next(entry for what, entry in entries.items() if word in what) for word in ("and a new", "register")
    )
    one = await replay()
    gauges = lambda: one.server.stats()["gauges"]["polls_held"]  # noqa: E731
    known = await one.timestamp("1795410909699361297", "infra.discovery")
    url = (
        f"http://{one.address}/discovery/polls?env=dev&appid=infra.discovery&hostname=c-steal&latest_timestamp={known}"
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await one.session.get(url)
    await until(lambda: gauges() == 0)

    waiting = asyncio.create_task(one.send(poll["request"]))
    await until(lambda: gauges() == 1)
    one.compare(register, *await one.send(register["request"]))
    _, _, text = await asyncio.wait_for(waiting, 10)

    assert list(json.loads(text)["data"]) == ["app.stolen"]


PARSERS = {
    "register": parse_register,
    "renew": parse_renew,
    "cancel": parse_cancel,
    "set": parse_set,
    "polls": lambda params: parse_poll(params, many=True),
}


@pytest.mark.parametrize("entry", REAL, ids=lambda entry: f"{entry['node']}-{entry['at_s']}-{entry['conn']}")
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
