"""Every recorded call of a Go logic's HTTP API against ours, over sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import fakeredis
import pytest

from imctl.logic.node import Logic
from imctl.store.contract import OnlineReport
from imctl.store.factory import open_store
from imctl.store.redis import RedisStore
from protocol.push_api import parse_reply
from tests.imctl.logic.conftest import StartLogic
from tests.imctl.logic.fakes import FakeRegistry, HttpAnswer, comet_instance, http
from tests.vectors.lines import line_params

SPECIAL = ("no comet known", "redis down", "heartbeat")
PUSH_TO_NOBODY = "redis down: push/mids none"
"""goim takes a connection from its pool before it sees that there is nothing to ask; here that needs no store."""
# What the recorded cluster had in its rooms, as far as its answers show.
ROOMS = {
    "live://1000": 4,
    "live://hb": 3,
    "live://h1": 2,
    **dict.fromkeys(
        [
            "live://a",
            "live://mix",
            "live://",
            "live://b-size-20000",
            f"live://{'长' * 30}",
            "live://\u2028x",
            "live://1001",
        ],
        1,
    ),
    **dict.fromkeys(["live://h2", "test://room_0001", "test://1", "test://a/b", "test://2", "test://r4"], 1),
    **dict.fromkeys(["noscheme", "直播://房间", *(f"l{i}" for i in range(20))], 1),
}


def calls(*kinds: str) -> pytest.MarkDecorator:
    """Parametrize by the recorded calls of these kinds, all but the special ones without any."""
    return pytest.mark.parametrize(
        "entry",
        line_params(
            "logic-http",
            when=lambda entry: entry["what"].startswith(kinds) if kinds else not entry["what"].startswith(SPECIAL),
        ),
    )


def body_of(entry: dict[str, object]) -> bytes:
    request = entry["request"]
    assert isinstance(request, dict)
    text = request.get("body", "")
    if text == '(999000 bytes of "x")' or "bytes of" in text:
        return b"x" * int(text.strip("(").split(" ")[0])
    return text.encode()


async def replay(node: Logic, entry: dict) -> HttpAnswer:
    asked = entry["request"]
    address = node.addresses["logic.http"]
    assert address is not None
    return await http(address, asked["method"], asked["url"], body_of(entry), list(asked["headers"].items()))


def assert_same(answer: HttpAnswer, entry: dict) -> None:
    recorded = entry["response"]
    assert (answer.status, answer.reason) == (recorded["status"], recorded["reason"])
    # Order and the two that vary aside; goim writes none that we leave out.
    expected = {name: value for name, value in recorded["headers"] if name not in ("Date", "Content-Length")}
    assert {name: answer.header(name) for name in ("Content-Type", "Location") if answer.header(name)} == expected
    body = recorded["body"].encode()
    if not body.startswith(b'{"code"'):
        assert answer.body == body
        return
    ours, theirs = parse_reply(answer.body), parse_reply(body)
    if theirs.code == -500:
        assert ours.code == -500
        assert ours.message
    elif theirs.data and "/online/top" in entry["request"]["url"]:
        assert_same_top(ours.data, theirs.data)
    else:
        assert answer.body == body
        assert answer.header("Content-Length") == dict(recorded["headers"])["Content-Length"]


def assert_same_top(ours: list[dict], theirs: list[dict]) -> None:
    # Rooms of one size come in any order, and a limit may cut among them.
    assert [room["count"] for room in ours] == [room["count"] for room in theirs]
    assert [room for room in ours if room["count"] > 1] == [room for room in theirs if room["count"] > 1]
    if len(theirs) < 10:
        assert sorted(room["room_id"] for room in ours) == sorted(room["room_id"] for room in theirs)


@pytest.fixture(params=["memory://", "fakeredis://"])
async def node(request: pytest.FixtureRequest, start_logic: StartLogic, registry: FakeRegistry) -> AsyncIterator[Logic]:
    store = open_store(request.param)
    for key, mid in (("h-1", 401), ("h-2", 402)):
        await store.add(mid, key, "comet-a")
    await store.set_online("comet-a", OnlineReport(ROOMS, 1 << 40))
    started = await start_logic(store, compat_goim=True)
    registry.report(comet_instance(latest=1795411027299655989))
    await started._online.rebuild()
    yield started
    await started.stop(1)
    await store.close()


@calls()
async def test_usual_calls(node, entry):
    assert_same(await replay(node, entry), entry)


@calls("heartbeat")
async def test_a_short_heartbeat_is_told(start_logic, registry, entry):
    node = await start_logic(heartbeat_s=2.0)
    registry.report(comet_instance())

    assert_same(await replay(node, entry), entry)


@calls("no comet known")
async def test_while_no_comet_is_known(start_logic, entry):
    # The recorded logic ran with a heartbeat of 2 s here.
    node = await start_logic(heartbeat_s=2.0)

    assert_same(await replay(node, entry), entry)


@calls("redis down")
async def test_while_the_store_is_down(start_logic, registry, entry):
    server = fakeredis.FakeServer()
    store = RedisStore(fakeredis.FakeAsyncRedis(server=server, decode_responses=True), url="fakeredis://", timeout_s=1)
    node = await start_logic(store, compat_goim=True)
    registry.report(comet_instance(conns=1))
    server.connected = False

    answer = await replay(node, entry)
    await node.stop(1)
    await store.close()

    if entry["what"] == PUSH_TO_NOBODY:
        assert parse_reply(answer.body).code == 0
    else:
        assert_same(answer, entry)
